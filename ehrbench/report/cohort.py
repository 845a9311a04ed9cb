"""Table 1: who the records are, and how many of their units have the outcome; and calls at the thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ehrbench.core.types import BoolArray, IntArray
from ehrbench.report.run import Run
from ehrbench.statistics.subgroups import in_order


@dataclass(frozen=True)
class CohortRow:
    """One level: its records, their share of all, and how many of their labelled units have each class.

    parts: of the training records, and of the outer-test ones, the share at this level; None where all are
        tested.
    with_outcome: class -> (units with it, share of this level's units with a known label; None where there
        are none).
    """

    family: str
    level: str
    n: int
    share: float
    parts: tuple[float, float] | None
    with_outcome: dict[str, tuple[int, float | None]]


@dataclass(frozen=True)
class Called:
    """A model's calls at its thresholds, units of all folds together; None where 0/0."""

    model: str
    klass: str
    thresholds: tuple[float, ...]
    n: int
    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def sensitivity(self) -> float | None:
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float | None:
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def ppv(self) -> float | None:
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def npv(self) -> float | None:
        return _ratio(self.tn, self.tn + self.fn)

    @property
    def flagged(self) -> float | None:
        return _ratio(self.tp + self.fp, self.n)


def cohort_table(run: Run) -> list[CohortRow]:
    """All records first, then sets, subgroups and flags, level by level."""
    n = len(run.records)
    tested = np.zeros(n, dtype=bool)
    tested[np.concatenate([fold.record for fold in run.folds])] = True
    outcomes = _outcomes(run)

    def row(family: str, level: str, inside: BoolArray) -> CohortRow:
        counts = {}
        for name, (known, positive) in outcomes.items():
            count, of = int(positive[inside].sum()), int(known[inside].sum())
            counts[name] = (count, count / of if of else None)
        parts = None if tested.all() else (float(inside[~tested].mean()), float(inside[tested].mean()))
        return CohortRow(family, level, int(inside.sum()), float(inside.mean()), parts, counts)

    rows = [row("", "all records", np.ones(n, dtype=bool))]
    families = {"set": run.records["set"], **run.column("subgroup")}
    for family, column in families.items():
        values = column.to_numpy(dtype=str)
        levels = in_order(values)
        if family != "set" or len(levels) > 1:
            rows += [row(family, level, values == level) for level in levels]
    for name, flag in run.column("flag").items():
        rows.append(row("flag", name.replace("_", " "), flag.to_numpy(dtype=bool)))
    return rows


def _outcomes(run: Run) -> dict[str, tuple[IntArray, IntArray]]:
    """Class -> (N,) units of each record whose label is known, and units that have the class.

    From records.csv; older runs have none there, and only the labels of tested records are known.
    """
    n, found = len(run.records), {}
    columns, labelled = run.column("outcome"), run.column("labelled")
    for c, name in enumerate(run.target.classes):
        if columns:
            text = columns[name].to_numpy(dtype=str)
            positive = np.where(text == "", "0", text).astype(int)
            known = labelled[name].to_numpy(dtype=int) if labelled else (text != "").astype(int)
        else:
            unit = np.concatenate(
                [np.c_[f.record, f.unit, np.nan_to_num(f.y[:, c], nan=-1)] for f in run.folds]
            )
            unit = np.unique(unit[unit[:, 2] >= 0], axis=0).astype(int)
            known = np.bincount(unit[:, 0], minlength=n)
            positive = np.bincount(unit[unit[:, 2] == 1, 0], minlength=n)
        found[name] = (known, positive)
    return found


def tested_records(run: Run) -> int:
    """Records in any outer test; the others (a hold-out's training part) have no predictions here."""
    return len(np.unique(np.concatenate([fold.record for fold in run.folds])))


def calls(run: Run, models: Sequence[str]) -> list[Called]:
    """Counts at the thresholds of each fold, for each model that has them, and class."""
    found = []
    for model in models:
        if not all(model in f.threshold for f in run.folds):
            continue
        for c, name in enumerate(run.target.classes):
            counts = np.zeros(4, dtype=int)
            for fold in run.folds:
                y, called = fold.y[:, c], fold.called(model)[:, c]
                counts += [(y == 1)[called].sum(), (y == 0)[called].sum(),
                           (y == 1)[~called].sum(), (y == 0)[~called].sum()]  # fmt: skip
            cuts = tuple(float(f.threshold[model][c]) for f in run.folds)
            found.append(Called(model, name, cuts, int(counts.sum()), *map(int, counts)))
    return found


def _ratio(a: int, b: int) -> float | None:
    return a / b if b else None
