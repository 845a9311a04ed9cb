"""The one model with the lowest log loss, and no other.

Losses are compared after Platt scaling: a model trained with weighted classes may order patients best and
still have the worst raw log loss, and the calibrator that follows mends just that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ehrbench.core.types import FloatArray, IntArray
from ehrbench.ensemble._base import Combiner, Scores, unit_loss
from ehrbench.ensemble.platt import Platt


class BestMember(Combiner):
    """``best`` names it; of equals the first."""

    name = "best_member"
    best: str

    def _fit(self, z: FloatArray, y: FloatArray, fold: IntArray, group: IntArray, seed: int) -> None:
        def loss(scores: FloatArray) -> float:
            p = self.target.probabilities(scores)
            return float(
                np.nanmean(unit_loss(y, Platt().fit(p, y, target=self.target).apply(p), self.target))
            )

        self.best = self.models[int(np.argmin([loss(scores) for scores in z]))]

    def predict(self, scores: Scores) -> FloatArray:
        return self.target.probabilities(self.stacked(scores)[self.models.index(self.best)])

    def to_json(self) -> dict[str, Any]:
        return {"models": list(self.models), "best": self.best}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.best = state["best"]
