"""Slicing: ``slices.json`` of a run, from the columns of the task's ``table`` view."""

from __future__ import annotations

import numpy as np

from ehrbench.app.building import build
from ehrbench.app.wiring import Wired
from ehrbench.core.bundle import file_digest
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.files import write_json
from ehrbench.core.progress import Progress
from ehrbench.core.run_folder import PREDICTIONS, SLICES, RunFolder
from ehrbench.core.views import Table
from ehrbench.report.discovery import Judged, discover
from ehrbench.spine.procedure import ENSEMBLE_NAME
from ehrbench.spine.search import Outcome

#: The view whose columns describe records; a task that has none gets no slices by measured values.
VIEW = "table"


def write_slices(run: RunFolder, wired: Wired, outcome: Outcome, progress: Progress) -> None:
    """Write the slices that the ensemble is most often wrong about, or nothing without a table view."""
    views = wired.config["task"]["views"]
    if VIEW not in views:
        (run / SLICES).unlink(missing_ok=True)
        return
    with progress.step("slices by measured values"):
        featurizer = build(views[VIEW], f"task.views.{VIEW}")
        assert isinstance(featurizer, Featurizer)
        units = _units(wired, outcome, featurizer)
        content = discover(units, wired.search.seed)
    write_json(run / SLICES, content | {"predictions": file_digest(run / PREDICTIONS)})


def _units(wired: Wired, outcome: Outcome, featurizer: Featurizer) -> Judged:
    """All outer-test units with a known label, at their fold's threshold; rows unfitted."""
    dataset, parts = wired.search.dataset, []
    for decided, tested in zip(outcome.decided, outcome.tested, strict=True):
        records = dataset.open(decided.chosen[0].study.setting.fold, "test", tested.index)
        table = records.rows(featurizer.key, featurizer.rows)
        assert isinstance(table, Table)
        y = records.labels
        called = tested.probabilities[ENSEMBLE_NAME] >= decided.thresholds[ENSEMBLE_NAME]
        wrong = ((y == 1) & ~called) | ((y == 0) & called)
        group = np.repeat(dataset.groups[tested.index], records.n_units)
        wrong, positive, called = (np.asarray(m.any(axis=1)) for m in (wrong, y == 1, called))
        units = Judged(table, wrong, positive, called, group)
        parts.append(units.take(np.flatnonzero(~np.isnan(y).all(axis=1))))
    return Judged.joined(parts)
