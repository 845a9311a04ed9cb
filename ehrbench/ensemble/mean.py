"""The plain mean of the models' scores, the safe baseline: nothing is learned, so nothing is over-fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehrbench.core.types import FloatArray, IntArray
from ehrbench.ensemble._base import Combiner, Scores


class Mean(Combiner):
    """Mean of logits, which is the geometric mean of the odds."""

    name = "mean"

    def _fit(self, z: FloatArray, y: FloatArray, fold: IntArray, group: IntArray, seed: int) -> None:
        pass

    def predict(self, scores: Scores) -> FloatArray:
        return self.target.probabilities(self.stacked(scores).mean(axis=0))

    def to_json(self) -> dict[str, Any]:
        return {"models": list(self.models)}

    def _restore(self, state: Mapping[str, Any]) -> None:
        pass
