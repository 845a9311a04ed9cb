"""F1 over several classes, of what is called at the decision thresholds, as one mean over all of them.

Binary and multi-label: a class is called where its probability reaches its threshold. Multi-class: one class
a unit is called, the one whose probability is the greatest multiple of its threshold; with equal thresholds
the most probable. As in scikit-learn's ``f1_score`` with all classes named, a class that no unit has and none
is called for counts 0: the mean is over the same classes, those that are scored, in every fold.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from ehrbench.core.target import Target
from ehrbench.core.types import BoolArray, FloatArray
from ehrbench.metrics._at_once import AtOnceMetric, Weighted


class CalledF1(AtOnceMetric):
    """In [0, 1]; undefined only without a known label."""

    needs_threshold: ClassVar[bool] = True
    depends_on_mix: ClassVar[bool] = True

    def bounds(self, target: Target) -> tuple[float, float]:
        return 0.0, 1.0

    @abstractmethod
    def of_counts(self, true: FloatArray, called: FloatArray, positive: FloatArray) -> FloatArray:
        """Values (R,) of weights called rightly, called, and positive, each (R, C)."""

    def weighted(
        self,
        y: FloatArray,
        p: FloatArray,
        *,
        target: Target,
        threshold: FloatArray | None = None,
        **more: Any,
    ) -> Weighted:
        assert threshold is not None
        known, positive = ~np.isnan(y), y == 1
        calls = called_classes(p, threshold, target) & known
        c = slice(None) if self.pooled else target.scored
        terms = np.concatenate(
            [x[:, c] for x in (calls & positive, calls, positive)], axis=1, dtype=np.float64
        )
        counted = known[:, c].any(axis=1).astype(np.float64)

        def values(weights: FloatArray) -> FloatArray:
            weights = np.asarray(weights, dtype=np.float64)
            true, called, own = np.split(weights @ terms, 3, axis=1)
            return np.where(weights @ counted > 0, self.of_counts(true, called, own), np.nan)

        return values


def called_classes(p: FloatArray, threshold: FloatArray, target: Target) -> BoolArray:
    """(U, C) which classes are called for each unit, by probabilities (U, C) and thresholds (C,)."""
    cut = np.broadcast_to(np.asarray(threshold, dtype=np.float64), (p.shape[1],))
    if target.kind != "multiclass":
        return np.asarray(p >= cut)
    best = (p / np.maximum(cut, 1e-12)).argmax(axis=1)
    return np.asarray(np.arange(p.shape[1]) == best[:, None])


def share(a: FloatArray, b: FloatArray) -> FloatArray:
    """a / b, 0 where b is 0."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
