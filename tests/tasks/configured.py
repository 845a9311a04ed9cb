"""Every task of ``conf/task`` as its YAML builds it, ready to parse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ehrbench.app.composed.conf import CONF
from ehrbench.app.wired.building import build_publisher, build_task
from ehrbench.core.task import Publisher
from tests.features.tiny_bert import tiny_bert
from tests.tasks.own_data import OWN


def configuration(name: str) -> dict[str, Any]:
    root = OmegaConf.create(
        {
            "data": OmegaConf.load(CONF / "config.yaml").data,
            "task": OmegaConf.load(CONF / "task" / f"{name}.yaml"),
        }
    )
    resolved = OmegaConf.to_container(root, resolve=True)
    assert isinstance(resolved, dict)
    for view in resolved["task"]["views"].values():
        if "pretrained" in view:  # no test asks the hub
            view["pretrained"] = str(tiny_bert())
    return dict(resolved["task"])


def settled(name: str, folder: Path, n_records: int = 60) -> Publisher:
    """The publisher of a task that is ready to parse; files of its own are made where it needs such."""
    config = configuration(name)
    if name in OWN:
        for block, more in OWN[name](folder, n_records, 3).items():
            config[block] |= more
    publisher = build_publisher(config["publisher"], build_task(config["build"]))
    publisher.settle(folder)
    return publisher
