"""Metrics by subgroup, with intervals, and the gaps between subgroups.

A subgroup smaller than ``MINIMUM`` records, or with fewer than ``MINIMUM_EACH`` of either label of a scored
class, gets no figure: what it would show is noise that reads like a finding. A subgroup's metric is computed
in each fold and averaged, as the leaderboard's is; a fold in which the subgroup has no value is left out and
counted.

A gap is the spread between the highest and the lowest subgroup. Its test is Welch's (1951) form of Cochran's
Q over all of them (their errors are independent: subgroups share no patient), so that picking the two
extremes is paid for, and so is a standard error that rests on few. A metric that lies between 0 and 1 is
compared on the logit scale, where its errors are more nearly normal.

No metric is tested whose value depends on the share of positives or on the number of units
(``Metric.depends_on_mix``): it differs between subgroups of equal quality, and a small one's ECE is greater
than a large one's though both are calibrated perfectly. Calibration is compared by its slope and intercept,
which have no such bias.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats
from scipy.special import logit

from ehrbench.core.digest import derive_seed
from ehrbench.core.metric import Metric
from ehrbench.core.target import Target
from ehrbench.core.types import StrArray
from ehrbench.statistics.comparison import holm
from ehrbench.statistics.defined import Value, values_where_defined
from ehrbench.statistics.fold_data import FoldPredictions

MINIMUM, MINIMUM_EACH = 30, 5
NOT_COMPARABLE = "it depends on the share of positives or the number of records"


@dataclass(frozen=True)
class Subgroup:
    """One level of one family ("sex": "female"); ``small`` says why nothing is shown of it.

    Counted once are records and units that stand in the outer tests of several folds (repeated splits).
    """

    family: str
    level: str
    n_records: int
    n_units: int
    positives: int  # of all classes together
    scarcest: int  # groups with the scarcer label of a scored class
    small: str | None
    values: Mapping[str, Value] = field(default_factory=dict)  # metric -> value


@dataclass(frozen=True)
class Gap:
    """The spread of a metric over the levels of a family; p_value of Welch's test, then corrected by Holm.

    why: the reason where there is no test.
    """

    family: str
    metric: str
    lowest: tuple[str, float]
    highest: tuple[str, float]
    p_value: float | None
    p_holm: float | None = None
    why: str = ""

    @property
    def size(self) -> float:
        return self.highest[1] - self.lowest[1]


def by_subgroup(
    folds: Sequence[FoldPredictions],
    families: Mapping[str, StrArray],
    model: str,
    metrics: Sequence[Metric],
    target: Target,
    *,
    seed: int,
    n_bootstrap: int,
) -> list[Subgroup]:
    """Every metric in every level of every family; families: name -> (N,) level of each record."""
    tested = np.unique(np.concatenate([f.record for f in folds]))
    found = []
    for family, levels in families.items():
        for level in in_order(levels[tested]):
            inside = [fold.take(np.flatnonzero(levels[fold.record] == level)) for fold in folds]
            group = _describe(family, level, inside, target)
            if group.small is None:
                values = values_where_defined(
                    [fold.of(model) for fold in inside],
                    metrics,
                    target,
                    names=[fold.name for fold in inside],
                    seed=derive_seed(seed, "subgroup", family, level),
                    n_replicates=n_bootstrap,
                )
                group = replace(group, values=values)
            found.append(group)
    return found


def in_order(levels: Iterable[str]) -> list[str]:
    """Levels of a subgroup as a reader expects them: by their first number, words by letter after them.

    >>> in_order(["40-54", "85 and over", "under 40", "unknown"])
    ['under 40', '40-54', '85 and over', 'unknown']
    """

    def place(level: str) -> tuple[bool, float, str]:
        number = re.search(r"\d+(\.\d+)?", level)
        below = level.lower().startswith(("under", "below", "less", "up to", "<", "≤"))
        return number is None, float(number[0]) - 0.5 * below if number else 0.0, level

    return sorted(set(levels), key=place)


def gaps(groups: Sequence[Subgroup], metrics: Sequence[Metric], target: Target) -> list[Gap]:
    """One for each family and metric that has a value in two levels or more."""
    found = []
    for family in dict.fromkeys(g.family for g in groups):
        for metric in metrics:
            levels = [
                (g, v)
                for g in groups
                if g.family == family and (v := g.values.get(metric.name)) is not None and v.mean is not None
            ]
            if len(levels) >= 2:
                ordered = sorted(
                    ((g.level, float(v.mean or 0.0)) for g, v in levels), key=lambda pair: pair[1]
                )
                tested = _welch(levels, metric.bounds(target))
                if metric.depends_on_mix:
                    tested = None, None, NOT_COMPARABLE
                found.append(Gap(family, metric.name, ordered[0], ordered[-1], *tested))
    corrected = holm([gap.p_value for gap in found])
    return [replace(gap, p_holm=p) for gap, p in zip(found, corrected, strict=True)]


def _welch(
    levels: Sequence[tuple[Subgroup, Value]], bounds: tuple[float, float]
) -> tuple[float | None, None, str]:
    """p of equal values in k levels, F(k − 1, ν), and why there is none (Welch 1951, Biometrika 38:330).

    A level's standard error has the scarcer label's groups, less one, as degrees of freedom.
    """
    for group, value in levels:
        if value.standard_error is None:
            why = value.interval.reason if value.interval else None
            return None, None, f"{group.level} is {why or 'without an interval'}"
    mean = np.array([value.mean for _, value in levels], dtype=float)
    error = np.array([value.standard_error for _, value in levels], dtype=float)
    if bounds == (0.0, 1.0) and ((mean > 0) & (mean < 1)).all():
        mean, error = logit(mean), error / (mean * (1 - mean))
    weight, k = error**-2, len(levels)
    freedom = np.array([max(group.scarcest - 1, 1) for group, _ in levels])
    q = float((weight * (mean - np.average(mean, weights=weight)) ** 2).sum())
    unsure = float(((1 - weight / weight.sum()) ** 2 / freedom).sum())
    f = q / (k - 1) / (1 + 2 * (k - 2) / (k * k - 1) * unsure)
    return float(stats.f.sf(f, k - 1, (k * k - 1) / (3 * unsure))), None, ""


def scarcest(folds: Sequence[FoldPredictions], classes: Sequence[int]) -> int:
    """How many groups have the scarcer label of the class that has the fewest."""
    y, group = (np.concatenate([getattr(f, name) for f in folds]) for name in ("y", "group"))
    return min(len(np.unique(group[y[:, c] == kind])) for c in classes for kind in (0, 1))


def _describe(family: str, level: str, folds: Sequence[FoldPredictions], target: Target) -> Subgroup:
    record, unit = (np.concatenate([getattr(f, name) for f in folds]) for name in ("record", "unit"))
    n_records = len(np.unique(record))
    once = np.unique(record * (unit.max(initial=0) + 1) + unit, return_index=True)[1]
    y = np.concatenate([f.y for f in folds])[once]
    each = np.stack([(y == 0).sum(axis=0), (y == 1).sum(axis=0)])
    scored, small = each[:, target.scored], None
    if n_records < MINIMUM:
        small = f"{n_records} record{'s' * (n_records != 1)}, fewer than {MINIMUM}: too few to say anything"
    elif scored.min() < MINIMUM_EACH:
        kind = "with" if scored[1].min() <= scored[0].min() else "without"
        small = f"{scored.min()} {kind} the outcome, fewer than {MINIMUM_EACH}: too few to say anything"
    return Subgroup(
        family, level, n_records, len(y), int(each[1].sum()), scarcest(folds, target.scored), small
    )
