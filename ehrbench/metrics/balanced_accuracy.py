"""Balanced accuracy: the mean of sensitivity and specificity at the decision threshold.

For several classes it is each class against the rest at that class's threshold, macro; scikit-learn's
multi-class figure (mean recall of the most probable class) is another one.
"""

from __future__ import annotations

from ehrbench.core.types import FloatArray
from ehrbench.metrics._column import ratio
from ehrbench.metrics._confusion import ConfusionMetric


class BalancedAccuracy(ConfusionMetric):
    """In [0, 1]; 0.5 for decisions that tell nothing; needs both classes."""

    name = "balanced_accuracy"
    title = "Balanced accuracy"
    meaning = "mean of sensitivity and specificity; 0.5 is guessing, 1 is best"

    def of_counts(self, tp: FloatArray, fp: FloatArray, fn: FloatArray, tn: FloatArray) -> FloatArray:
        return (ratio(tp, tp + fn) + ratio(tn, tn + fp)) / 2
