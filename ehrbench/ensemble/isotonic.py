"""Isotonic calibration (Zadrozny & Elkan 2002) without its steps, and no bolder than its data.

Pool-adjacent-violators gives a step function, in which a difference of 1e-9 in the score can be one of 0.2
in the probability. Here the middles of its blocks are joined by straight lines, ending near (0, 0) and (1,
1), and the slope is bounded by ``MAX_SLOPE``: the mean of the greatest function below and the least one
above that is nowhere steeper. A difference of 1e-5 before is at most 1e-4 after, and no two units become
equal.

A block without events has a rate of 0, however few its units. It is held at Jeffreys' estimate for its g
groups, 1/2 / (g + 1), or at its mean probability where that is lower: 60 patients without an event turn 2 %
into 0.8 %, not into 0. Likewise where all units of a block are events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from ehrbench.core.types import FloatArray, IntArray
from ehrbench.ensemble._base import Calibrator

MAX_SLOPE = 10.0


class Isotonic(Calibrator):
    """For each class ``knots`` and ``values``; multi-class rows are scaled to sum to 1 afterwards."""

    name = "isotonic"
    knots: list[FloatArray]
    values: list[FloatArray]

    def _fit(self, p: FloatArray, y: FloatArray, group: IntArray) -> None:
        known = ~np.isnan(y)
        curves = [_curve(p[k, c], y[k, c], group[k]) for c, k in enumerate(known.T)]
        self.knots, self.values = [x for x, _ in curves], [v for _, v in curves]

    def apply(self, p: FloatArray) -> FloatArray:
        columns = [
            np.interp(p[:, c], x, v) for c, (x, v) in enumerate(zip(self.knots, self.values, strict=True))
        ]
        out = np.stack(columns, axis=1)  # (U, C), all > 0
        return out / out.sum(axis=1, keepdims=True) if self.target.kind == "multiclass" else out

    def to_json(self) -> dict[str, Any]:
        return {"knots": [x.tolist() for x in self.knots], "values": [v.tolist() for v in self.values]}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.knots = [np.array(x) for x in state["knots"]]
        self.values = [np.array(v) for v in state["values"]]


def _curve(p: FloatArray, y: FloatArray, group: IntArray) -> tuple[FloatArray, FloatArray]:
    """Knots from 0 to 1 and increasing values there, for probabilities, labels and group numbers (n,)."""
    if len(p) == 0:
        return np.array([0.0, 1.0]), np.array([0.0, 1.0])
    x, position = np.unique(p, return_inverse=True)
    count = np.bincount(position)
    fitted = isotonic_regression(np.bincount(position, y) / count, weights=count)
    edges = fitted.blocks[:-1]
    size = np.add.reduceat(count, edges)
    middle = np.add.reduceat(count * x, edges) / size  # (B,) mean probability of each block
    owner = np.searchsorted(edges, position, side="right") - 1  # (n,) each unit's block
    pairs = np.unique(np.stack([owner, group]), axis=1)
    jeffreys = 0.5 / (np.bincount(pairs[0]) + 1)  # (B,)
    rate = fitted.x[edges]
    rate = np.where(rate <= 0, np.minimum(jeffreys, middle), rate)
    rate = np.where(rate >= 1, np.maximum(1 - jeffreys, middle), rate)
    least = 1 / (2 * (len(p) + 1))  # nothing is impossible, nor certain
    again = isotonic_regression(
        np.clip(rate, least, 1 - least), weights=size
    )  # an end may pass its neighbour
    edges = again.blocks[:-1]
    middle = np.add.reduceat(size * middle, edges) / np.add.reduceat(size, edges)
    inside = (middle > 0) & (middle < 1)
    knots = np.r_[0.0, middle[inside], 1.0]
    values = np.r_[least / 2, again.x[edges][inside], 1 - least / 2]
    return knots, _bounded(knots, values)


def _bounded(x: FloatArray, v: FloatArray) -> FloatArray:
    """Increasing values at x that differ from v where it is steeper than MAX_SLOPE, and are not."""
    tilted = v - MAX_SLOPE * x
    below = np.minimum.accumulate(tilted)
    above = np.maximum.accumulate(tilted[::-1])[::-1]
    return np.asarray((below + above) / 2 + MAX_SLOPE * x)
