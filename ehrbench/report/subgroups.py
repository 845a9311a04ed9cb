"""Metrics by subgroup, with intervals, and the gaps between subgroups.

A subgroup smaller than ``MINIMUM`` records, or with fewer than ``MINIMUM_EACH`` of either class, gets no
figure: what it would show is noise that reads like a finding. A subgroup's metric is computed in each fold
and averaged, as the leaderboard's is; a fold in which the subgroup has no value is left out and counted.

A gap is the spread between the highest and the lowest subgroup. Its test is Cochran's Q over all of them
(their errors are independent: subgroups share no patient), so that picking the two extremes is paid for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.types import IntArray
from ehrbench.report.predictions import FoldPredictions
from ehrbench.report.run import Run
from ehrbench.spine.comparison import holm
from ehrbench.spine.intervals import Interval, interval_of
from ehrbench.spine.resampling import FoldData, Resampled, resample

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
    """One level of one family ("sex": "female"); ``small`` says why nothing is shown of it."""

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
    run: Run, model: str, metrics: Sequence[Metric], *, seed: int, n_bootstrap: int
) -> list[Subgroup]:
    """Every metric in every level of every family, in the order of the records' columns."""
    tested = np.unique(np.concatenate([f.record for f in run.folds]))
    found = []
    for family, column in run.column("subgroup").items():
        levels = column.to_numpy(dtype=str)
        for level in sorted(set(levels[tested])):
            folds = [_within(fold, np.flatnonzero(levels[fold.record] == level)) for fold in run.folds]
            group = _describe(family, level, folds)
            if group.small is None:
                at = derive_seed(seed, "subgroup", family, level)
                group = replace(group, values=_values(folds, model, metrics, run, at, n_bootstrap))
            found.append(group)
    return found


def gaps(groups: Sequence[Subgroup], metrics: Sequence[str]) -> list[Gap]:
    """One for each family and metric that has a value in two levels or more."""
    found = []
    for family in dict.fromkeys(g.family for g in groups):
        for metric in metrics:
            values = [
                (g.level, v.mean, v.standard_error)
                for g in groups
                if g.family == family and (v := g.values.get(metric)) is not None and v.mean is not None
            ]
            if len(values) >= 2:
                ordered = sorted(((level, mean) for level, mean, _ in values), key=lambda pair: pair[1])
                found.append(Gap(family, metric, ordered[0], ordered[-1], *_cochran(values)))
    corrected = holm([gap.p_value for gap in found])
    return [replace(gap, p_holm=p) for gap, p in zip(found, corrected, strict=True)]


def _cochran(values: Sequence[tuple[str, float, float | None]]) -> tuple[float | None, None, str]:
    errors = [error for _, _, error in values]
    for level, _, error in values:
        if error is None or error <= 0:
            return None, None, f"{level} is the same in all resamples"
    mean, weight = np.array([v[1] for v in values]), np.array(errors, dtype=float) ** -2
    q = float((weight * (mean - np.average(mean, weights=weight)) ** 2).sum())
    return float(stats.chi2.sf(q, len(values) - 1)), None, ""


def _within(fold: FoldPredictions, index: IntArray) -> FoldPredictions:
    return replace(
        fold,
        record=fold.record[index],
        unit=fold.unit[index],
        group=fold.group[index],
        y=fold.y[index],
        p={m: p[index] for m, p in fold.p.items()},
    )


def _describe(family: str, level: str, folds: Sequence[FoldPredictions]) -> Subgroup:
    n_records = sum(len(np.unique(f.record)) for f in folds)
    y = np.concatenate([f.y for f in folds])
    each = np.stack([(y == 0).sum(axis=0), (y == 1).sum(axis=0)])
    small = None
    if n_records < MINIMUM:
        small = f"{n_records} records, fewer than {MINIMUM}: too few to say anything"
    elif each.min() < MINIMUM_EACH:
        kind = "with" if each[1].min() <= each[0].min() else "without"
        small = f"{each.min()} {kind} the outcome, fewer than {MINIMUM_EACH}: too few to say anything"
    return Subgroup(family, level, n_records, len(y), int(each[1].sum()), small)


def _values(
    folds: Sequence[FoldPredictions],
    model: str,
    metrics: Sequence[Metric],
    run: Run,
    seed: int,
    n_replicates: int,
) -> dict[str, Value]:
    """Metrics that have a value in the same folds share one set of draws."""
    data = [FoldData(f.y, f.p[model], f.group, f.threshold.get(model)) for f in folds]
    found: dict[str, Value] = {}
    alike: dict[tuple[int, ...], list[Metric]] = {}
    for metric in metrics:
        usable, why = _usable(data, metric, run)
        if usable:
            alike.setdefault(usable, []).append(metric)
        else:
            found[metric.name] = Value(undefined=why)
    for usable, together in alike.items():
        some = [data[k] for k in usable]
        if sum(len(f.y) for f in some) > MOST_BOOTSTRAPPED:
            found |= {m.name: _jackknife(some, m, run, seed) for m in together}
            continue
        try:
            resampled = resample(some, together, run.target, seed=seed, n_replicates=n_replicates)
        except UndefinedMetric as error:
            found |= {m.name: Value(undefined=str(error)) for m in together}
        else:
            found |= {name: _value(one, len(some)) for name, one in resampled.items()}
    return found


def _usable(data: Sequence[FoldData], metric: Metric, run: Run) -> tuple[tuple[int, ...], str]:
    """Folds in which the metric has a value, and why it has none in the others."""
    usable, why = [], ""
    for k, fold in enumerate(data):
        if not len(fold.y):
            why = f"{metric.name}: no record in fold {run.folds[k].name}"
            continue
        try:
            metric(fold.y, fold.p, target=run.target, threshold=fold.threshold)
            usable.append(k)
        except UndefinedMetric as error:
            why = str(error)
    return tuple(usable), why


def _value(resampled: Resampled | UndefinedMetric, n_folds: int) -> Value:
    if isinstance(resampled, UndefinedMetric):
        return Value(undefined=str(resampled))
    finite = resampled.replicates[np.isfinite(resampled.replicates)]
    spread = float(finite.std(ddof=1)) if len(finite) > 1 else None
    return Value(float(resampled.value), interval_of(resampled), spread, n_folds)


def _jackknife(folds: Sequence[FoldData], metric: Metric, run: Run, seed: int) -> Value:
    """Delete-a-block jackknife of the mean over folds, blocks of groups drawn within each fold."""
    means, variance = [], 0.0
    for fold in folds:
        of = metric.weighted(fold.y, fold.p, target=run.target, threshold=fold.threshold)
        groups, member = np.unique(fold.group, return_inverse=True)
        n_blocks = min(BLOCKS, len(groups))
        block = np.random.default_rng(seed).permutation(len(groups))[member] % n_blocks
        left_out = np.concatenate([of((block != b)[None].astype(np.float64)) for b in range(n_blocks)])
        means.append(float(of(np.ones((1, len(block))))[0]))
        variance += (n_blocks - 1) * float(left_out.var())
    mean, error = float(np.mean(means)), float(np.sqrt(variance)) / len(folds)
    if not error > 0:
        why = "the same, or undefined, when one block of groups is left out"
        return Value(mean, Interval(None, None, 0.95, "jackknife", BLOCKS, why), None, len(folds))
    interval = Interval(mean - Z * error, mean + Z * error, 0.95, "jackknife", BLOCKS)
    return Value(mean, interval, error, len(folds))
