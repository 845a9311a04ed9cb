"""Calibration slope: b of logit P(y = 1) = a + b · logit(p) (Cox 1958; Van Calster et al. 2016).

1 is ideal; below 1 the risks are too extreme (over-fitted), above 1 too timid. Several classes: macro.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ehrbench.core.types import FloatArray
from ehrbench.metrics._at_once import Weighted
from ehrbench.metrics._column import ColumnMetric, one_class
from ehrbench.metrics._recalibration import logits, maximum_likelihood, separated


class CalibrationSlope(ColumnMetric):
    """Undefined with one class, or where a cut of p parts the outcomes (the slope is then infinite)."""

    name = "calibration_slope"
    title = "Calibration slope"
    meaning = "1 is ideal; below 1 the risks are too extreme, above 1 too timid"
    ideal: ClassVar[float | None] = 1.0

    def column(self, y: FloatArray, p: FloatArray, threshold: float) -> Weighted:
        x = logits(p)
        return maximum_likelihood(y, np.stack([np.ones_like(x), x], axis=1), np.zeros_like(x))

    def problem(self, y: FloatArray, p: FloatArray, threshold: float) -> str:
        if len(np.unique(y)) < 2:
            return one_class(y)
        if len(np.unique(x := logits(p))) < 2:
            return f"all {len(p)} units have the same prediction, as near as 1e-7 of 0 and 1"
        if separated(y, x):
            return "a cut of the predictions parts positives from negatives, so that the slope is infinite"
        return f"its fit to {len(p)} units does not converge: their predictions hardly differ"
