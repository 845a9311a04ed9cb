"""Curves with bootstrap bands: ROC, precision–recall, calibration, net benefit; all from ``ScoreCounts``.

ROC and precision–recall are averaged over folds at fixed x (vertical averaging, Fawcett 2006): scores of
different folds come from different models and their ranks are never pooled. Calibration and net benefit speak
of probabilities, which do compare across folds, and pool them. Bands are pointwise percentiles, given the
fitted models.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from ehrbench.core.types import FloatArray
from ehrbench.statistics.score_counts import ScoreCounts

FPR = np.r_[np.linspace(0, 0.1, 21), np.linspace(0.1, 1, 61)[1:]]
RECALL = np.r_[0.005, 0.01, np.linspace(0.02, 1, 50)]
LEVEL = 0.95
N_CALIBRATION_GROUPS = 10
#: The smooth calibration curve ends where fewer units than this lie beyond.
FEWEST_BEYOND = 25


@dataclass(frozen=True, eq=False)
class Curve:
    """x (n,), y, low and high (n,); NaN where there is nothing to say.

    left_out: folds that have one class only.
    """

    x: FloatArray
    y: FloatArray
    low: FloatArray
    high: FloatArray
    left_out: int = 0


@dataclass(frozen=True, eq=False)
class Calibration:
    """The smooth curve, and observed shares in groups of equal size by predicted risk."""

    smooth: Curve
    groups: Curve
    size: FloatArray  # (G,) units in each group


def roc(counts: ScoreCounts) -> Curve | None:
    """True positive rate at ``FPR``, mean over folds; None where no fold has both classes."""

    def tpr(tp: FloatArray, fp: FloatArray) -> FloatArray:
        return np.asarray(np.interp(FPR, fp / fp[-1], tp / tp[-1]))

    return _by_fold(counts, FPR, tpr)


def precision_recall(counts: ScoreCounts) -> Curve | None:
    """Precision at ``RECALL`` (at the highest threshold that reaches it; nothing is interpolated)."""

    def precision(tp: FloatArray, fp: FloatArray) -> FloatArray:
        first = np.searchsorted(tp / tp[-1], RECALL - 1e-12)
        return np.asarray(tp[first] / (tp[first] + fp[first]))

    return _by_fold(counts, RECALL, precision)


def net_benefit(counts: ScoreCounts, thresholds: FloatArray) -> tuple[Curve, FloatArray]:
    """Net benefit of treating at p ≥ t (Vickers & Elkin 2006), and of treating all (n,)."""
    positives, negatives = counts.pooled()
    at = np.searchsorted(counts.edges, thresholds, "right")
    tp = positives[:, ::-1].cumsum(axis=1)[:, ::-1][:, at]  # (R + 1, n)
    fp = negatives[:, ::-1].cumsum(axis=1)[:, ::-1][:, at]
    n, n_positive = (positives + negatives).sum(axis=1), positives.sum(axis=1)
    odds = thresholds / (1 - thresholds)
    values = (tp - fp * odds) / n[:, None]
    share = n_positive[0] / n[0]
    return _band(thresholds, values), share - (1 - share) * odds


def calibration(counts: ScoreCounts) -> Calibration | None:
    """Observed share by predicted probability: local linear on the logit, and in groups of equal size."""
    positives, negatives = counts.pooled()
    total = positives + negatives
    if not total[0].any():
        return None
    filled = total[0] > 0
    x = logit(np.clip(counts.centre[filled], 1e-4, 1 - 1e-4))  # (B',)
    share = np.cumsum(total[0][filled]) / total[0].sum()
    tail = min(max(0.005, FEWEST_BEYOND / total[0].sum()), 0.1)
    low, high = np.interp([tail, 1 - tail], share, x)
    spread = np.sqrt(np.average((x - np.average(x, weights=total[0][filled])) ** 2, weights=total[0][filled]))
    bandwidth = max(0.15, 1.5 * spread * total[0].sum() ** -0.2)
    grid = np.linspace(low, high, 60)
    values = _local_linear(grid, x, positives[:, filled], total[:, filled], bandwidth)
    smooth = _band(expit(grid), np.clip(values, 0, 1))
    return Calibration(smooth, *_in_groups(counts.centre[filled], positives[:, filled], total[:, filled]))


def _local_linear(
    grid: FloatArray, x: FloatArray, positives: FloatArray, total: FloatArray, bandwidth: float
) -> FloatArray:
    """(R + 1, n) weighted local linear regression of the share on x."""
    distance = x[:, None] - grid[None, :]  # (B', n)
    kernel = np.exp(-0.5 * (distance / bandwidth) ** 2)
    s0, s1, s2 = total @ kernel, total @ (kernel * distance), total @ (kernel * distance**2)
    t0, t1 = positives @ kernel, positives @ (kernel * distance)
    spread = s0 * s2 - s1**2
    flat = spread <= 1e-9 * s0 * s2 + 1e-12
    mean = np.divide(t0, s0, out=np.full_like(t0, np.nan), where=s0 > 0)
    return np.where(flat, mean, (s2 * t0 - s1 * t1) / np.where(flat, 1.0, spread))


def _in_groups(centre: FloatArray, positives: FloatArray, total: FloatArray) -> tuple[Curve, FloatArray]:
    """Ten groups of about equal size; fewer where the score has few values."""
    before = np.cumsum(total[0]) - total[0] / 2
    group = np.minimum((before / total[0].sum() * N_CALIBRATION_GROUPS).astype(int), N_CALIBRATION_GROUPS - 1)
    group = np.unique(group, return_inverse=True)[1].ravel()
    member = np.eye(group.max() + 1)[group]  # (B', G)
    size, p = total @ member, (total[0] * centre) @ member
    observed = np.divide(positives @ member, size, out=np.full_like(size, np.nan), where=size > 0)
    return _band(p / size[0], observed), size[0]


def _by_fold(
    counts: ScoreCounts, x: FloatArray, of: Callable[[FloatArray, FloatArray], FloatArray]
) -> Curve | None:
    usable = np.flatnonzero(counts.two_classes)
    if not len(usable):
        return None
    n_replicates = counts.positives.shape[1]
    values = np.full((len(usable), n_replicates, len(x)), np.nan)
    for i, fold in enumerate(usable):
        tp = np.pad(counts.positives[fold][:, ::-1].cumsum(axis=1), ((0, 0), (1, 0)))
        fp = np.pad(counts.negatives[fold][:, ::-1].cumsum(axis=1), ((0, 0), (1, 0)))
        for r in np.flatnonzero((tp[:, -1] > 0) & (fp[:, -1] > 0)):
            values[i, r] = of(tp[r], fp[r])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a replicate without both classes in any fold
        return _band(x, np.nanmean(values, axis=0), left_out=len(counts.positives) - len(usable))


def _band(x: FloatArray, values: FloatArray, left_out: int = 0) -> Curve:
    """Replicate 0 as the curve, percentiles of the others as its band."""
    tail = (1 - LEVEL) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = (
            np.nanquantile(values[1:], [tail, 1 - tail], axis=0) if len(values) > 1 else values[[0, 0]]
        )
    return Curve(x, values[0], low, high, left_out)
