"""Scaling: columns brought to a common size, learned from training values only.

``standard``: winsorised at the 0.1 and 99.9 percentiles, then mean 0 and standard deviation 1.
``robust``: winsorised likewise, then median 0 and interquartile range 1.349 (that of a normal).
``quantile``: the normal score of the value's rank among 201 training quantiles; tails of any shape become
    alike, which suits laboratory values (AST runs from 5 to 18,000).
Missing values are NaN before and after; whoever calls decides what stands for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np
from scipy.special import ndtri

from ehrbench.core.errors import ConfigError
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.features.ranks import Ranks

Method = Literal["standard", "robust", "quantile"]
METHODS: tuple[str, ...] = get_args(Method)
_TAIL = 0.001
_QUANTILES = 201
_CELLS = 1 << 17  # scored at once, so that the work arrays stay small


class Scaling:
    """F columns; ``fit`` once, then ``apply`` any number of rows."""

    def __init__(self, method: str) -> None:
        if method not in METHODS:
            raise ConfigError("scaling", f"{method!r} is none of {', '.join(METHODS)}")
        self.method = method
        self.knots: FloatArray = np.zeros((0, 2))  # (F, 2) low and high, or (F, 201) quantiles
        self.centre: FloatArray = np.zeros(0)  # (F,)
        self.spread: FloatArray = np.ones(0)  # (F,)

    def fit(self, columns: Iterable[FloatArray]) -> None:
        """``columns``: for each of the F columns its known values (any number, also none)."""
        facts = [self._column(np.asarray(column, dtype=np.float64)) for column in columns]
        width = _QUANTILES if self.method == "quantile" else 2
        self.knots = np.array([knots for knots, _, _ in facts]).reshape(len(facts), width)
        self.centre = np.array([centre for _, centre, _ in facts])
        self.spread = np.array([spread for _, _, spread in facts])
        self._prepare()

    def _column(self, known: FloatArray) -> tuple[FloatArray, float, float]:
        if self.method == "quantile":
            at = np.linspace(0, 1, _QUANTILES)
            return (np.quantile(known, at) if len(known) else np.zeros(_QUANTILES)), 0.0, 1.0
        if not len(known):
            return np.zeros(2), 0.0, 1.0
        low, q1, median, q3, high = np.quantile(known, [_TAIL, 0.25, 0.5, 0.75, 1 - _TAIL])
        clipped = known.clip(low, high)
        sd = float(clipped.std())
        if self.method == "standard":
            centre, spread = float(clipped.mean()), sd
        else:
            centre, spread = float(median), float((q3 - q1) / 1.349) or sd
        return np.array([low, high]), centre, spread if spread > 1e-12 * max(1.0, abs(centre)) else 1.0

    def apply(self, values: FloatArray) -> FloatArray:
        """(…, F) float32, scaled; NaN stays NaN. A value outside the training range counts as its end."""
        if self.method != "quantile":
            return self._linear(values, *self._narrow)
        out = np.empty(values.shape, dtype=np.float32)
        if not out.size:
            return out
        n_columns = len(self.knots)
        rows, scores = values.reshape(-1, n_columns), out.reshape(-1, n_columns)
        size = max(1, _CELLS // n_columns)
        for start in range(0, len(rows), size):
            scores[start : start + size] = self._normal_scores(rows[start : start + size])
        return out

    def cells(self, values: FloatArray, columns: IntArray) -> FloatArray:
        """(K,) float32: single cells scaled, each as of its column."""
        if self.method != "quantile":
            return self._linear(values, *(part[columns] for part in self._narrow))
        return self._normal_scores(values, columns)

    def _linear(
        self, values: FloatArray, low: FloatArray, high: FloatArray, centre: FloatArray, spread: FloatArray
    ) -> FloatArray:
        out = values.clip(low, high).astype(np.float32, copy=False)
        out -= centre
        out /= spread
        return out

    def _normal_scores(self, values: FloatArray, columns: IntArray | None = None) -> FloatArray:
        rank = self._ranks(values.astype(np.float64), columns)
        scores = ndtri(rank.clip(0.5 / _QUANTILES, 1 - 0.5 / _QUANTILES))
        return np.asarray(scores, dtype=np.float32)

    def _prepare(self) -> None:
        if self.method == "quantile":
            self._ranks = Ranks(self.knots)
        else:
            columns = (*self.knots.T, self.centre, self.spread)
            self._narrow = tuple(column.astype(np.float32) for column in columns)

    def state(self) -> dict[str, np.ndarray]:
        return {"knots": self.knots, "centre": self.centre, "spread": self.spread}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.knots, self.centre, self.spread = state["knots"], state["centre"], state["spread"]
        self._prepare()
