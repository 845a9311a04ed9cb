"""Metrics of the four counts at a decision threshold; a unit is called positive where p ≥ threshold."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.metrics._column import SumsMetric


class DecisionMetric(SumsMetric):
    """A function of the four counts and the threshold. Several classes: each against the rest."""

    needs_threshold: ClassVar[bool] = True

    def terms(self, y: FloatArray, p: FloatArray, threshold: float) -> FloatArray:
        called = p >= threshold
        positive = y == 1
        cells = [positive & called, ~positive & called, positive & ~called, ~positive & ~called]
        return np.stack(cells, axis=1).astype(np.float64)  # (n, 4)


class ConfusionMetric(DecisionMetric):
    """A function of true and false positives and negatives alone: a share, or a mean of shares."""

    def bounds(self, target: Target) -> tuple[float, float]:
        return 0.0, 1.0

    @abstractmethod
    def of_counts(self, tp: FloatArray, fp: FloatArray, fn: FloatArray, tn: FloatArray) -> FloatArray:
        """Values (R,) of counts (R,), NaN where undefined."""

    def of_sums(self, sums: FloatArray, threshold: float) -> FloatArray:
        return self.of_counts(*sums.T)

    def problem(self, y: FloatArray, p: FloatArray, threshold: float) -> str:
        if len(y) == 0:
            return "there is no unit with a known label"
        return f"0/0 ({int(y.sum())} of {len(y)} positive, {int((p >= threshold).sum())} reach {threshold:g})"
