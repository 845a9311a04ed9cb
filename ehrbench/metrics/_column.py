"""Metrics defined on one column (a class against the rest); over several columns, their plain mean (macro).

A column's metric is written once, for many weight vectors at a time: a single value is the case R = 1. What
only depends on the order of the predictions is computed before any weight is seen, because the bootstrap
asks for thousands of values on the same predictions.

The macro mean is over the classes that the target scores, the same ones in every fold. Where one of those has
no value, neither has the mean, since a mean over whichever classes happened to be defined would change its
meaning from fold to fold.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.metrics._at_once import AtOnceMetric, Weighted


class ColumnMetric(Metric):
    """Mean over classes of a metric of one column; units whose label is unknown are left out of a column."""

    by_class: ClassVar[bool] = True

    @abstractmethod
    def column(self, y: FloatArray, p: FloatArray, threshold: float) -> Weighted:
        """The metric of known labels (n,) and probabilities (n,); threshold is NaN where there is none."""

    @abstractmethod
    def problem(self, y: FloatArray, p: FloatArray, threshold: float) -> str:
        """Why a column of these units has no value; asked only when it has none."""

    def value(
        self,
        y: FloatArray,
        p: FloatArray,
        *,
        target: Target,
        weight: FloatArray | None,
        threshold: FloatArray | None,
    ) -> float:
        weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
        values, cuts = [], _cuts(threshold, y.shape[1])
        for c in target.scored:
            cut = cuts[c]
            counted = ~np.isnan(y[:, c]) & (weight > 0)
            column = y[counted, c], p[counted, c], cut
            value = float(self.column(*column)(weight[None, counted])[0])
            if np.isnan(value):
                name = target.classes[c] if target.n_classes > 1 else None
                raise UndefinedMetric(f"{self.name}{f' of {name}' * bool(name)}: {self.problem(*column)}")
            values.append(value)
        return float(np.mean(values))

    def weighted(
        self, y: FloatArray, p: FloatArray, *, target: Target, threshold: FloatArray | None = None
    ) -> Weighted:
        known, cuts = ~np.isnan(y), _cuts(threshold, y.shape[1])
        columns = [
            (known[:, c], self.column(y[known[:, c], c], p[known[:, c], c], cuts[c])) for c in target.scored
        ]

        def values(weights: FloatArray) -> FloatArray:
            weights = np.asarray(weights, dtype=np.float64)
            each = [of(weights if k.all() else weights[:, k]) for k, of in columns]
            return np.asarray(np.mean(each, axis=0))

        return values


class SumsMetric(ColumnMetric):
    """A column's metric that is a function of weighted sums over units: one matrix product a call."""

    @abstractmethod
    def terms(self, y: FloatArray, p: FloatArray, threshold: float) -> FloatArray:
        """(n, K) what is summed."""

    @abstractmethod
    def of_sums(self, sums: FloatArray, threshold: float) -> FloatArray:
        """Values (R,) of the sums (R, K)."""

    def column(self, y: FloatArray, p: FloatArray, threshold: float) -> Weighted:
        terms = self.terms(y, p, threshold)  # (n, K)
        return lambda weights: self.of_sums(weights @ terms, threshold)


class UnitMean(AtOnceMetric):
    """Weighted mean of a loss that each unit has by itself; macro over scored columns of several."""

    greater_is_better: ClassVar[bool] = False

    def bounds(self, target: Target) -> tuple[float, float]:
        return 0.0, math.inf

    @abstractmethod
    def loss(self, y: FloatArray, p: FloatArray, target: Target) -> FloatArray:
        """(U, K) each unit's loss, NaN where its label is unknown; K = 1 for binary and multi-class."""

    def weighted(
        self,
        y: FloatArray,
        p: FloatArray,
        *,
        target: Target,
        threshold: FloatArray | None = None,
        **more: Any,
    ) -> Weighted:
        loss = self.loss(y, p, target)  # (U, K)
        if loss.shape[1] > 1:  # where it is one of all classes together, every unit counts
            loss = loss[:, target.scored]
        known = ~np.isnan(loss)
        terms = np.hstack([np.where(known, loss, 0.0), known])  # (U, 2K)

        def values(weights: FloatArray) -> FloatArray:
            total, count = np.split(np.asarray(weights, dtype=np.float64) @ terms, 2, axis=1)
            return np.asarray(ratio(total, count).mean(axis=1))

        return values


def ratio(a: FloatArray, b: FloatArray) -> FloatArray:
    """a / b, NaN where b is 0."""
    a, b = np.broadcast_arrays(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    return np.asarray(np.divide(a, b, out=np.full(a.shape, np.nan), where=b != 0))


def one_class(y: FloatArray) -> str:
    """Says which class is missing among labels (n,)."""
    if len(y) == 0:
        return "there is no unit with a known label"
    return f"all {len(y)} units are {'positive' if y[0] == 1 else 'negative'}, and it needs both classes"


def _cuts(threshold: FloatArray | None, n_classes: int) -> FloatArray:
    if threshold is None:
        return np.full(n_classes, np.nan)
    return np.broadcast_to(np.asarray(threshold, dtype=np.float64), (n_classes,))
