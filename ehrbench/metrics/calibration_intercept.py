"""Calibration intercept, calibration in the large: a of logit P(y = 1) = a + logit(p), slope held at 1.

0 is ideal; above 0 the risks are too low on the whole, below 0 too high (Van Calster et al. 2016). Several
classes: macro, so that errors of opposite sign cancel.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ehrbench.core.types import FloatArray
from ehrbench.metrics._at_once import Weighted
from ehrbench.metrics._column import ColumnMetric, one_class
from ehrbench.metrics._recalibration import logits, maximum_likelihood


class CalibrationIntercept(ColumnMetric):
    """Undefined with one class (the intercept is then infinite)."""

    name = "calibration_intercept"
    title = "Calibration intercept"
    meaning = "0 is ideal; above 0 the risks are too low on the whole, below 0 too high"
    ideal: ClassVar[float | None] = 0.0

    def column(self, y: FloatArray, p: FloatArray, threshold: float) -> Weighted:
        x = logits(p)
        return maximum_likelihood(y, np.ones((len(x), 1)), x)

    def problem(self, y: FloatArray, p: FloatArray, threshold: float) -> str:
        return one_class(y)
