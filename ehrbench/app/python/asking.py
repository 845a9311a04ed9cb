"""Asking from Python: keywords to the configuration that the command line would have composed.

Names of groups (``task``, ``models``, ``protocol``, …) choose YAML files, as there; every other value is put
into the composed configuration as it is, so that no name or path has to be quoted for Hydra's grammar.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import OmegaConf

from ehrbench.app.composed.conf import CONF, groups_of, task_file, task_keys, task_names
from ehrbench.app.composed.entry import for_hydra, not_composed, resolved
from ehrbench.core import plugins
from ehrbench.core.errors import ConfigError, DataError
from ehrbench.infra.settings import Environment

if TYPE_CHECKING:
    import pandas as pd

    #: A table, or where the data lie.
    Source = pd.DataFrame | str | Path

#: Folder under ``runs_dir`` of the tables that were given as DataFrames, by their content.
TABLES = ".tables"


def asked(
    data: Source | None,
    test_data: Source | None,
    keywords: Mapping[str, Any],
    overrides: Sequence[str] | Mapping[str, Any],
) -> dict[str, Any]:
    """The resolved configuration of ``search``; ConfigError names the keyword or key that is none.

    data, test_data: a DataFrame or a file for tasks that read a file of one's own, else the data's folder.
    keywords: keys of conf/config.yaml and of the task's YAML; a value of None leaves the default.
    overrides: as on the command line (``"protocol.outer_folds=3"``), or key -> value.
    """
    Environment.load(Path(".env"), os.environ)
    task = str(keywords.get("task") or "table")
    groups, values = _sorted_out(task, {k: v for k, v in keywords.items() if v is not None})
    written = [] if isinstance(overrides, Mapping) else list(overrides)
    if isinstance(overrides, Mapping):
        values |= overrides
    runs_dir = Path(values.get("runs_dir", "runs"))
    keys = ("data.file", "data.test_file") if _reads_files(task) else ("data.root", "data.test_file")
    for key, source in zip(keys, (data, test_data), strict=True):
        if source is not None:
            values[key] = str(_on_disk(source, runs_dir, key))
    return resolved(_composed([*groups, *written], values))


def _sorted_out(task: str, keywords: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Choices of groups as overrides, and key -> value of the rest; plugins are in use from here on."""
    plugins.use(_listed(keywords.get("plugins", ())))
    if task not in task_names():
        known = ", ".join(task_names())
        raise ConfigError(
            "task", f"there is no {task!r}", f"your own table goes with table; else choose among {known}"
        )
    content = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    of_groups = {*groups_of(content), "models", "experiment"}
    groups, values = [f"task={task}"], {}
    for name, value in keywords.items():
        if name in ("task", "models"):
            continue
        if name in of_groups and isinstance(value, str):
            groups.append(f"{'+' * (name == 'experiment')}{name}={value}")
        elif name in content or name in of_groups:
            values[name] = value
        elif name in task_keys(task):
            values[f"task.{name}"] = value
        else:
            near = get_close_matches(name, [*content, *of_groups, *task_keys(task)], 1)
            remedy = f"did you mean {near[0]}?" if near else "give it as overrides={'block.key': value}"
            raise ConfigError(name, "unknown keyword", remedy)
    models = keywords.get("models")
    if models is not None:
        groups.append(f"models=[{','.join(_listed(models))}]")
    if "plugins" in values:
        values["plugins"] = _listed(values["plugins"])
    return groups, values


def _listed(names: str | Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names


def _composed(overrides: Sequence[str], values: Mapping[str, Any]) -> Any:
    from hydra import compose, initialize_config_dir
    from hydra.errors import CompactHydraException

    arguments = for_hydra(["search", *overrides])[1:]
    with initialize_config_dir(str(CONF)):
        try:
            config = compose("config", arguments)
        except CompactHydraException as error:
            raise not_composed(error) from None
    for key, value in values.items():
        # what is no key is added here, too, and refused with all others once the configuration is checked
        OmegaConf.update(config, key, _plain(value), merge=isinstance(value, Mapping), force_add=True)
    return config


def _plain(value: Any) -> Any:
    """As YAML has it: paths as texts, sequences as lists."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(one) for one in value]
    return value


def _reads_files(task: str) -> bool:
    """Whether the task's publisher reads ``data.file``."""
    content = yaml.safe_load(task_file(task).read_text(encoding="utf-8"))
    return "file" in content["publisher"]


def _on_disk(source: Source, runs_dir: Path, key: str) -> Path:
    """Where the data lie; a DataFrame is written once, under the name of its content."""
    if isinstance(source, str | Path):
        return Path(source)
    if key == "data.root":
        problem = "the task reads its publisher's files"
        raise ConfigError(key, problem, "name their folder, or say task='table'")
    from ehrbench.core.digest import digest
    from ehrbench.core.files import replacing

    body = as_parquet(source, key)
    path = runs_dir / TABLES / f"{digest(body)[:16]}.parquet"
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_bytes(body)
    return path


def as_parquet(table: pd.DataFrame, name: str) -> bytes:
    """A DataFrame's columns, without its index. Raises DataError for cells that no table holds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        arrow = pa.Table.from_pandas(table, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        why = str(error.args[0]).splitlines()[0]
        remedy = "give each column cells of one kind, and a name of its own"
        raise DataError(f"is no table ({why})", file=name, remedy=remedy) from error
    sink = pa.BufferOutputStream()
    pq.write_table(arrow.replace_schema_metadata(None), sink)
    return bytes(sink.getvalue())
