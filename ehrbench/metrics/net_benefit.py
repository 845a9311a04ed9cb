"""Net benefit at the decision threshold t: TP/n − FP/n · t/(1 − t) (Vickers & Elkin 2006, eq. 1).

In true positives a unit: what acting at risk t is worth when a false alarm costs t/(1 − t) of a hit. Over a
range of thresholds it is the decision curve.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.metrics._column import ratio
from ehrbench.metrics._confusion import DecisionMetric


class NetBenefit(DecisionMetric):
    """At most the prevalence; 0 for treating nobody. Undefined for a threshold outside [0, 1)."""

    name = "net_benefit"
    title = "Net benefit"
    meaning = (
        "hits less false alarms, one alarm weighed by the odds of the threshold, over all: it compares "
        "models only where their thresholds agree, so read the decision curve for other ones"
    )
    depends_on_mix: ClassVar[bool] = True

    def bounds(self, target: Target) -> tuple[float, float]:
        return -math.inf, 1.0

    def of_sums(self, sums: FloatArray, threshold: float) -> FloatArray:
        if not 0 <= threshold < 1:
            return np.full(len(sums), np.nan)
        tp, fp = sums[:, 0], sums[:, 1]
        return ratio(tp - fp * threshold / (1 - threshold), sums.sum(axis=1))

    def problem(self, y: FloatArray, p: FloatArray, threshold: float) -> str:
        if not 0 <= threshold < 1:
            return f"the threshold {threshold:g} is not a risk in [0, 1)"
        return "there is no unit with a known label"
