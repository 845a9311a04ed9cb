"""Group bootstrap and block jackknife of a metric's mean over test folds, given the fitted models.

Groups (patients) are drawn with replacement within each fold, as many as it has, so that a replicate keeps
the design: the statistic is the mean over folds of the metric in each, and ranks are never pooled over
folds. The draws depend on the seed and the groups alone. Two models judged on the same folds with the same
seed are therefore resampled alike, and the difference of their replicates is a paired one.

Published splits may test a patient in several folds (five random splits, say). Folds are then no independent
samples, and all groups are drawn together, each with all the folds it stands in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, IntArray

Weighted = Callable[[FloatArray], FloatArray]

#: Weights held at a time: few enough for a processor's cache.
_CHUNK = 500_000
#: Blocks of groups that the jackknife leaves out one by one, over all folds.
MOST_BLOCKS = 1000


@dataclass(frozen=True, eq=False)
class FoldData:
    """One test fold: labels y and probabilities p (U, C), group (U,), decision threshold (C,) or None."""

    y: FloatArray
    p: FloatArray
    group: np.ndarray[Any, Any]
    threshold: FloatArray | None = None


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
            by_fold[metric.name] = [metric(f.y, f.p, target=target, threshold=f.threshold) for f in folds]
        except UndefinedMetric as error:
            failed[metric.name] = error
    defined = [m for m in metrics if m.name in by_fold]
    replicates = {m.name: np.zeros(n_replicates) for m in defined}
    jackknife: dict[str, list[FloatArray]] = {m.name: [] for m in defined}
    n_groups = []
    for stratum in strata([f.group for f in folds]):
        k, together = stratum[0], [folds[i] for i in stratum]
        groups, member = np.unique(np.concatenate([f.group for f in together]), return_inverse=True)
        if len(groups) < 2:
            raise UndefinedMetric(f"test fold {k} holds one group only, so nothing varies")
        n_groups.append(len(groups))
        size = -(-len(groups) // max(most_blocks * len(stratum) // len(folds), 2))  # groups in a block
        members: list[IntArray | None] = [*np.split(member, np.cumsum([len(f.y) for f in together])[:-1])]
        alone = len(stratum) == 1 and len(member) == len(groups)  # then any order of groups will do
        draws = _draws(len(groups), len(member), n_replicates, derive_seed(seed, "bootstrap", k))
        blocks = _leave_out(len(groups), len(member), size, derive_seed(seed, "jackknife", k))
        values_of = {m.name: [_weighted(m, fold, target) for fold in together] for m in defined}
        for name, values in _sums(values_of, [None] if alone else members, draws).items():
            replicates[name] += values / len(folds)
        for name, values in _sums(values_of, members, blocks).items():
            rest = sum(by_fold[name]) - sum(by_fold[name][i] for i in stratum)
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
    y, p = np.asarray(fold.y, dtype=np.float64), np.asarray(fold.p, dtype=np.float64)
    return metric.weighted(y, p, target=target, threshold=fold.threshold)


def strata(groups: Sequence[np.ndarray[Any, Any]]) -> list[list[int]]:
    """Positions of the folds that are resampled together: each by itself, or all where any share a group."""
    apart = [np.unique(group) for group in groups]
    if len(np.unique(np.concatenate(apart))) < sum(map(len, apart)):
        return [list(range(len(groups)))]
    return [[k] for k in range(len(groups))]


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


def _draws(n_groups: int, n_units: int, n_replicates: int, seed: int) -> Iterator[FloatArray]:
    """Weights (r, G) in chunks: how often each group was drawn, of n_groups draws."""
    rng = np.random.Generator(np.random.SFC64(seed))  # half the time of the default one
    rows = max(1, _CHUNK // n_units)
    for start in range(0, n_replicates, rows):
        r = min(rows, n_replicates - start)
        drawn = rng.integers(0, n_groups, size=(r, n_groups), dtype=np.int64)
        drawn += np.arange(r)[:, None] * n_groups
        counts = np.bincount(drawn.ravel(), minlength=r * n_groups).reshape(r, n_groups)
        yield counts.astype(np.float64)


def _leave_out(n_groups: int, n_units: int, size: int, seed: int) -> Iterator[FloatArray]:
    """Weights (b, G) in chunks: 1 but for one block of groups, blocks as equal as can be."""
    n_blocks = -(-n_groups // size)
    block = np.random.default_rng(seed).permutation(n_groups) % n_blocks  # (G,)
    rows = max(1, _CHUNK // n_units)
    for start in range(0, n_blocks, rows):
        blocks = np.arange(start, min(start + rows, n_blocks))
        yield (block[None, :] != blocks[:, None]).astype(np.float64)
