"""Table 1: who the records are, by outcome; and at the threshold, what a hundred of them would look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ehrbench.core.types import BoolArray
from ehrbench.report.run import Run


@dataclass(frozen=True)
class CohortRow:
    """One level: its records, their share of all, and how many of the labelled ones have each class.

    with_outcome: class -> (records with it, share of the labelled records of this level).
    """

    family: str
    level: str
    n: int
    share: float
    with_outcome: dict[str, tuple[int, float]]


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
    n, classes = len(run.records), run.target.classes
    labelled = np.zeros(n, dtype=bool)
    positive = {name: np.zeros(n, dtype=bool) for name in classes}
    for fold in run.folds:
        labelled[fold.record[(~np.isnan(fold.y)).any(axis=1)]] = True
        for c, name in enumerate(classes):
            positive[name][fold.record[fold.y[:, c] == 1]] = True

    def row(family: str, level: str, inside: BoolArray) -> CohortRow:
        known = max(int((inside & labelled).sum()), 1)
        counts = {name: int((inside & has).sum()) for name, has in positive.items()}
        shares = {name: (count, count / known) for name, count in counts.items()}
        return CohortRow(family, level, int(inside.sum()), float(inside.mean()), shares)

    rows = [row("", "all records", np.ones(n, dtype=bool))]
    families = {"set": run.records["set"], **run.column("subgroup")}
    for family, column in families.items():
        values = column.to_numpy(dtype=str)
        levels = sorted(set(values))
        if family != "set" or len(levels) > 1:
            rows += [row(family, level, values == level) for level in levels]
    for name, flag in run.column("flag").items():
        rows.append(row("flag", name.replace("_", " "), flag.to_numpy(dtype=bool)))
    return rows


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
                y, called = fold.y[:, c], fold.p[model][:, c] >= fold.threshold[model][c]
                counts += [(y == 1)[called].sum(), (y == 0)[called].sum(),
                           (y == 1)[~called].sum(), (y == 0)[~called].sum()]  # fmt: skip
            cuts = tuple(float(f.threshold[model][c]) for f in run.folds)
            found.append(Called(model, name, cuts, int(counts.sum()), *map(int, counts)))
    return found


def _ratio(a: int, b: int) -> float | None:
    return a / b if b else None
