"""Tables of a run, as CSV: predictions, records, skipped rows, trials (columns in ``core.run_folder``)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ehrbench.app.wired.wiring import Wired
from ehrbench.core.files import replacing
from ehrbench.core.ledger import StudyKey, TicketRow
from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.spine.latency import trial_ms
from ehrbench.spine.search import Conclusion

TRIAL_COLUMNS = (
    *("model", "outer_fold", "ticket", "state", "attempt", "value", "seconds"),
    *("folds", "best_steps", "params", "error", "latency_ms"),
)


def write_predictions(path: Path, wired: Wired, outcome: Conclusion) -> None:
    """Outer-test probabilities of every model: record, unit, class, label, fold, model, probability."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["record", "unit", "class", "label", "outer_fold", "model", "probability"])
        for decided, tested in zip(outcome.decided, outcome.tested, strict=True):
            fold = decided.fold
            records = wired.search.dataset.open(fold, "test", tested.index)
            for model, p in tested.probabilities.items():
                writer.writerows(_rows(records, p, wired.search.target.classes, (fold.name, model)))


def read_judged(path: Path, n_classes: int) -> dict[str, dict[str, FloatArray]]:
    """Outer fold -> model -> (U, C), of what ``write_predictions`` wrote, units in the order of its test."""
    found: dict[str, dict[str, list[float]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            by_model = found.setdefault(row["outer_fold"], {})
            by_model.setdefault(row["model"], []).append(float(row["probability"]))
    return {
        fold: {model: np.array(p).reshape(-1, n_classes) for model, p in by_model.items()}
        for fold, by_model in found.items()
    }


def write_records(path: Path, wired: Wired) -> None:
    """Group, set, outcomes, subgroups and flags of every record; ``group`` as the folds see it."""
    cohort, records = wired.cohort, wired.cohort.records
    columns: dict[str, np.ndarray] = {}
    for c, name in enumerate(wired.search.target.classes):
        known, positive = _outcomes(records, c)
        columns[f"outcome.{name}"] = np.where(known > 0, positive.astype(str), "")
        if records.total_units > len(records):
            columns[f"labelled.{name}"] = known
    columns |= {f"subgroup.{name}": values for name, values in records.subgroups.items()}
    columns |= {f"flag.{name}": values.astype(int) for name, values in records.flags.items()}
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["record", "group", "set", *columns])
        groups = wired.search.dataset.groups
        writer.writerows(zip(records.ids, groups, cohort.set_of, *columns.values(), strict=True))


def _outcomes(records: Records, c: int) -> tuple[IntArray, IntArray]:
    """(N,) units of each record whose label of class ``c`` is known, and those that have the class."""
    y, owner = records.labels[:, c], records.unit_record
    known, positive = (np.bincount(owner[of], minlength=len(records)) for of in (~np.isnan(y), y == 1))
    return known, positive


def write_skipped(path: Path, wired: Wired) -> None:
    """Every row or file of the publisher's that was left out, and why."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "record", "field", "problem"])
        writer.writerows((s.file, s.record, s.field, s.problem) for s in wired.cohort.skipped)


def write_trials(path: Path, wired: Wired) -> None:
    """One row a ticket of every study; lists and parameters as JSON."""
    search = wired.search
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, TRIAL_COLUMNS)
        writer.writeheader()
        for fold in search.split.all_folds:
            for model in search.contenders:
                key = StudyKey(search.study_name, search.task, model, fold.index)
                for row in search.backend.ledger.tickets(key):
                    took = trial_ms(search.backend.ledger, key, row.number) if search.latency else None
                    names = {"model": model, "outer_fold": fold.name}
                    writer.writerow(names | _trial(row) | {"latency_ms": "" if took is None else repr(took)})


def _trial(row: TicketRow) -> dict[str, Any]:
    fits = sorted(row.fits, key=lambda fit: fit.fold)
    return {
        "ticket": row.number,
        "state": row.state,
        "attempt": row.attempt,
        "value": "" if row.value is None else repr(row.value),
        "seconds": round(sum(fit.duration_s for fit in fits), 3),
        "folds": json.dumps([fit.score for fit in fits]),
        "best_steps": json.dumps([fit.best_step for fit in fits]),
        "params": json.dumps(dict(row.params or {})),
        "error": row.error or "",
    }


def _rows(
    records: Records, p: np.ndarray, classes: tuple[str, ...], more: tuple[object, ...]
) -> Iterator[tuple[object, ...]]:
    ids, numbers = records.ids[records.unit_record], records.unit_number
    for u in range(len(p)):
        for c, name in enumerate(classes):
            label = (
                "" if records.target is None or np.isnan(records.target[u, c]) else int(records.target[u, c])
            )
            yield (ids[u], numbers[u], name, label, *more, repr(float(p[u, c])))
