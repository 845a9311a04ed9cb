"""Event 2 of the PhysioNet/CinC Challenge 2012: the range-normalised Hosmer–Lemeshow statistic.

Units sorted by risk, ten bins of M = ⌊N/10⌋ from the lowest risk upwards (the N mod 10 highest are left out, as
in the challenge's own scorer), p̄ the mean risk of a bin:

    H = Σ (observed − expected)² / (M p̄ (1 − p̄) + 0.001),    event2 = H / (p̄₁₀ − p̄₁)

Units of equal risk have no order among them; where a bin ends within such a tie, each side gets its share of
the tie's outcomes, so that the value does not depend on the order of the file.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ehrbench.core.types import FloatArray
from ehrbench.metrics._column import ColumnMetric, Weighted, ratio

N_BINS = 10


class Event2(ColumnMetric):
    """Lower is better, from 0; undefined for fewer than ten units or one risk for all."""

    name = "event2"
    title = "Event 2"
    greater_is_better: ClassVar[bool] = False

    def column(self, y: FloatArray, p: FloatArray, threshold: float) -> Weighted:
        order = np.argsort(p, kind="stable")
        sorted_p, sorted_y = p[order], y[order]
        starts = np.flatnonzero(np.r_[True, np.diff(sorted_p) > 0]) if len(p) else np.zeros(0, dtype=np.int64)
        tied = len(starts) < len(p)
        risk = sorted_p[starts]  # (B,) distinct risks

        def values(weights: FloatArray) -> FloatArray:
            if len(risk) == 0:
                return np.full(len(weights), np.nan)
            weight = np.take(weights, order, axis=1)  # (R, n)
            events = weight * sorted_y
            if tied:
                weight = np.add.reduceat(weight, starts, axis=1)  # (R, B)
                events = np.add.reduceat(events, starts, axis=1)
            return _statistic(weight, events, risk)

        return values

    def problem(self, y: FloatArray, p: FloatArray, threshold: float) -> str:
        if len(y) and len(np.unique(p)) == 1:
            return f"all {len(y)} units have the same risk"
        return f"{len(y)} units do not fill ten bins of different mean risk"


def _statistic(weight: FloatArray, events: FloatArray, risk: FloatArray) -> FloatArray:
    """Event 2 (R,) of weights and events (R, B) at ascending distinct risks (B,)."""
    upto = np.cumsum(weight, axis=1)  # (R, B) units up to and with each risk
    m = np.floor(upto[:, -1] / N_BINS)  # (R,) units in a bin
    edges = m[:, None] * np.arange(N_BINS + 1)  # (R, 11)
    at = np.stack([np.searchsorted(u, e, "left") for u, e in zip(upto, edges, strict=True)])
    at = np.minimum(at, len(risk) - 1)
    inside = np.take_along_axis(weight, at, axis=1)
    left = edges - (np.take_along_axis(upto, at, axis=1) - inside)  # how far the edge reaches into its tie
    share = np.divide(left, inside, out=np.zeros_like(left), where=inside > 0)

    def by_bin(amount: FloatArray) -> FloatArray:
        running, here = np.cumsum(amount, axis=1), np.take_along_axis(amount, at, axis=1)
        return np.diff(np.take_along_axis(running, at, axis=1) - here + share * here, axis=1)  # (R, 10)

    observed, expected = by_bin(events), by_bin(weight * risk)
    mean = ratio(expected, m[:, None])
    h = ((observed - expected) ** 2 / (expected * (1 - mean) + 0.001)).sum(axis=1)
    spread = mean[:, -1] - mean[:, 0]
    return ratio(h, np.where(spread > 1e-12, spread, 0))
