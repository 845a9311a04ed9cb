"""Paired comparisons of models judged on the same test folds.

- ``delong``: difference of AUROCs (DeLong et al. 1988) by ranks in O(n log n) (Sun & Xu 2014); where groups
  own several units, variance by group (Obuchowski 1997). Given the fitted models.
- ``paired_bootstrap``: difference of any metric, given the fitted models.
- ``resampled_t_difference``: difference between the procedures, over folds (Nadeau & Bengio 2003).
- ``holm``: p-values corrected for the number of pairs (Holm 1979).
- ``minimum_detectable_difference``: what a test of this size could have found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import ndtr, ndtri

from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.statistics.fold_data import FoldData
from ehrbench.statistics.intervals import ROUNDING, bca, interval_of, resampled_t
from ehrbench.statistics.placements import mean_placed, placed
from ehrbench.statistics.resampling import resample


@dataclass(frozen=True)
class Difference:
    """Model a minus model b. Where something cannot be had it is None and ``reason`` says why.

    p_value: two-sided, of no difference; p_holm: corrected for all pairs compared (``compare`` sets it).
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    p_value: float | None
    standard_error: float | None
    method: str
    reason: str | None = None
    p_holm: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-like."""
        return asdict(self)


def compare(
    models: Mapping[str, Sequence[FoldData]],
    metric: Metric,
    target: Target,
    *,
    seed: int,
    n_replicates: int = 2000,
    level: float = 0.95,
    which: Sequence[tuple[str, str]] | None = None,
) -> dict[tuple[str, str], Difference]:
    """All pairs of models, or those of ``which``, by the metric's own test; corrected by Holm over them.

    A pair without a value (a fold with one class, predictions not finite) is there too, and says why.
    """

    def one(a: str, b: str) -> Difference:
        try:
            for name in (a, b):
                if not all(np.isfinite(f.p).all() for f in models[name]):
                    raise UndefinedMetric(f"{name} has predictions that are not finite")
            if metric.paired_test == "delong":
                return delong(_scored(models[a], target), _scored(models[b], target), level)
            arguments: dict[str, Any] = {"seed": seed, "n_replicates": n_replicates, "level": level}
            return paired_bootstrap(models[a], models[b], metric, target, **arguments)
        except UndefinedMetric as error:
            return Difference(None, None, None, level, None, None, "none", str(error))

    pairs = {pair: one(*pair) for pair in (combinations(models, 2) if which is None else which)}
    corrected = holm([d.p_value for d in pairs.values()])
    return {pair: replace(d, p_holm=p) for (pair, d), p in zip(pairs.items(), corrected, strict=True)}


def _scored(folds: Sequence[FoldData], target: Target) -> list[FoldData]:
    """The folds with the columns of the classes that the target scores."""
    if not target.unscored:
        return list(folds)
    return [replace(f, y=f.y[:, target.scored], p=f.p[:, target.scored]) for f in folds]


def delong(a: Sequence[FoldData], b: Sequence[FoldData], level: float = 0.95) -> Difference:
    """Difference of mean AUROC over folds, macro over classes, with DeLong's test.

    a, b: the same folds, as two models predict them. Raises UndefinedMetric as ``placements.placed`` does.
    """
    _check_paired(a, b)
    means, covariance = mean_placed(
        [placed(fa.y, np.stack([fa.p, fb.p]), fa.group) for fa, fb in zip(a, b, strict=True)]
    )
    value = float(means[0] - means[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error = float(np.sqrt(max(variance, 0.0)))
    if error < ROUNDING:  # both order all units alike
        reason = "the two models order the units alike" if abs(value) < ROUNDING else "nothing varies"
        p_value = 1.0 if abs(value) < ROUNDING else None
        return Difference(value, None, None, level, p_value, 0.0, "delong", reason)
    half = float(ndtri((1 + level) / 2)) * error
    p_value = float(2 * ndtr(-abs(value) / error))
    return Difference(value, value - half, value + half, level, p_value, error, "delong")


def paired_bootstrap(
    a: Sequence[FoldData],
    b: Sequence[FoldData],
    metric: Metric,
    target: Target,
    *,
    seed: int,
    n_replicates: int = 2000,
    level: float = 0.95,
) -> Difference:
    """Difference of a metric's mean over folds; interval and p-value by one and the same bootstrap.

    The p-value is the level at which the interval would just leave 0, so the two never disagree, whatever is
    tied there; it is at least 2/(R + 1). Raises UndefinedMetric where a model has no value.
    """
    _check_paired(a, b)
    first, second = (
        resample(folds, [metric], target, seed=seed, n_replicates=n_replicates)[metric.name]
        for folds in (a, b)
    )
    if isinstance(first, UndefinedMetric):
        raise first
    if isinstance(second, UndefinedMetric):
        raise second
    resampled = first.minus(second)
    interval = interval_of(resampled, level)
    replicates = resampled.replicates[np.isfinite(resampled.replicates)]
    if interval.low is None:
        same = len(replicates) > 0 and np.abs([resampled.value, *replicates]).max() < ROUNDING
        reason = "the two models' values are equal in all resamples" if same else interval.reason
        return Difference(
            resampled.value, None, None, level, 1.0 if same else None, None, "paired_bootstrap", reason
        )
    error = float(replicates.std(ddof=1))
    bias, acceleration = bca(resampled) if interval.method == "bca" else (0.0, 0.0)
    if interval.method == "centred_percentile":
        replicates = replicates - (replicates.mean() - resampled.value)
    low, high = _position_of_zero(np.sort(replicates))
    tail = min(_level(low, bias, acceleration), 1 - _level(high, bias, acceleration))
    p_value = max(min(2 * tail, 1.0), 2 / (len(replicates) + 1))
    return Difference(
        resampled.value,
        interval.low,
        interval.high,
        level,
        p_value,
        error,
        f"paired_bootstrap ({interval.method})",
        interval.reason,
    )


def _position_of_zero(ordered: FloatArray) -> tuple[float, float]:
    """Shares beyond which a quantile of replicates (R,), in order, lies above 0, and up to which below.

    Quantiles are interpolated between replicates as ``np.quantile`` does; where several are 0, the shares lie
    apart, and an interval that ends there holds 0.
    """
    last, n = len(ordered) - 1, len(ordered)
    not_above, below = (int(np.searchsorted(ordered, 0.0, side)) for side in ("right", "left"))

    def crossing(k: int) -> float:
        """Where the line from the replicate before k to k crosses 0."""
        before, after = ordered[k - 1], ordered[k]
        return float((k - 1 - before / (after - before)) / last)

    low = 0.0 if not_above == 0 else 1.0 if not_above == n else crossing(not_above)
    high = 0.0 if below == 0 else 1.0 if below == n else crossing(below)
    return low, high


def _level(share: float, bias: float, acceleration: float) -> float:
    """The tail of an interval that ends at this quantile of the replicates: BCa turned round."""
    if not 0 < share < 1:
        return share
    w = float(ndtri(share)) - bias
    return float(ndtr(w / (1 + acceleration * w) - bias)) if 1 + acceleration * w > 0 else float(w > 0)


def resampled_t_difference(
    a: Sequence[float], b: Sequence[float], ratio: float, level: float = 0.95
) -> Difference:
    """Difference of two procedures by their values in the same K folds; ``ratio`` as for ``resampled_t``."""
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    interval = resampled_t(difference, ratio, level)
    value, method = float(difference.mean()), "resampled_t"
    if interval.low is None:
        p_value = 1.0 if len(difference) > 1 and np.abs(difference).max() < ROUNDING else None
        return Difference(value, None, None, level, p_value, None, method, interval.reason)
    k = len(difference)
    error = float(np.sqrt((1 / k + ratio) * difference.var(ddof=1)))
    p_value = float(2 * stats.t.sf(abs(value) / error, k - 1))
    return Difference(value, interval.low, interval.high, level, p_value, error, method)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Step-down corrected p-values, in order; None (not tested) stays None and is not counted."""
    tested = [i for i, p in enumerate(p_values) if p is not None]
    order = sorted(tested, key=lambda i: p_values[i] or 0.0)
    corrected: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * (p_values[i] or 0.0)))
        corrected[i] = least
    return corrected


def minimum_detectable_difference(
    standard_error: float,
    *,
    n: int | None = None,
    n_planned: int | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    n_tests: int = 1,
) -> float:
    """The true difference that a two-sided test would find with the given power.

    standard_error: of the difference on ``n`` groups; for a test of ``n_planned`` groups it shrinks with
    the square root. ``n_tests``: pairs compared; the level is alpha / n_tests, as Holm's first step has it.
    """
    if (n is None) != (n_planned is None):
        raise ValueError("give both n and n_planned, or neither")
    if n is not None and n_planned is not None:
        standard_error = standard_error * float(np.sqrt(n / n_planned))
    return float((ndtri(1 - alpha / (2 * n_tests)) + ndtri(power)) * standard_error)


def _check_paired(a: Sequence[FoldData], b: Sequence[FoldData]) -> None:
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} folds cannot be paired")
    for k, (fa, fb) in enumerate(zip(a, b, strict=True)):
        if not np.array_equal(fa.y, fb.y, equal_nan=True) or not np.array_equal(fa.group, fb.group):
            raise ValueError(f"fold {k} holds other units or groups for the two models")
