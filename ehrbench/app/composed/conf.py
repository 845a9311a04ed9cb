"""Where the configuration lies: ``ehrbench/conf``, installed with the package, and plugins' own ``conf``.

A folder of one's own beside it: ``--config-dir FOLDER`` on the command line, or ``hydra.searchpath``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ehrbench.core import plugins

CONF = Path(__file__).resolve().parents[2] / "conf"


def conf_folders() -> list[Path]:
    """Folders of YAML; of a name that a plugin has too, ours goes first."""
    return [CONF, *plugins.configurations()]


def task_names() -> list[str]:
    """Tasks that have a YAML under conf/task."""
    return sorted({path.stem for folder in conf_folders() for path in (folder / "task").glob("*.yaml")})


def task_file(task: str) -> Path:
    """The YAML of a task, which need not be there."""
    paths = [folder / "task" / f"{task}.yaml" for folder in conf_folders()]
    return next((path for path in paths if path.is_file()), paths[0])


def task_keys(task: str) -> set[str]:
    """Keys of a task's YAML, those of its own among them; none where it has no YAML here."""
    path = task_file(task)
    return set(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.is_file() else set()


def groups_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Group -> what is chosen of it, in the defaults of a YAML's content."""
    return {
        name: chosen for one in content["defaults"] if isinstance(one, dict) for name, chosen in one.items()
    }
