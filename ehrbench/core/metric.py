"""Metric: one number from labels and probabilities.

A metric is one file under ``ehrbench/metrics`` named as the metric, holding one class. It takes binary,
multi-label and multi-class targets alike: labels (U, C) of 0, 1 and NaN (unknown, not counted) and
probabilities (U, C). Where it is defined on one column, it is the unweighted mean over the target's scored
classes (macro).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np

from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, IntArray

#: ``delong``: DeLong's test, of areas under ROC curves only; ``bootstrap``: a paired group bootstrap.
PairedTest = Literal["bootstrap", "delong"]


class Metric(ABC):
    """Stateless; equal instances give equal values."""

    name: str
    #: For display: "AUROC", "Brier score".
    title: str
    #: What it says, to a reader who never heard of it: a phrase that goes on after the title and a colon.
    meaning: str = ""
    greater_is_better: ClassVar[bool] = True
    #: The best value where it lies between (a calibration slope's 1): closeness to it is then what counts.
    ideal: ClassVar[float | None] = None
    #: Needs the bundle's decision threshold (C,); others ignore it.
    needs_threshold: ClassVar[bool] = False
    #: Looks at runs of units: ``value`` and ``weighted`` take ``record``, too; others never see it.
    needs_record: ClassVar[bool] = False
    #: Its value depends on the share of positives, or on the number of units, and so differs between
    #: subgroups of different risk or size without any unfairness.
    depends_on_mix: ClassVar[bool] = False
    #: With fewer patients of either label than this a bootstrap's 95 % interval holds the truth less often
    #: than 93 times in 100 (``docs/statistics.md``). Of one class it gets another; of means pages mark it.
    fewest_events: ClassVar[int] = 0
    #: Each class against the rest has a value of its own, of which that of several classes is the mean.
    by_class: ClassVar[bool] = False
    #: Counts the calls or ranks of all classes of a unit together, those that are not scored among them.
    pooled: ClassVar[bool] = False
    #: How two models' values are compared.
    paired_test: ClassVar[PairedTest] = "bootstrap"

    def __call__(
        self,
        y: FloatArray,
        p: FloatArray,
        *,
        target: Target,
        weight: FloatArray | None = None,
        threshold: FloatArray | None = None,
        record: IntArray | None = None,
    ) -> float:
        """The value, always finite.

        weight: (U,) non-negative; an integer weight k counts a unit k times (that is how the bootstrap
            resamples).
        record: (U,) the record that owns each unit, whose units come one after another, in their order; None:
            every unit is a record of its own.
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
        more = {"record": record} if self.needs_record else {}
        return self.value(y, p, target=target, weight=weight, threshold=threshold, **more)

    def bounds(self, target: Target) -> tuple[float, float]:
        """The least and the greatest value it can take; infinite where there is no bound."""
        return -math.inf, math.inf

    @property
    def searched(self) -> Metric:
        """What a search optimises, fold by fold: the metric itself, or its distance to an ideal between."""
        return self if self.ideal is None else Distance(self)

    def gain(self, value: float) -> float:
        """The value with greater always better, to put values of this metric in order."""
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


class Distance(Metric):
    """How far ``metric`` lies from its ideal: 0 is best.

    Taken on each fold before folds are averaged, so that a slope of 0.5 in one and 1.5 in another is no ideal
    one. Not smooth at 0: a jackknife must be taken of ``metric``, not of this.
    """

    greater_is_better: ClassVar[bool] = False

    def __init__(self, metric: Metric) -> None:
        assert metric.ideal is not None
        self.metric = metric
        self.name = f"{metric.name}_distance"
        self.title = f"{metric.title}, distance to {metric.ideal:g}"

    def bounds(self, target: Target) -> tuple[float, float]:
        return 0.0, math.inf

    def value(
        self,
        y: FloatArray,
        p: FloatArray,
        *,
        target: Target,
        weight: FloatArray | None,
        threshold: FloatArray | None,
    ) -> float:
        return -self.metric.gain(self.metric.value(y, p, target=target, weight=weight, threshold=threshold))
