"""A bundle of the real mortality task, fitted on a small simulated cohort in the publisher's format."""

from __future__ import annotations

from pathlib import Path

from ehrbench.core.records import Records
from ehrbench.features.grid import Grid
from ehrbench.features.statistics import Statistics
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality
from tests.runtime.building import build_bundle, export_linear, export_network, export_trees

FEATURES = "ehrbench.features"


def mortality_bundle(root: Path) -> tuple[Path, Path, Records]:
    """(bundle, data folder, labelled records) for 120 simulated patients."""
    publisher = PhysioNet2012(Mortality(), cache=False)
    publisher.simulate(root / "data", 120, 3)
    cohort = publisher.read(root / "data", publisher.default_sets())

    def few() -> Statistics:
        return Statistics(("mean", "last"), windows=(), windowed=(), clinical=False, scaling="standard")

    statistics = f"{FEATURES}.statistics.Statistics"
    bundle = build_bundle(
        root / "bundle",
        task=publisher.task,
        task_path="ehrbench.tasks.mortality.Mortality",
        task_settings={},
        records=cohort.records,
        y=cohort.records.labels,
        models={
            "lightgbm": [(export_trees, Statistics, statistics), (export_trees, Statistics, statistics)],
            "logistic": [(export_linear, few, statistics)],
            "network": [(export_network, Grid, f"{FEATURES}.grid.Grid")],
        },
        cohort=cohort.label,
    )
    return bundle, root / "data", cohort.records
