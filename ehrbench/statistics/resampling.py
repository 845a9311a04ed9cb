"""Group bootstrap and block jackknife of a metric's mean over test folds, given the fitted models.

The one bootstrap there is: intervals, paired tests and the bands of curves draw by ``draws``.

Groups (patients) are drawn with replacement within each fold, as many as it has, so that a replicate keeps
the design: the statistic is the mean over folds of the metric in each, and ranks are never pooled over
folds. The draws depend on the seed and the groups alone. Two models judged on the same folds with the same
seed are therefore resampled alike, and the difference of their replicates is a paired one.

Of several classes a rare one may be missing from a resample (from a share e^-m, where m groups have it): its
macro mean is then over the classes that it has. To leave such resamples out would leave none where a few
classes are rare.

Published splits may test a patient in several folds (five random splits, say). Folds are then no independent
samples, and all groups are drawn together, each with all the folds it stands in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.statistics.fold_data import FoldData

Weighted = Callable[[FloatArray], FloatArray]

#: Weights held at a time: few enough for a processor's cache.
_CHUNK = 500_000
#: Blocks of groups that the jackknife leaves out one by one, over all folds.
MOST_BLOCKS = 1000


@dataclass(frozen=True, eq=False)
class Stratum:
    """Folds whose groups are drawn together.

    folds: their positions; member: for each of them the group of each unit (U_f,), one of 0 … n_groups - 1.
    """

    folds: tuple[int, ...]
    member: tuple[IntArray, ...]
    n_groups: int


@dataclass(frozen=True, eq=False)
class Resampled:
    """value: the statistic; replicates (R,), NaN where undefined; jackknife: for each fold the statistic with
    one of its blocks of groups left out (B_f,); design: identifies folds, groups and seed; from_zero: the
    statistic is 0 or above by its nature (an ECE, and no difference)."""

    value: float
    replicates: FloatArray
    jackknife: tuple[FloatArray, ...]
    design: tuple[object, ...]
    from_zero: bool = False

    def minus(self, other: Resampled) -> Resampled:
        """The paired difference of two models' resamples; ValueError when they were not drawn alike."""
        if self.design != other.design:
            raise ValueError("resamples of other folds, groups or seeds cannot be paired")
        jackknife = tuple(a - b for a, b in zip(self.jackknife, other.jackknife, strict=True))
        return Resampled(self.value - other.value, self.replicates - other.replicates, jackknife, self.design)


def resample(
    folds: Sequence[FoldData],
    metrics: Sequence[Metric],
    target: Target,
    *,
    seed: int,
    n_replicates: int,
    most_blocks: int = MOST_BLOCKS,
) -> dict[str, Resampled | UndefinedMetric]:
    """Resample the means over folds of metrics, all on the same draws (which cost as much as a metric does).

    In place of a metric that has no value in some fold stands the reason. Raises UndefinedMetric when a
    fold has fewer than two groups.
    """
    by_fold: dict[str, list[float]] = {}
    failed: dict[str, Resampled | UndefinedMetric] = {}
    for metric in metrics:
        try:
            by_fold[metric.name] = [f.value(metric, target) for f in folds]
        except UndefinedMetric as error:
            failed[metric.name] = error
    defined = [m for m in metrics if m.name in by_fold]
    replicates = {m.name: np.zeros(n_replicates) for m in defined}
    jackknife: dict[str, list[FloatArray]] = {m.name: [] for m in defined}
    n_groups = []
    for stratum in strata([f.group for f in folds]):
        n, n_units = stratum.n_groups, sum(map(len, stratum.member))
        if n < 2:
            raise UndefinedMetric(f"test fold {stratum.folds[0]} holds one group only, so nothing varies")
        n_groups.append(n)
        size = -(-n // max(most_blocks * len(stratum.folds) // len(folds), 2))  # groups in a block
        alone = len(stratum.folds) == 1 and n_units == n  # then any order of groups will do
        at_once = max(1, _CHUNK // n_units)
        weights = draws(stratum, n_replicates, seed, at_once)
        blocks = _leave_out(n, size, derive_seed(seed, "jackknife", stratum.folds[0]), at_once)
        values_of = {m.name: [_weighted(m, folds[i], target) for i in stratum.folds] for m in defined}
        for name, values in _sums(values_of, [None] if alone else stratum.member, weights).items():
            replicates[name] += values / len(folds)
        for name, values in _sums(values_of, stratum.member, blocks).items():
            rest = sum(by_fold[name]) - sum(by_fold[name][i] for i in stratum.folds)
            jackknife[name].append((rest + values) / len(folds))
    design = (seed, n_replicates, tuple(n_groups), tuple(len(f.y) for f in folds))
    return failed | {
        m.name: Resampled(
            float(np.mean(by_fold[m.name])),
            replicates[m.name],
            tuple(jackknife[m.name]),
            design,
            from_zero=m.bounds(target)[0] == 0,
        )
        for m in defined
    }


def _weighted(metric: Metric, fold: FoldData, target: Target) -> Weighted:
    together = fold.weighted(metric, target)
    if len(target.scored) < 2 or not metric.by_class:
        return together

    @cache
    def apart() -> list[Weighted]:
        """Each scored class's own metric."""
        return [fold.alone(c).weighted(metric, target.alone(c)) for c in target.scored]

    def values(weights: FloatArray) -> FloatArray:
        found = together(weights)
        lacking = np.isnan(found)
        if lacking.any():
            each = np.array([of(weights[lacking]) for of in apart()])  # (C, r)
            has = ~np.isnan(each)
            total, count = np.where(has, each, 0.0).sum(axis=0), has.sum(axis=0)
            found[lacking] = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
        return found

    return values


def strata(groups: Sequence[np.ndarray[Any, Any]]) -> list[Stratum]:
    """Folds that are resampled together: each by itself, or all where any share a group.

    groups: for each fold the group of each unit (U_f,).
    """
    apart = [np.unique(group) for group in groups]
    if len(np.unique(np.concatenate(apart))) < sum(map(len, apart)):
        return [_stratum(tuple(range(len(groups))), groups)]
    return [_stratum((k,), [group]) for k, group in enumerate(groups)]


def _stratum(folds: tuple[int, ...], groups: Sequence[np.ndarray[Any, Any]]) -> Stratum:
    names, member = np.unique(np.concatenate(groups), return_inverse=True)
    parts = np.split(member.ravel(), np.cumsum([len(group) for group in groups])[:-1])
    return Stratum(folds, tuple(parts), len(names))


def draws(stratum: Stratum, n_replicates: int, seed: int, at_once: int) -> Iterator[FloatArray]:
    """The bootstrap's weights (r, G), ``at_once`` replicates a time: how often each group was drawn, of G.

    They depend on the seed, the stratum's place and its number of groups alone.
    """
    n = stratum.n_groups
    if n == 0:  # a class that nobody in the fold has a label of
        yield np.zeros((n_replicates, 0))
        return
    rng = np.random.Generator(
        np.random.SFC64(derive_seed(seed, "bootstrap", stratum.folds[0]))
    )  # the quickest
    for start in range(0, n_replicates, at_once):
        r = min(at_once, n_replicates - start)
        drawn = rng.integers(0, n, size=(r, n), dtype=np.int64)
        drawn += np.arange(r)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=r * n).reshape(r, n).astype(np.float64)


def _sums(
    values_of: dict[str, list[Weighted]], members: Sequence[IntArray | None], weights: Iterator[FloatArray]
) -> dict[str, FloatArray]:
    """Metric -> sum over the folds of a stratum, for all weights of its groups (r, G).

    members: for each fold the group of each unit (U,), or None where units are groups.
    """
    parts: dict[str, list[FloatArray]] = {name: [] for name in values_of}
    for chunk in weights:
        by_unit = [chunk if member is None else np.take(chunk, member, axis=1) for member in members]
        for name, of in values_of.items():
            parts[name].append(np.sum([f(w) for f, w in zip(of, by_unit, strict=True)], axis=0))
    return {name: np.concatenate([np.zeros(0), *values]) for name, values in parts.items()}


def _leave_out(n_groups: int, size: int, seed: int, at_once: int) -> Iterator[FloatArray]:
    """Weights (b, G), ``at_once`` a time: 1 but for one block of groups, blocks as equal as can be."""
    n_blocks = -(-n_groups // size)
    block = np.random.default_rng(seed).permutation(n_groups) % n_blocks  # (G,)
    for start in range(0, n_blocks, at_once):
        blocks = np.arange(start, min(start + at_once, n_blocks))
        yield (block[None, :] != blocks[:, None]).astype(np.float64)
