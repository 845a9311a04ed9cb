"""Specificity: the share of negatives that stay below the decision threshold."""

from __future__ import annotations

from ehrbench.core.types import FloatArray
from ehrbench.metrics._column import ratio
from ehrbench.metrics._confusion import ConfusionMetric


class Specificity(ConfusionMetric):
    """In [0, 1]; undefined without negatives."""

    name = "specificity"
    title = "Specificity"
    meaning = "share of those without the outcome that are not called positive"

    def of_counts(self, tp: FloatArray, fp: FloatArray, fn: FloatArray, tn: FloatArray) -> FloatArray:
        return ratio(tn, tn + fp)
