"""Macro F1: the mean of the classes' F1, each class alike, however rare."""

from __future__ import annotations

import numpy as np

from ehrbench.core.types import FloatArray
from ehrbench.metrics._called import CalledF1, share


class MacroF1(CalledF1):
    """In [0, 1], at the decision thresholds."""

    name = "macro_f1"
    title = "Macro F1"
    meaning = "mean of the classes' F1, each class alike however rare; 1 is best"

    def of_counts(self, true: FloatArray, called: FloatArray, positive: FloatArray) -> FloatArray:
        return np.asarray(share(2 * true, called + positive).mean(axis=1))
