"""Event 2 of the PhysioNet/CinC Challenge 2012: the range-normalised Hosmer–Lemeshow statistic.

Units sorted by risk, ten bins of M = ⌊N/10⌋ from the lowest risk upwards (the N mod 10 highest are left out,
as in the challenge's own scorer), p̄ the mean risk of a bin:

    H = Σ (observed − expected)² / (M p̄ (1 − p̄) + 0.001),    event2 = H / (p̄₁₀ − p̄₁)

Units of equal risk have no order among them; where a bin ends within such a tie, each side gets its share of
the tie's outcomes, so that the value does not depend on the order of the file.
"""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

import numpy as np

from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.metrics._at_once import Weighted
from ehrbench.metrics._column import ColumnMetric

N_BINS = 10


class Event2(ColumnMetric):
    """Lower is better, from 0; undefined for fewer than ten units or one risk for all."""

    name = "event2"
    title = "Event 2"
    meaning = (
        "second score of the PhysioNet Challenge 2012: how far outcomes lie from predicted risks in ten "
        "groups by risk (Hosmer–Lemeshow), over the spread of the risks; 0 is best"
    )
    depends_on_mix: ClassVar[bool] = True
    greater_is_better: ClassVar[bool] = False

    def bounds(self, target: Target) -> tuple[float, float]:
        return 0.0, math.inf

    def column(self, y: FloatArray, p: FloatArray, threshold: float) -> Weighted:
        order = np.argsort(p, kind="stable")
        risk, outcome = p[order], y[order]
        starts = np.flatnonzero(np.r_[True, np.diff(risk) > 0]) if len(p) else np.zeros(0, dtype=np.int64)
        tied = len(starts) < len(p)

        def value(weight: FloatArray) -> float:
            weight = weight[order]
            if not tied:
                return _statistic(weight, outcome, risk)
            merged = np.add.reduceat(weight, starts)  # (B,) units at each distinct risk
            events = np.add.reduceat(weight * outcome, starts)
            rate = np.divide(events, merged, out=np.zeros_like(merged), where=merged > 0)
            return _statistic(merged, rate, risk[starts])

        return lambda weights: np.array([value(w) for w in weights] if len(p) else [np.nan] * len(weights))

    def problem(self, y: FloatArray, p: FloatArray, threshold: float) -> str:
        if len(y) and len(np.unique(p)) == 1:
            return f"all {len(y)} units have the same risk"
        return f"{len(y)} units do not fill ten bins of different mean risk"


def _statistic(weight: FloatArray, outcome: FloatArray, risk: FloatArray) -> float:
    """Event 2 of weights and outcome rates (B,) at ascending distinct risks (B,); NaN where undefined."""
    upto = np.cumsum(weight)  # (B,) units up to and with each risk
    m = float(np.floor(upto[-1] / N_BINS))  # units in a bin
    if m == 0:
        return float("nan")
    edges = m * np.arange(N_BINS + 1)
    at = np.minimum(np.searchsorted(upto, edges, "left"), len(risk) - 1)  # where each edge falls
    reach = edges - (upto[at] - weight[at])  # and how many units of that risk lie below it

    def by_bin(amount: FloatArray) -> FloatArray:
        whole = [weight[a:b] @ amount[a:b] for a, b in itertools.pairwise(at)]
        return np.asarray(whole + np.diff(reach * amount[at]))  # (10,)

    observed, expected = by_bin(outcome), by_bin(risk)
    mean = expected / m
    h = float(((observed - expected) ** 2 / (expected * (1 - mean) + 0.001)).sum())
    spread = float(mean[-1] - mean[0])
    return h / spread if spread > 1e-12 else float("nan")
