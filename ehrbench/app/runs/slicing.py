"""Slicing: ``slices.json`` of a run, from the columns of the task's ``table`` view."""

from __future__ import annotations

from functools import partial

import numpy as np

from ehrbench.app.wired.building import build
from ehrbench.app.wired.wiring import Wired
from ehrbench.core.bundle import file_digest
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.files import write_json
from ehrbench.core.progress import Progress
from ehrbench.core.run_folder import PREDICTIONS, SLICES, RunFolder
from ehrbench.core.views import Table
from ehrbench.report import Attempts
from ehrbench.report.measured import SCHEMA
from ehrbench.spine.procedure import ENSEMBLE_NAME
from ehrbench.spine.search import Conclusion
from ehrbench.statistics.discovery import Calls, discover

#: The view whose columns describe records; a task that has none gets no slices by measured values.
VIEW = "table"


def write_slices(run: RunFolder, wired: Wired, outcome: Conclusion, progress: Progress) -> None:
    """Write the slices that the ensemble is most often wrong about, or why there are none.

    Nothing without a table view.
    """
    views = wired.settings.task.views
    if VIEW not in views:
        (run / SLICES).unlink(missing_ok=True)
        return
    featurizer = build(views[VIEW], f"task.views.{VIEW}")
    assert isinstance(featurizer, Featurizer)
    unit_of = partial(featurizer.unit, units=wired.task.units)
    with progress.step("slices by measured values"):
        content = Attempts(run.path).part(
            "slices",
            lambda: discover(_units(wired, outcome, featurizer), wired.search.seed, unit_of),
            lambda why: {"why": why},
        )
    digest = file_digest(run / PREDICTIONS)
    write_json(run / SLICES, {"schema": SCHEMA} | content | {"predictions": digest})


def _units(wired: Wired, outcome: Conclusion, featurizer: Featurizer) -> Calls:
    """All outer-test units with a known label, at their fold's threshold; rows unfitted."""
    dataset, parts = wired.search.dataset, []
    for decided, tested in zip(outcome.decided, outcome.tested, strict=True):
        records = dataset.open(decided.fold, "test", tested.index)
        table = records.rows(featurizer.key, featurizer.rows)
        assert isinstance(table, Table)
        y = records.labels
        p, calling = tested.probabilities[ENSEMBLE_NAME], decided.calling[ENSEMBLE_NAME]
        called = calling.levels(p, records.n_units) >= decided.thresholds[ENSEMBLE_NAME]
        wrong = ((y == 1) & ~called) | ((y == 0) & called)
        group = np.repeat(dataset.groups[tested.index], records.n_units)
        wrong, positive, called = (np.asarray(m.any(axis=1)) for m in (wrong, y == 1, called))
        units = Calls(table, wrong, positive, called, group)
        parts.append(units.take(np.flatnonzero(~np.isnan(y).all(axis=1))))
    return Calls.joined(parts)
