"""Where the configuration lies: ``ehrbench/conf``, which is installed with the package.

A folder of one's own beside it: ``--config-dir FOLDER`` on the command line, or ``hydra.searchpath``.
"""

from __future__ import annotations

from pathlib import Path

import yaml

CONF = Path(__file__).resolve().parents[1] / "conf"


def task_names() -> list[str]:
    """Tasks that have a YAML under conf/task."""
    return sorted(path.stem for path in (CONF / "task").glob("*.yaml"))


def task_keys(task: str) -> set[str]:
    """Keys of a task's YAML, those of its own among them; none where it has no YAML here."""
    path = CONF / "task" / f"{task}.yaml"
    return set(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.is_file() else set()
