"""Calibration by scaling scores: slope · score + bias, with or without the bias (temperature, Platt)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ehrbench.core.types import FloatArray, IntArray
from ehrbench.ensemble._base import Calibrator
from ehrbench.ensemble._regression import minimise, with_bias

#: The slope stays positive: a calibrator must not turn the order of the units round.
_LEAST_SLOPE = 0.01


class ScoreScaling(Calibrator):
    """``slope`` (C,) and ``bias`` (C,); a multi-class target has one slope for all classes.

    A Gaussian prior of unit variance around the identity (slope 1, bias 0), worth about one unit's
    evidence, keeps both finite where the labels are of one class or can be told apart completely.
    """

    has_bias: ClassVar[bool]
    slope: FloatArray
    bias: FloatArray

    def _fit(self, p: FloatArray, y: FloatArray, group: IntArray) -> None:
        z = self.target.scores(p)
        if self.target.kind == "multiclass":
            known = ~np.isnan(y).any(axis=1)
            theta = self._column(z[known], y[known])
            self.slope, self.bias = np.full(z.shape[1], theta[0]), theta[1:]
            return
        known = ~np.isnan(y)
        each = np.array(
            [self._column(z[k, c : c + 1], y[k, c : c + 1]) for c, k in enumerate(known.T)]
        )  # (C, 2)
        self.slope, self.bias = each[:, 0], each[:, 1]

    def _column(self, z: FloatArray, y: FloatArray) -> FloatArray:
        """Slope and biases (1 + K,) for scores and labels (U, K)."""
        n, k = z.shape
        centre = np.r_[1.0, np.zeros(k)]
        if n == 0:
            return np.asarray(centre)
        features = with_bias(z[None])
        kept = slice(None) if self.has_bias else slice(1)
        lower = np.r_[_LEAST_SLOPE, np.full(k, -np.inf)]
        theta = np.zeros(1 + k)
        theta[kept] = minimise(
            features[:, :, kept],
            y,
            ridge=np.full(1 + k, 1 / n)[kept],
            centre=centre[kept],
            lower=lower[kept],
        )
        return np.asarray(theta)

    def apply(self, p: FloatArray) -> FloatArray:
        return self.target.probabilities(self.target.scores(p) * self.slope + self.bias)

    def to_json(self) -> dict[str, Any]:
        return {"slope": self.slope.tolist(), "bias": self.bias.tolist()}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.slope, self.bias = np.array(state["slope"]), np.array(state["bias"])
