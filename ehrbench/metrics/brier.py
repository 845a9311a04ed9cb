"""Brier score: mean squared distance of probability and outcome (Brier 1950).

Binary and multi-label: (p − y)², macro over labels. Multi-class: summed over the classes, as Brier has it, so
in [0, 2]; the same numbers as scikit-learn's ``brier_score_loss``.
"""

from __future__ import annotations

from typing import ClassVar

from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.metrics._column import UnitMean


class Brier(UnitMean):
    """Lower is better."""

    name = "brier"
    title = "Brier score"
    meaning = "mean squared distance of probability and outcome; 0 is best"
    depends_on_mix: ClassVar[bool] = True
    by_class: ClassVar[bool] = True

    def bounds(self, target: Target) -> tuple[float, float]:
        return 0.0, 2.0 if target.kind == "multiclass" else 1.0

    def loss(self, y: FloatArray, p: FloatArray, target: Target) -> FloatArray:
        squared = (p - y) ** 2
        return squared.sum(axis=1, keepdims=True) if target.kind == "multiclass" else squared
