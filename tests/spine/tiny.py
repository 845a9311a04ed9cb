"""Three tiny tasks that share nothing with the real ones: many units a record, multi-label, multi-class.

The toy task of the runtime's tests, given labels: each row of three numbers is a unit whose classes depend on
the numbers, with noise, so that models learn something and stay below perfection.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.records import Records
from ehrbench.core.task import Cohort, Publisher, Task
from ehrbench.core.views import View
from ehrbench.features.completing import Completing
from tests.runtime.toy import Toy, ToySequence, ToyTable, toy_records

WEIGHTS = np.array([[1.5, -1.0, 0.5], [-1.0, 0.5, 1.5], [0.3, 1.5, -1.0]])
SIZE = {"s": 240, "t": 120}


def install() -> None:
    """Make the classes importable where configurations and bundles may import from."""
    for package in ("tasks", "publishers", "features"):
        module = ModuleType(f"ehrbench.{package}.tiny")
        classes = {c.__name__: c for c in (Tiny, TinyPublisher, ToyTable, ToySequence, ScaledTable)}
        module.__dict__.update(classes)
        for name in classes:
            getattr(module, name).__module__ = module.__name__
        sys.modules[module.__name__] = module


class ScaledTable(ToyTable):
    """Rows winsorised, scaled and completed as the real tasks' scaled tables are."""

    def __init__(self) -> None:
        super().__init__()
        self.completing = Completing("standard")

    def settings(self) -> dict[str, Any]:
        return {}

    def fit_rows(self, view: View) -> None:
        self.completing.fit(view)  # type: ignore[arg-type]

    def apply(self, view: View) -> View:
        return self.completing.apply(view)  # type: ignore[arg-type]

    def state(self) -> dict[str, np.ndarray]:
        return self.completing.state()

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.completing.restore(state)


class Tiny(Toy):
    """The toy, by more metrics."""

    name = "tiny"
    metric, metrics = "auroc", ("auroc", "auprc", "f1", "log_loss", "brier")


class TinyPublisher(Publisher):
    """``units``: the most rows a record may own; ``holes``: the share of numbers that are missing."""

    def __init__(self, task: Task, units: int = 1, holes: float = 0.0) -> None:
        super().__init__(task)
        self.units, self.holes = units, holes

    def read(self, root: Path, sets: Sequence[str], progress: Progress = SILENT) -> Cohort:
        rows, ids, set_of = [], [], []
        for name in sets:
            rng = np.random.default_rng(sum(map(ord, name)))
            for i in range(SIZE[name]):
                rows.append(rng.normal(size=(rng.integers(1, self.units + 1), 3)).astype(np.float32))
                ids.append(f"{name}{i}")
                set_of.append(name)
        records = toy_records(rows, ids)
        values = np.concatenate(rows)
        scores = values @ WEIGHTS[: self.task.target.n_classes].T
        scores += np.random.default_rng(1).logistic(size=scores.shape)
        if self.task.target.kind == "multiclass":
            y = np.eye(self.task.target.n_classes)[scores.argmax(axis=1)]
        else:
            y = (scores > 0.5).astype(float)
        self._pierce(records)
        sex = np.where(np.arange(len(rows)) % 2, "female", "male")
        records = replace(records, target=y, subgroups={"sex": sex})
        return Cohort(records, tuple(sets), flow={"read": len(rows)}, set_of=np.array(set_of))

    def _pierce(self, records: Records) -> None:
        rng = np.random.default_rng(2)
        for row in records.payload.rows:  # type: ignore[attr-defined]
            row[rng.random(row.shape) < self.holes] = np.nan

    def default_sets(self) -> tuple[str, ...]:
        return ("s",)

    def download(self, root: Path, source: str | None = None, progress: Progress = SILENT) -> None:
        raise AssertionError("there is nobody to get it from")

    def simulate(self, root: Path, n_records: int, seed: int, progress: Progress = SILENT) -> None:
        raise AssertionError("it is made up when it is read")


#: What conf/task/<name>.yaml would hold, for the three of them.
TASKS: dict[str, dict[str, Any]] = {
    name: {
        "name": f"tiny-{name}",
        "metric": "auroc",
        "sets": ["s"],
        "train_sets": ["s"],
        "test_sets": ["t"],
        "build": {"_target_": "ehrbench.tasks.tiny.Tiny", "kind": kind},
        "publisher": {"_target_": "ehrbench.publishers.tiny.TinyPublisher", **more},
        "views": {
            "table": {"_target_": "ehrbench.features.tiny.ToyTable"},
            "scaled_table": {"_target_": "ehrbench.features.tiny.ToyTable", "complete": True},
            "sequence": {"_target_": "ehrbench.features.tiny.ToySequence"},
        },
    }
    for name, kind, more in (
        ("beats", "binary", {"units": 5}),
        ("findings", "multilabel", {}),
        ("kinds", "multiclass", {}),
    )
}
