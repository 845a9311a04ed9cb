"""Labels a model can learn from, and how much each class weighs."""

from __future__ import annotations

import numpy as np

from ehrbench.core.errors import FitError
from ehrbench.core.target import Target
from ehrbench.core.types import BoolArray, FloatArray


def known_rows(y: FloatArray) -> BoolArray:
    """(U,) rows with at least one known label."""
    return np.asarray(~np.isnan(y).all(axis=1))


def check_learnable(y: FloatArray, target: Target) -> None:
    """Raise FitError unless some class has both outcomes among the known labels (U, C)."""
    positive, known = np.nansum(y, axis=0), (~np.isnan(y)).sum(axis=0)
    if ((positive > 0) & (positive < known)).any():
        return
    if not known.any():
        raise FitError("no training label is known — check the outcome file and the fold's records")
    seen = ", ".join(c for c, p in zip(target.classes, positive, strict=True) if p > 0) or "none"
    raise FitError(
        f"the {int(known.max())} training labels hold one class only (positive for: {seen}) — "
        "use fewer folds, stratified ones, or more records"
    )


def class_weights(y: FloatArray, target: Target, power: float) -> FloatArray:
    """(C,) weights of the positive labels; power 0 gives ones, power 1 balances the classes fully.

    binary, multilabel: (negatives / positives)^power; multiclass: (n / (C n_c))^power.
    A class never seen keeps weight 1.
    """
    positive, known = np.nansum(y, axis=0), (~np.isnan(y)).sum(axis=0)
    seen = (positive > 0) & ((positive < known) | (target.kind == "multiclass"))
    others = known / target.n_classes if target.kind == "multiclass" else known - positive
    return np.where(seen, (others / np.maximum(positive, 1)) ** power, 1.0)
