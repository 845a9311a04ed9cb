"""Stacking (Wolpert 1992) by a regularised linear model on out-of-fold scores.

The score is Σ_m w_m z_m + b with w ≥ 0 (Breiman 1996: without that bound, nearly equal models get large
weights of opposite sign), shrunk towards equal weights 1/M by λ/2 ‖w − 1/M‖²: at a large λ it is the mean
of the scores with a shift. λ is chosen by log loss, cross-fitted over the given folds, the largest within
one standard error of the best. Binary and multi-label targets have weights and a bias for each class; a
multi-class target has one weight a model and a bias a class, fitted by multinomial likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ehrbench.core.types import BoolArray, FloatArray, IntArray
from ehrbench.ensemble._base import Combiner, Scores, unit_loss
from ehrbench.ensemble._choice import compare
from ehrbench.ensemble._regression import minimise, with_bias

STRENGTHS = (1.0, 0.1, 0.01, 0.001, 0.0001)  # strongest, so simplest, first
#: Where the folds are too few to choose: the middle.
_UNCHOSEN = 0.01
#: λ is chosen on at most so many units, drawn at random of all groups (fewer units of each tell more than
#: fewer groups do): where there are more it hardly matters.
_MOST_UNITS = 20_000
#: Prior variance of a bias; only there to keep it finite where a class never occurs.
_BIAS_VARIANCE = 100.0


class LinearStack(Combiner):
    """``weights`` (M, K), ``bias`` (C,), ``strength`` λ; K = C, or 1 for a multi-class target."""

    name = "linear_stack"
    weights: FloatArray
    bias: FloatArray
    strength: float

    def _fit(self, z: FloatArray, y: FloatArray, fold: IntArray, group: IntArray, seed: int) -> None:
        everything = np.ones(len(y), dtype=bool)
        some = everything
        if len(y) > _MOST_UNITS:
            some = np.zeros(len(y), dtype=bool)
            some[np.random.default_rng(seed).choice(len(y), _MOST_UNITS, replace=False)] = True
        self.strength = self._choose_strength(z[:, some], y[some], fold[some], group[some])
        ((self.weights, self.bias),) = self._path(z, y, everything, (self.strength,))

    def _choose_strength(self, z: FloatArray, y: FloatArray, fold: IntArray, group: IntArray) -> float:
        folds = np.unique(fold)
        if len(folds) < 2:
            return _UNCHOSEN
        losses = np.full((len(STRENGTHS), len(y)), np.nan)
        for j in folds:
            held = fold == j
            for i, (weights, bias) in enumerate(self._path(z, y, ~held, STRENGTHS)):
                p = self.target.probabilities(_scores(z[:, held], weights, bias))
                losses[i, held] = unit_loss(y[held], p, self.target)
        return STRENGTHS[compare(losses, group).simplest]

    def _path(
        self, z: FloatArray, y: FloatArray, rows: BoolArray, strengths: tuple[float, ...]
    ) -> list[tuple[FloatArray, FloatArray]]:
        """Weights and bias at each strength in turn, each started from the one before."""
        if self.target.kind == "multiclass":
            known = rows & ~np.isnan(y).any(axis=1)
            path = _fit_path(z[:, known], y[known], strengths)
            return [(theta[: len(z), None], theta[len(z) :]) for theta in path]
        columns = []
        for c in range(y.shape[1]):
            known = rows & ~np.isnan(y[:, c])
            columns.append(_fit_path(z[:, known, c : c + 1], y[known, c : c + 1], strengths))
        each = np.array(columns)  # (C, strengths, M + 1)
        return [(each[:, i, :-1].T, each[:, i, -1]) for i in range(len(strengths))]

    def predict(self, scores: Scores) -> FloatArray:
        return self.target.probabilities(_scores(self.stacked(scores), self.weights, self.bias))

    def to_json(self) -> dict[str, Any]:
        return {
            "models": list(self.models),
            "weights": self.weights.tolist(),
            "bias": self.bias.tolist(),
            "strength": self.strength,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.weights, self.bias = np.array(state["weights"]), np.array(state["bias"])
        self.strength = state["strength"]


def _scores(z: FloatArray, weights: FloatArray, bias: FloatArray) -> FloatArray:
    return np.asarray((z * weights[:, None, :]).sum(axis=0) + bias)  # (U, C)


def _fit_path(z: FloatArray, y: FloatArray, strengths: tuple[float, ...]) -> list[FloatArray]:
    """Coefficients (M + K,) at each strength for scores (M, U, K) and labels (U, K)."""
    m, n, k = z.shape
    centre = np.r_[np.full(m, 1 / m), np.zeros(k)]
    if n == 0:
        return [centre for _ in strengths]
    features, lower = with_bias(z), np.r_[np.zeros(m), np.full(k, -np.inf)]
    path: list[FloatArray] = []
    for strength in strengths:
        ridge = np.r_[np.full(m, strength), np.full(k, 1 / (_BIAS_VARIANCE * n))]
        start = path[-1] if path else None
        path.append(minimise(features, y, ridge=ridge, centre=centre, lower=lower, start=start))
    return path
