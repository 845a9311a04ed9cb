"""Positive predictive value (precision): the share of positives among those that reach the threshold."""

from __future__ import annotations

from typing import ClassVar

from ehrbench.core.types import FloatArray
from ehrbench.metrics._column import ratio
from ehrbench.metrics._confusion import ConfusionMetric


class PPV(ConfusionMetric):
    """In [0, 1]; undefined when no unit reaches the threshold (scikit-learn says 0 there)."""

    name = "ppv"
    title = "PPV"
    meaning = "positive predictive value (precision): share of those called positive that have the outcome"
    depends_on_mix: ClassVar[bool] = True

    def of_counts(self, tp: FloatArray, fp: FloatArray, fn: FloatArray, tn: FloatArray) -> FloatArray:
        return ratio(tp, tp + fp)
