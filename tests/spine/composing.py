"""Composes a configuration as the entry points do, with a tiny task in the place of a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from ehrbench.app.composed.checking import check
from ehrbench.app.composed.conf import CONF
from ehrbench.app.composed.entry import of_task, resolved, spell_out
from ehrbench.app.wired.wiring import Wired, wire
from ehrbench.core.progress import SILENT
from tests.spine import tiny


def composed(runs_dir: Path, *overrides: str) -> dict[str, Any]:
    """The resolved configuration of ``search.py`` with these overrides."""
    with initialize_config_dir(str(CONF)):
        arguments = of_task(spell_out([f"runs_dir={runs_dir}", "tracker=none", *overrides]))
        return resolved(compose("config", overrides=arguments))


def tiny_config(task: str, runs_dir: Path, *overrides: str) -> dict[str, Any]:
    """A small nested search of the tiny task ``beats``, ``findings`` or ``kinds``."""
    tiny.install()
    small = [
        "models=[logistic,lightgbm]",
        "n_trials=2",
        "protocol.inner_folds=2",
        "report.n_bootstrap=200",
    ]
    config = composed(runs_dir, *small, *overrides)
    if "outer_folds" in config["protocol"]:
        config["protocol"]["outer_folds"] = 2
    if "lightgbm" in config["model"]:
        config["model"]["lightgbm"]["space"]["n_estimators"] |= {"low": 20, "high": 60}
    task_config = tiny.TASKS[task]
    data = {**config["data"], **{k: task_config[k] for k in ("sets", "train_sets", "test_sets")}}
    return {**config, "task": task_config, "metric": task_config["metric"], "data": data}


def wired(folder: Path, *overrides: str) -> Wired:
    """A search of ``beats`` ready to run, some of whose values are missing, with a featurizer that learns."""
    small = ("models=[logistic,lightgbm]", "n_trials=3")
    config = tiny_config("beats", folder, *small, *overrides)
    publisher, views = dict(config["task"]["publisher"]), dict(config["task"]["views"])
    views["scaled_table"] = {"_target_": "ehrbench.features.tiny.ScaledTable"}
    config["task"] = {**config["task"], "publisher": {**publisher, "holes": 0.1}, "views": views}
    return wire(check(config), "study", SILENT)
