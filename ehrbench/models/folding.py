"""Folding: two LightGBM boosters become one whose score is a mix of theirs.

A booster's score is a sum over its trees, so a weighted sum of two boosters is one booster with all trees and
scaled leaves. What runs, explains or stores trees then need not know that there were two.
"""

from __future__ import annotations

import re

import lightgbm as lgb
import numpy as np
from lightgbm.basic import _LIB, _safe_call  # type: ignore[attr-defined]
from scipy.optimize import brentq
from scipy.special import expit

from ehrbench.core.types import FloatArray

#: The shift of the log odds is looked for within ± this.
_FARTHEST = 50.0


def folded(main: lgb.Booster, other: lgb.Booster, share: float, x: FloatArray, y: FloatArray) -> lgb.Booster:
    """A booster with score (1 - share) main + share other + shift.

    The shift makes the mean probability of x (U, F) that of the labels y (U,) of 0 and 1, so that an
    ``other`` grown on more frequent outcomes does not raise the risk.
    """
    main, other = _best(main), _best(other)
    score = (1 - share) * _scores(main, x) + share * _scores(other, x)
    shift = brentq(lambda b: expit(score + b).mean() - y.mean(), -_FARTHEST, _FARTHEST)
    _scale(main, 1 - share, float(shift))
    _scale(other, share, 0.0)
    # the C API's merge has no name in the Python package
    _safe_call(_LIB.LGBM_BoosterMerge(main._handle, other._handle))
    return lgb.Booster(model_str=main.model_to_string(num_iteration=-1))


def _scores(booster: lgb.Booster, x: FloatArray) -> FloatArray:
    """(U,) log odds."""
    return np.asarray(booster.predict(x, raw_score=True))


def _best(booster: lgb.Booster) -> lgb.Booster:
    """A copy that ends at the best iteration, where growth was stopped early."""
    return lgb.Booster(model_str=booster.model_to_string())


def _scale(booster: lgb.Booster, factor: float, shift: float) -> None:
    """Multiply every leaf by ``factor`` and add ``shift`` to those of the first tree."""
    sizes = re.findall(r"^num_leaves=(\d+)$", booster.model_to_string(num_iteration=-1), re.MULTILINE)
    for tree, size in enumerate(sizes):
        for leaf in range(int(size)):
            value = factor * booster.get_leaf_output(tree, leaf) + (shift if tree == 0 else 0.0)
            booster.set_leaf_output(tree, leaf, value)
