"""Cross-fitting of one combiner over the inner folds, two deep.

Per fold j: predictions of j by a combiner fitted on the other folds, and, for whatever is to be fitted on
top of it, predictions of each other fold i by a combiner that saw neither i nor j. That is J + J (J − 1) /
2 fits, since the fit without i and j serves both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ehrbench.core.target import Target
from ehrbench.core.types import BoolArray, FloatArray, IntArray
from ehrbench.ensemble._base import Calibrator, Combiner, Scores


@dataclass(frozen=True, eq=False)
class CrossFit:
    """held (U, C): each unit predicted without its own fold. below (J, U, C): row j, without fold j either;
    NaN for the units of j itself. group (U,): numbers; units of one are not independent."""

    held: FloatArray
    below: FloatArray
    y: FloatArray
    fold: IntArray
    group: IntArray
    target: Target

    def calibrated(self, new: Callable[[], Calibrator]) -> FloatArray:
        """(U, C) ``held`` after a calibrator that saw neither the unit's fold nor anything fitted on it."""
        out = np.empty_like(self.held)
        for row, j in zip(self.below, np.unique(self.fold), strict=True):
            rest = self.fold != j
            calibrator = new().fit(row[rest], self.y[rest], target=self.target, group=self.group[rest])
            out[~rest] = calibrator.apply(self.held[~rest])
        return out


def cross_fit(
    new: Callable[[], Combiner],
    scores: Scores,
    y: FloatArray,
    *,
    target: Target,
    fold: IntArray,
    seed: int,
    group: IntArray | None = None,
) -> CrossFit:
    """Cross-fit ``new()`` over two folds or more.

    Of two folds only one is left to fit on; what is fitted on top of that then sees the combiner's
    predictions of its own training units, and is still judged on the fold that neither saw.
    """
    folds = np.unique(fold)
    group = np.arange(len(y)) if group is None else group

    def fit(rows: BoolArray) -> Combiner:
        part = {name: z[rows] for name, z in scores.items()}
        return new().fit(part, y[rows], target=target, fold=fold[rows], seed=seed, group=group[rows])

    def predict(combiner: Combiner, rows: BoolArray) -> FloatArray:
        return combiner.predict({name: z[rows] for name, z in scores.items()})

    held = np.empty(y.shape)
    below = np.full((len(folds), *y.shape), np.nan)
    for j, left_out in enumerate(folds):
        combiner = fit(fold != left_out)
        held[fold == left_out] = predict(combiner, fold == left_out)
        if len(folds) == 2:
            below[j, fold != left_out] = predict(combiner, fold != left_out)
        for i, other in enumerate(folds[:j] if len(folds) > 2 else ()):
            combiner = fit((fold != left_out) & (fold != other))
            below[j, fold == other] = predict(combiner, fold == other)
            below[i, fold == left_out] = predict(combiner, fold == left_out)
    return CrossFit(held, below, y, fold, group, target)
