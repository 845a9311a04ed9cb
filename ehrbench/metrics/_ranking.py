"""What a ranking metric needs: for each positive, the weight of the units that stand above and below it.

The order of the predictions is found once; a weight vector then costs two gathers and two running sums.
"""

from __future__ import annotations

import numpy as np

from ehrbench.core.types import FloatArray, IntArray


class Ranking:
    """One column's predictions in order, positives (n1) and negatives (n0) apart."""

    def __init__(self, y: FloatArray, p: FloatArray) -> None:
        positives, negatives = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
        self._positives = positives[np.argsort(p[positives])]
        self._negatives = negatives[np.argsort(p[negatives])]
        at, among = p[self._positives], p[self._negatives]  # ascending
        self._below = np.searchsorted(among, at, "left")  # (n1,) negatives below each positive
        self._not_above = np.searchsorted(among, at, "right")
        self._tied = bool((self._below != self._not_above).any())
        self._first = np.searchsorted(at, at, "left")  # (n1,) first positive of the same prediction
        self._repeats = bool((self._first != np.arange(len(at))).any())

    def positives(self, weights: FloatArray) -> FloatArray:
        """(R, n1) the positives' weights, by ascending prediction."""
        return _gather(weights, self._positives)

    def negatives_below(self, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Weight of the negatives below, and not above, each positive (R, n1) twice; of all of them (R,)."""
        running = _running(_gather(weights, self._negatives))
        below = _gather(running, self._below)
        return below, _gather(running, self._not_above) if self._tied else below, running[:, -1]

    def positives_from(self, positives: FloatArray) -> FloatArray:
        """(R, n1) weight of the positives at and above each positive."""
        running = _running(positives)
        return running[:, -1:] - (_gather(running, self._first) if self._repeats else running[:, :-1])


def _running(weights: FloatArray) -> FloatArray:
    """(R, n + 1) running sum along each row, from 0."""
    out = np.zeros((weights.shape[0], weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=out[:, 1:])
    return out


def _gather(weights: FloatArray, index: IntArray) -> FloatArray:
    """(R, k) the columns at ``index``; row by row, which is twice as quick as along the axis."""
    out = np.empty((len(weights), len(index)))
    for row, into in zip(weights, out, strict=True):
        row.take(index, out=into, mode="clip")
    return out
