"""Table 1: who the records are, by outcome; and at the threshold, what a hundred of them would look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ehrbench.core.types import BoolArray
from ehrbench.report.run import Run
from ehrbench.statistics.subgroups import in_order


@dataclass(frozen=True)
class CohortRow:
    """One level: its records, their share of all, and how many of the labelled ones have each class.

    parts: of the training records, and of the outer-test ones, the share at this level; None where all are
        tested.
    with_outcome: class -> (records with it, share of this level's records with a known label; None where
        there are none).
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
            count, of = int((inside & positive).sum()), int((inside & known).sum())
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


def _outcomes(run: Run) -> dict[str, tuple[BoolArray, BoolArray]]:
    """Class -> (N,) whether a record's label is known, and whether one of its units has the class.

    From records.csv; older runs have none there, and only the labels of tested records are known.
    """
    columns = run.column("outcome")
    if columns:
        values = {name: columns[name].to_numpy(dtype=str) for name in run.target.classes}
        return {name: (v != "", v == "1") for name, v in values.items()}
    n = len(run.records)
    found = {name: (np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)) for name in run.target.classes}
    for fold in run.folds:
        for c, name in enumerate(run.target.classes):
            found[name][0][fold.record[~np.isnan(fold.y[:, c])]] = True
            found[name][1][fold.record[fold.y[:, c] == 1]] = True
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
