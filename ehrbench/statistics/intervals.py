"""Intervals of a metric, and what each of them speaks of.

- ``group_bootstrap``: of *these fitted models* on more patients like the test ones. BCa (Efron 1987) over
  groups drawn within folds; percentile where BCa cannot be had. Statistics that resampling itself pushes to
  one side (ECE, event 2: every replicate has noise of its own to add) get the centred percentiles, which
  speak of the statistic's expectation at this sample size.
- ``logit_t``: the same of AUROC and AUPRC where positives are few (``Metric.fewest_events``).
- ``resampled_t``: of *the whole procedure* on another sample of this size: corrected resampled t over folds
  (Nadeau & Bengio 2003), since training sets that overlap make plain fold-to-fold variance too small.

An interval that cannot be had says why; it is never a pair of NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import expit, logit, ndtr, ndtri

from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.statistics.fold_data import FoldData
from ehrbench.statistics.placements import few_variance
from ehrbench.statistics.resampling import Resampled, resample

#: What varies by less is the rounding of its last digits.
ROUNDING = 1e-12
#: With more undefined replicates than this share there is no interval.
MOST_UNDEFINED = 0.05
#: BCa corrects a bias of up to so many standard normal units; beyond, its interval would collapse.
MOST_BIAS = 0.5


@dataclass(frozen=True)
class Interval:
    """low, high: None where there is no interval, and then ``reason`` says why.

    method: ``bca``; ``percentile`` or ``centred_percentile`` (``reason`` then says why not BCa);
        ``logit_t``, where positives are few; ``resampled_t``.
    n_replicates: bootstrap replicates that counted, or folds.
    """

    low: float | None
    high: float | None
    level: float
    method: str
    n_replicates: int
    reason: str | None = None

    def within(self, bounds: tuple[float, float]) -> Interval:
        """The part of it that a metric with these least and greatest values can reach.

        Nothing is lost by it: the true value lies within the bounds, so the coverage stays.
        """
        if self.low is None or self.high is None:
            return self
        low, high = (float(np.clip(end, *bounds)) for end in (self.low, self.high))
        return replace(self, low=low, high=high)

    def to_dict(self) -> dict[str, Any]:
        """JSON-like."""
        return asdict(self)


def group_bootstrap(
    folds: Sequence[FoldData],
    metric: Metric,
    target: Target,
    *,
    seed: int,
    n_replicates: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Interval of the mean over folds of a metric, given the fitted models."""
    all_of_them = group_bootstraps(folds, [metric], target, seed=seed, n_replicates=n_replicates, level=level)
    return all_of_them[metric.name]


def group_bootstraps(
    folds: Sequence[FoldData],
    metrics: Sequence[Metric],
    target: Target,
    *,
    seed: int,
    n_replicates: int = 2000,
    level: float = 0.95,
) -> dict[str, Interval]:
    """The same for several metrics on the same draws, in half the time."""
    try:
        resampled = resample(folds, metrics, target, seed=seed, n_replicates=n_replicates)
    except UndefinedMetric as error:
        return {m.name: Interval(None, None, level, "bca", 0, str(error)) for m in metrics}
    return {
        m.name: Interval(None, None, level, "bca", 0, str(found))
        if isinstance(found := resampled[m.name], UndefinedMetric)
        else interval_on(folds, m, target, found, level)
        for m in metrics
    }


def interval_on(
    folds: Sequence[FoldData], metric: Metric, target: Target, resampled: Resampled, level: float = 0.95
) -> Interval:
    """The interval of a metric that was resampled on these folds: of few positives ``logit_t``."""
    interval = interval_of(resampled, level).within(metric.bounds(target))
    fewest = scarcest(folds, target)
    if interval.low is None or fewest is None or fewest >= metric.fewest_events:
        return interval
    delong = metric.paired_test == "delong"
    variance = few_variance(folds, target) if delong else float(np.nanvar(resampled.replicates, ddof=1))
    if variance is None or not 0 < resampled.value < 1:
        return interval
    few = f"fewer than {metric.fewest_events} groups with or without the outcome"
    why = f"{few}, of which a bootstrap is too sure"
    ends = logit_t(resampled.value, variance, max(fewest - len(folds), 1), level)
    return Interval(*ends, level, "logit_t", interval.n_replicates, why)


def scarcest(folds: Sequence[FoldData], target: Target) -> int | None:
    """How many groups have, or lack, the outcome, whichever are fewer; None for a mean of several classes."""
    if len(target.scored) != 1:
        return None
    y = np.concatenate([f.y[:, target.scored[0]] for f in folds])
    group = np.concatenate([f.group for f in folds])
    return min(len(np.unique(group[y == kind])) for kind in (0, 1))


def logit_t(value: float, variance: float, df: int, level: float = 0.95) -> tuple[float, float]:
    """logit A ± t · SE / (A (1 − A)): on the logit scale it stays within 0 and 1, and is skewed as areas are.

    df: the scarcer label's groups, less one a fold.

    >>> [round(end, 3) for end in logit_t(0.8, 0.0064, 6)]
    [0.541, 0.931]
    """
    half = float(stats.t.ppf((1 + level) / 2, df) * np.sqrt(variance)) / (value * (1 - value))
    return float(expit(logit(value) - half)), float(expit(logit(value) + half))


def interval_of(resampled: Resampled, level: float = 0.95) -> Interval:
    """BCa interval of resamples, or percentile, or none."""
    defined = resampled.replicates[np.isfinite(resampled.replicates)]
    n, asked = len(defined), len(resampled.replicates)
    if asked - n > MOST_UNDEFINED * asked:
        return Interval(None, None, level, "bca", n, f"undefined in {asked - n} of {asked} resamples")
    if np.ptp(defined) < ROUNDING:
        return Interval(None, None, level, "bca", n, f"the same in all {n} resamples, so nothing is known")
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if not defined.min() <= resampled.value <= defined.max():
        return _centred(resampled, defined, level, "resampling itself moves every value away")
    try:
        bias, acceleration = bca(resampled)
    except UndefinedMetric as error:
        low, high = np.quantile(defined, tails)
        return Interval(float(low), float(high), level, "percentile", n, str(error))
    if abs(bias) > MOST_BIAS:
        why = f"resampling itself moves the value, by z = {bias:.2f}"
        return _centred(resampled, defined, level, why)
    z = bias + ndtri(tails)
    low, high = np.quantile(defined, ndtr(bias + z / (1 - acceleration * z)))
    return Interval(float(low), float(high), level, "bca", n)


def _centred(resampled: Resampled, defined: FloatArray, level: float, why: str) -> Interval:
    """Percentiles moved so that the resamples' mean comes to the value; as a ratio where it is from 0 up."""
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    if resampled.from_zero and resampled.value > 0:  # ECE, event 2: a ratio keeps them above 0
        low, high = (bound * resampled.value / defined.mean() for bound in (low, high))
    else:
        low, high = (bound - (defined.mean() - resampled.value) for bound in (low, high))
    return Interval(float(low), float(high), level, "centred_percentile", len(defined), why)


def bca(resampled: Resampled) -> tuple[float, float]:
    """Bias z₀ and acceleration a of resamples (Efron 1987; Davison & Hinkley 1997, eqs. 5.21, 5.23 and 3.22).

    Folds are strata: a = Σ_f n_f⁻³ Σ_j l³ / (6 (Σ_f n_f⁻² Σ_j l²)^{3/2}), with l the empirical influence of
    block j of n_f, from the jackknife. Raises UndefinedMetric saying why there is no BCa interval.
    """
    defined = resampled.replicates[np.isfinite(resampled.replicates)]
    share = float((defined < resampled.value).mean() + 0.5 * (defined == resampled.value).mean())
    if not 0 < share < 1:
        raise UndefinedMetric("the value lies outside all its resamples, so BCa has no bias correction")
    cubes = squares = 0.0
    for left_out in resampled.jackknife:
        if not np.isfinite(left_out).all():
            raise UndefinedMetric(
                "undefined when one block of groups is left out, so BCa has no acceleration"
            )
        n = len(left_out)
        influence = (n - 1) * (left_out.mean() - left_out)
        cubes += float((influence**3).sum()) / n**3
        squares += float((influence**2).sum()) / n**2
    if squares == 0:
        raise UndefinedMetric("no block of groups changes the value, so BCa has no acceleration")
    acceleration = cubes / (6 * squares**1.5)
    bias = float(ndtri(share))
    reach = abs(bias) + 3.0  # the transformation must keep its order over the levels in use
    if abs(acceleration) * reach >= 1:
        raise UndefinedMetric(f"the acceleration {acceleration:.2f} is too large for BCa")
    return bias, acceleration


def resampled_t(by_fold: Sequence[float] | FloatArray, ratio: float, level: float = 0.95) -> Interval:
    """Corrected resampled t interval of the mean over K folds.

    by_fold: the metric in each outer fold; ratio: test groups over training groups. The variance of the
    mean is (1/K + ratio) s², on K − 1 degrees of freedom (Nadeau & Bengio 2003, Machine Learning 52,
    section 3). It is symmetric and knows no bounds: hold it ``within`` the metric's.
    """
    values = np.asarray(by_fold, dtype=np.float64)
    k = len(values)
    if k < 2:
        return Interval(None, None, level, "resampled_t", k, "one fold only: nothing varies")
    if not np.isfinite(values).all():
        return Interval(None, None, level, "resampled_t", k, "the metric is undefined in a fold")
    if np.ptp(values) < ROUNDING:
        return Interval(None, None, level, "resampled_t", k, f"the same in all {k} folds: nothing varies")
    half = float(stats.t.ppf((1 + level) / 2, k - 1) * np.sqrt((1 / k + ratio) * values.var(ddof=1)))
    mean = float(values.mean())
    return Interval(mean - half, mean + half, level, "resampled_t", k)
