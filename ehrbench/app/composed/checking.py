"""Checks a composed configuration before anything runs: keys, those added with a + too, and values.

Of a finished run's configuration ``placed`` says where its places lie now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from yaml import YAMLError

from ehrbench.app.composed.blocks import LONGEST_NAME, Settings
from ehrbench.app.composed.conf import task_keys
from ehrbench.core import plugins
from ehrbench.core.errors import BundleError, ConfigError, check_once
from ehrbench.infra.mlflow_store import sqlite_address, sqlite_path, tracking_address
from ehrbench.infra.settings import ADDRESSES, refuse_password

Checked = TypeVar("Checked", bound=BaseModel)


def checked(
    blocks: type[Checked],
    config: Mapping[str, Any],
    placed: Callable[[Path], Path] = Path.absolute,
    *,
    known: str = "--cfg job shows all keys",
) -> Checked:
    """The configuration as these blocks; ConfigError names the key, its value and what is allowed.

    placed: where a place that the configuration names lies; by default as seen from here. known: where a
    person finds the keys that there are.
    """
    try:
        return blocks.model_validate(dict(config), context={"placed": placed})
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"] if part != "[key]"]
        if path[0] == "protocol" and len(path) > 1 and path[1] in ("nested", "holdout", "temporal", "file"):
            del path[1]
        got, kind, key = first["input"], first["type"], ".".join(path)
        if kind == "extra_forbidden":
            raise ConfigError(key, "unknown key", known) from None
        if kind == "list_type":
            raise ConfigError(key, f"{got!r} is not a list", f"write {key}=[{got}]") from None
        if kind in ("dict_type", "model_type"):
            problem = f"{got!r} is no group of settings"
            raise ConfigError(key, problem, "override settings in it") from None
        if kind == "value_error":
            told = first["ctx"]["error"]
            raise ConfigError(key, told.problem, told.remedy) from None
        if kind == "string_pattern_mismatch":
            problem = f"{str(got)[:100]!r} cannot be a folder's name"
            remedy = f"take letters, digits, . _ and -, at most {LONGEST_NAME}, a letter or digit first"
            raise ConfigError(key, problem, remedy) from None
        shown = "" if isinstance(got, Mapping) else f" (got {got!r})"
        remedy = ""
        if kind == "string_type" and isinstance(got, int | float):
            remedy = f'in a YAML file, write it in quotes: "{got}"'
        raise ConfigError(key, first["msg"][0].lower() + first["msg"][1:] + shown, remedy) from None


def check(config: Mapping[str, Any], placed: Callable[[Path], Path] = Path.absolute) -> Settings:
    """The checked blocks of a search. Raises ConfigError."""
    settings = checked(Settings, config, placed)
    if not settings.model:
        raise ConfigError("models", "no model is named", "for example models=[ssm,lstm,lightgbm]")
    for name in ("sets", "train_sets", "test_sets"):
        check_once(f"data.{name}", getattr(settings.data, name))
    for package in settings.plugins:
        if package not in plugins.packages():
            remedy = f"install it, or say {plugins.NAMED}={package} in the environment"
            raise ConfigError("plugins", f"{package} is no plugin here", remedy)
    storage = settings.storage
    known = task_keys(settings.task.name)
    for key in settings.task.model_extra or {}:
        if key not in known:
            raise ConfigError(f"task.{key}", "unknown key", "--cfg job shows all keys")
    refuse_password("storage.artifacts", storage.artifacts, ADDRESSES["artifacts_url"])
    refuse_password("storage.checkpoints", storage.checkpoints or "", ADDRESSES["checkpoints_dir"])
    refuse_password("logs_dir", settings.logs_dir or "", ADDRESSES["logs_dir"])
    place_mlflow(settings, "tracker.mlflow.uri", placed)
    return settings


def place_mlflow(settings: Settings, key: str, placed: Callable[[Path], Path] = Path.absolute) -> None:
    """Spell the address of MLflow out, where it is wanted. Raises ConfigError for one that cannot be."""
    mlflow = settings.tracker.mlflow
    if mlflow is None:
        return
    refuse_password(key, mlflow.uri or "", ADDRESSES["mlflow_tracking_uri"])
    mlflow.uri = tracking_address(mlflow.uri, Path(settings.runs_dir), key)
    if (path := sqlite_path(mlflow.uri)) is not None:
        mlflow.uri = sqlite_address(placed(path))


def recorded(settings: Settings) -> dict[str, Any]:
    """The configuration as it was checked, its places in full, and no key that was left to its default."""
    return settings.model_dump(exclude_unset=True)


def written(settings: Settings) -> str:
    """``recorded``, as a ``config.yaml`` has it."""
    return OmegaConf.to_yaml(OmegaConf.create(recorded(settings)))


def read_written(path: Path) -> dict[str, Any]:
    """The content of a ``config.yaml``, unchecked. Raises BundleError where it is none."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: altered or not YAML") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path}: altered or not a configuration")
    return {str(k): v for k, v in content.items()}
