"""A bundle of the real diabetes task, fitted on simulated answers."""

from __future__ import annotations

from pathlib import Path

from ehrbench.features.tabular import Tabular
from ehrbench.publishers.brfss2015 import BRFSS2015
from ehrbench.tasks.diabetes import Diabetes
from tests.runtime.building import build_bundle, export_trees


def diabetes_bundle(directory: Path) -> Path:
    publisher = BRFSS2015(Diabetes())
    publisher.simulate(directory / "data", 400, seed=1)
    records = publisher.read(directory / "data", ()).records
    return build_bundle(
        directory / "bundle",
        task=publisher.task,
        task_path="ehrbench.tasks.diabetes.Diabetes",
        task_settings={},
        records=records,
        y=records.labels,
        models={"lightgbm": [(export_trees, Tabular, "ehrbench.features.tabular.Tabular")]},
    )
