"""Sensitivity (recall): the share of positives that reach the decision threshold."""

from __future__ import annotations

from ehrbench.core.types import FloatArray
from ehrbench.metrics._column import ratio
from ehrbench.metrics._confusion import ConfusionMetric


class Sensitivity(ConfusionMetric):
    """In [0, 1]; undefined without positives."""

    name = "sensitivity"
    title = "Sensitivity"
    meaning = "share of those with the outcome that are called positive"

    def of_counts(self, tp: FloatArray, fp: FloatArray, fn: FloatArray, tn: FloatArray) -> FloatArray:
        return ratio(tp, tp + fn)
