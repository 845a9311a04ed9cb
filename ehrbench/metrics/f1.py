"""F1: the harmonic mean of sensitivity and positive predictive value, 2 TP / (2 TP + FP + FN)."""

from __future__ import annotations

from typing import ClassVar

from ehrbench.core.types import FloatArray
from ehrbench.metrics._column import ratio
from ehrbench.metrics._confusion import ConfusionMetric


class F1(ConfusionMetric):
    """In [0, 1], at the decision threshold; undefined when nothing is positive and nothing called so."""

    name = "f1"
    title = "F1"
    meaning = "harmonic mean of sensitivity and PPV; 1 is best"
    depends_on_mix: ClassVar[bool] = True

    def of_counts(self, tp: FloatArray, fp: FloatArray, fn: FloatArray, tn: FloatArray) -> FloatArray:
        return ratio(2 * tp, 2 * tp + fp + fn)
