"""Metric: one number from labels and probabilities.

A metric is one file under ``ehrbench/metrics`` named as the metric, holding one class. It takes binary,
multi-label and multi-class targets alike: labels (U, C) of 0, 1 and NaN (unknown, not counted) and
probabilities (U, C). Where it is defined on one column, it is the unweighted mean over classes (macro).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray


class Metric(ABC):
    """Stateless; equal instances give equal values."""

    name: ClassVar[str]
    #: For display: "AUROC", "Brier score".
    title: ClassVar[str]
    greater_is_better: ClassVar[bool] = True
    #: The best value where it lies between (a calibration slope's 1): closeness to it is then what counts.
    ideal: ClassVar[float | None] = None
    #: Needs the bundle's decision threshold (C,); others ignore it.
    needs_threshold: ClassVar[bool] = False

    def __call__(
        self,
        y: FloatArray,
        p: FloatArray,
        *,
        target: Target,
        weight: FloatArray | None = None,
        threshold: FloatArray | None = None,
    ) -> float:
        """The value, always finite.

        weight: (U,) non-negative; an integer weight k counts a unit k times (that is how the bootstrap
            resamples).
        Raises UndefinedMetric saying why it cannot be had (one class only, NaN predictions, no threshold).
        """
        y, p = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
        if y.shape != p.shape or y.ndim != 2:
            raise ValueError(f"labels {y.shape} and probabilities {p.shape} must both be (units, classes)")
        if not np.isfinite(p).all():
            raise UndefinedMetric(
                f"{self.name}: {int((~np.isfinite(p)).any(axis=1).sum())} predictions are not finite"
            )
        if self.needs_threshold and threshold is None:
            raise UndefinedMetric(f"{self.name}: needs a decision threshold and none was chosen")
        return self.value(y, p, target=target, weight=weight, threshold=threshold)

    def bounds(self, target: Target) -> tuple[float, float]:
        """The least and the greatest value it can take; infinite where there is no bound."""
        return -math.inf, math.inf

    def gain(self, value: float) -> float:
        """The value as a search compares it: greater is better, for every metric."""
        if self.ideal is not None:
            return -abs(value - self.ideal)
        return value if self.greater_is_better else -value

    def weighted(
        self, y: FloatArray, p: FloatArray, *, target: Target, threshold: FloatArray | None = None
    ) -> Callable[[FloatArray], FloatArray]:
        """A function from many weights (R, U) to values (R,), NaN where undefined: the bootstrap's way in.

        Takes what ``__call__`` takes, on checked float64 arrays. Whatever depends on labels and predictions
        alone (their order, say) may be computed once, here; this default computes everything again.
        """

        def value(weight: FloatArray) -> float:
            try:
                return self.value(y, p, target=target, weight=weight, threshold=threshold)
            except UndefinedMetric:
                return float("nan")

        return lambda weights: np.array([value(weight) for weight in weights])

    @abstractmethod
    def value(
        self,
        y: FloatArray,
        p: FloatArray,
        *,
        target: Target,
        weight: FloatArray | None,
        threshold: FloatArray | None,
    ) -> float:
        """As ``__call__``, on checked float64 arrays."""
