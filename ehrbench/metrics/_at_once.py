"""Metrics written once, for many weight vectors at a time: a single value is the case of one vector."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray

#: Weights (R, U) to values (R,), NaN where undefined.
Weighted = Callable[[FloatArray], FloatArray]


class AtOnceMetric(Metric):
    """``weighted`` says everything; undefined where it gives NaN."""

    @abstractmethod
    def weighted(
        self,
        y: FloatArray,
        p: FloatArray,
        *,
        target: Target,
        threshold: FloatArray | None = None,
        **more: Any,
    ) -> Weighted:
        """As ``Metric.weighted``."""

    def value(
        self,
        y: FloatArray,
        p: FloatArray,
        *,
        target: Target,
        weight: FloatArray | None,
        threshold: FloatArray | None,
        **more: Any,
    ) -> float:
        weights = np.ones((1, len(y))) if weight is None else np.asarray(weight, dtype=np.float64)[None]
        value = float(self.weighted(y, p, target=target, threshold=threshold, **more)(weights)[0])
        if np.isnan(value):
            raise UndefinedMetric(f"{self.name}{self.problem(y, p, target, threshold, **more)}")
        return value

    def problem(
        self, y: FloatArray, p: FloatArray, target: Target, threshold: FloatArray | None, **more: Any
    ) -> str:
        """What follows the metric's name where it has no value."""
        return ": there is no unit with a known label"
