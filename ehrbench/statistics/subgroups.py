"""Metrics by subgroup, with intervals, and the gaps between subgroups.

A subgroup smaller than ``MINIMUM`` records, or with fewer than ``MINIMUM_EACH`` of either class, gets no
figure: what it would show is noise that reads like a finding. A subgroup's metric is computed in each fold
and averaged, as the leaderboard's is; a fold in which the subgroup has no value is left out and counted.

A gap is the spread between the highest and the lowest subgroup. Its test is Cochran's Q over all of them
(their errors are independent: subgroups share no patient), so that picking the two extremes is paid for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.target import Target
from ehrbench.core.types import StrArray
from ehrbench.statistics.comparison import holm
from ehrbench.statistics.fold_data import FoldData, FoldPredictions
from ehrbench.statistics.intervals import Interval, interval_of
from ehrbench.statistics.resampling import Resampled, resample

MINIMUM, MINIMUM_EACH = 30, 5
#: Above this many units a jackknife over ``BLOCKS`` takes the bootstrap's place: seconds instead of minutes.
MOST_BOOTSTRAPPED, BLOCKS = 40_000, 200
Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class Value:
    """A metric in a subgroup, or ``undefined`` saying why not."""

    mean: float | None = None
    interval: Interval | None = None
    standard_error: float | None = None
    folds_used: int = 0
    undefined: str | None = None


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
    small: str | None
    values: Mapping[str, Value] = field(default_factory=dict)  # metric -> value


@dataclass(frozen=True)
class Gap:
    """The spread of a metric over the levels of a family; p_value of Cochran's Q, then corrected by Holm.

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
            group = _describe(family, level, inside)
            if group.small is None:
                at = derive_seed(seed, "subgroup", family, level)
                group = replace(group, values=_values(inside, model, metrics, target, at, n_bootstrap))
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


def gaps(groups: Sequence[Subgroup], metrics: Sequence[str]) -> list[Gap]:
    """One for each family and metric that has a value in two levels or more."""
    found = []
    for family in dict.fromkeys(g.family for g in groups):
        for metric in metrics:
            values = [
                (g.level, v.mean, v)
                for g in groups
                if g.family == family and (v := g.values.get(metric)) is not None and v.mean is not None
            ]
            if len(values) >= 2:
                ordered = sorted(((level, mean) for level, mean, _ in values), key=lambda pair: pair[1])
                found.append(Gap(family, metric, ordered[0], ordered[-1], *_cochran(values)))
    corrected = holm([gap.p_value for gap in found])
    return [replace(gap, p_holm=p) for gap, p in zip(found, corrected, strict=True)]


def _cochran(values: Sequence[tuple[str, float, Value]]) -> tuple[float | None, None, str]:
    for level, _, value in values:
        if value.standard_error is None:
            why = value.interval.reason if value.interval else None
            return None, None, f"{level} is {why or 'without an interval'}"
    mean = np.array([mean for _, mean, _ in values])
    weight = np.array([value.standard_error for _, _, value in values], dtype=float) ** -2
    q = float((weight * (mean - np.average(mean, weights=weight)) ** 2).sum())
    return float(stats.chi2.sf(q, len(values) - 1)), None, ""


def _describe(family: str, level: str, folds: Sequence[FoldPredictions]) -> Subgroup:
    record, unit = (np.concatenate([getattr(f, name) for f in folds]) for name in ("record", "unit"))
    n_records = len(np.unique(record))
    once = np.unique(record * (unit.max(initial=0) + 1) + unit, return_index=True)[1]
    y = np.concatenate([f.y for f in folds])[once]
    each = np.stack([(y == 0).sum(axis=0), (y == 1).sum(axis=0)])
    small = None
    if n_records < MINIMUM:
        small = f"{n_records} record{'s' * (n_records != 1)}, fewer than {MINIMUM}: too few to say anything"
    elif each.min() < MINIMUM_EACH:
        kind = "with" if each[1].min() <= each[0].min() else "without"
        small = f"{each.min()} {kind} the outcome, fewer than {MINIMUM_EACH}: too few to say anything"
    return Subgroup(family, level, n_records, len(y), int(each[1].sum()), small)


def _values(
    folds: Sequence[FoldPredictions],
    model: str,
    metrics: Sequence[Metric],
    target: Target,
    seed: int,
    n_replicates: int,
) -> dict[str, Value]:
    """Metrics that have a value in the same folds share one set of draws."""
    data = [fold.of(model) for fold in folds]
    found: dict[str, Value] = {}
    alike: dict[tuple[int, ...], list[Metric]] = {}
    for metric in metrics:
        usable, why = _usable(data, metric, target, [fold.name for fold in folds])
        if usable:
            alike.setdefault(usable, []).append(metric)
        else:
            found[metric.name] = Value(undefined=why)
    for usable, together in alike.items():
        some = [data[k] for k in usable]
        if sum(len(f.y) for f in some) > MOST_BOOTSTRAPPED:
            found |= {m.name: _jackknife(some, m, target, seed) for m in together}
            continue
        try:
            resampled = resample(some, together, target, seed=seed, n_replicates=n_replicates)
        except UndefinedMetric as error:
            found |= {m.name: Value(undefined=str(error)) for m in together}
        else:
            found |= {m.name: _value(resampled[m.name], m.bounds(target), len(some)) for m in together}
    return found


def _usable(
    data: Sequence[FoldData], metric: Metric, target: Target, names: Sequence[str]
) -> tuple[tuple[int, ...], str]:
    """Folds in which the metric has a value, and why it has none in the others."""
    usable, why = [], ""
    for k, fold in enumerate(data):
        if not len(fold.y):
            why = f"{metric.name}: no record in fold {names[k]}"
            continue
        try:
            fold.value(metric, target)
            usable.append(k)
        except UndefinedMetric as error:
            why = str(error)
    return tuple(usable), why


def _value(resampled: Resampled | UndefinedMetric, bounds: tuple[float, float], n_folds: int) -> Value:
    if isinstance(resampled, UndefinedMetric):
        return Value(undefined=str(resampled))
    interval = interval_of(resampled).within(bounds)
    spread = None  # of the replicates that happen to be defined would say too little
    if interval.low is not None:
        spread = float(np.nanstd(resampled.replicates, ddof=1))
    return Value(float(resampled.value), interval, spread, n_folds)


def _jackknife(folds: Sequence[FoldData], metric: Metric, target: Target, seed: int) -> Value:
    """Delete-a-block jackknife of the mean over folds, ``BLOCKS`` blocks of groups in each."""
    most = BLOCKS * len(folds)
    try:
        resampled = resample(folds, [metric], target, seed=seed, n_replicates=0, most_blocks=most)
    except UndefinedMetric as error:
        return Value(undefined=str(error))
    found = resampled[metric.name]
    if isinstance(found, UndefinedMetric):
        return Value(undefined=str(found))
    spread = float(np.sqrt(sum((len(left) - 1) * left.var() for left in found.jackknife)))
    if not spread > 0:
        why = "the same, or undefined, when one block of groups is left out"
        return Value(found.value, Interval(None, None, 0.95, "jackknife", BLOCKS, why), None, len(folds))
    interval = Interval(found.value - Z * spread, found.value + Z * spread, 0.95, "jackknife", BLOCKS)
    return Value(found.value, interval.within(metric.bounds(target)), spread, len(folds))
