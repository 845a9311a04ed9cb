"""Event 1 of the PhysioNet/CinC Challenge 2012: min(sensitivity, positive predictive value).

At the submitted decision threshold (Silva et al. 2012, Computing in Cardiology 39:245).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ehrbench.core.types import FloatArray
from ehrbench.metrics._column import ratio
from ehrbench.metrics._confusion import ConfusionMetric


class Event1(ConfusionMetric):
    """In [0, 1]; 0 when nothing is called positive (sensitivity is then 0); undefined without positives."""

    name = "event1"
    title = "Event 1"
    meaning = (
        "first score of the PhysioNet Challenge 2012: the lesser of sensitivity and PPV, so that neither "
        "is bought with the other; 1 is best"
    )
    depends_on_mix: ClassVar[bool] = True

    def of_counts(self, tp: FloatArray, fp: FloatArray, fn: FloatArray, tn: FloatArray) -> FloatArray:
        # min of two fractions with one numerator: the one with the greater denominator
        return np.where(tp + fn > 0, ratio(tp, np.maximum(tp + fn, tp + fp)), np.nan)
