"""Venn-Abers: between what a probability lies, by what came of units of about that probability.

Inductive Venn-ABERS predictors (Vovk, Petej & Fedorova 2015, "Large-scale probabilistic predictors with and
without guarantees of validity", section 2): the unit at hand is added to the calibration units once as a
negative and once as a positive, and isotonic regression is fitted to both; its two values there are the
interval's ends. Whatever the outcome turns out to be, the end that belongs to it is perfectly calibrated, if
the unit is exchangeable with those of the calibration. So on average the ends lie on both sides of the
frequency; they are no confidence interval of one patient's risk. It is wide where few were like this unit.

The theorem is of one split. Here each calibration unit was predicted by models that had not seen it, and the
bundle's are the mean of those (as in cross Venn-ABERS, section 4), which is no theorem but close to one.

Both ends are steps, computed once for each bin of the calibration probabilities; bins are cut as those of
``core.profile``, so that no patient can be found in them. A group (patient, recording) weighs as one unit,
however many it has, and so does the unit at hand: many beats of one recording are not many patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from ehrbench.core.profile import bins
from ehrbench.core.types import FloatArray, StrArray

MOST_BINS = 200


@dataclass(frozen=True)
class VennAbers:
    """Of each class: edges (B - 1,) of the bins, and the interval's ends (B, 2) in each."""

    edges: tuple[FloatArray, ...]
    ends: tuple[FloatArray, ...]

    @staticmethod
    def fit(p: FloatArray, y: FloatArray, group: StrArray) -> VennAbers:
        """Of out-of-fold probabilities and labels (U, C), NaN unknown, of units of groups (U,)."""
        known = ~np.isnan(y)
        made = [_ends(p[k, c], y[k, c], group[k]) for c, k in enumerate(known.T)]
        return VennAbers(tuple(edges for edges, _ in made), tuple(ends for _, ends in made))

    def intervals(self, p: FloatArray) -> FloatArray:
        """(U, C, 2) of calibrated probabilities (U, C)."""
        columns = zip(self.edges, self.ends, p.T, strict=True)
        found = [ends[np.searchsorted(edges, one, side="right")] for edges, ends, one in columns]
        return np.stack(found, axis=1)

    def around(self, p: FloatArray) -> FloatArray:
        """``intervals``, stretched to each probability that lies outside: the theorem's with some to spare.

        A smooth calibrator and the steps of isotonic regression may disagree by more than the ends do, and
        nobody can use a probability together with an interval that leaves it out.

        >>> made = VennAbers((np.zeros(0),), (np.array([[0.05, 0.06]]),))
        >>> made.intervals(np.array([[0.04]])).tolist(), made.around(np.array([[0.04]])).tolist()
        ([[[0.05, 0.06]]], [[[0.04, 0.06]]])
        """
        low, high = np.moveaxis(self.intervals(p), -1, 0)
        return np.stack([np.minimum(low, p), np.maximum(high, p)], axis=-1)

    def to_json(self) -> dict[str, Any]:
        return {"edges": [e.tolist() for e in self.edges], "ends": [e.tolist() for e in self.ends]}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> VennAbers:
        """ValueError where bins and ends do not fit."""
        edges = tuple(np.array(e, dtype=np.float64) for e in state["edges"])
        ends = tuple(np.array(e, dtype=np.float64).reshape(-1, 2) for e in state["ends"])
        if [len(e) + 1 for e in edges] != [len(e) for e in ends]:
            raise ValueError("bins and ends do not fit")
        return cls(edges, ends)


def _ends(p: FloatArray, y: FloatArray, group: StrArray) -> tuple[FloatArray, FloatArray]:
    """Edges (B - 1,) and ends (B, 2) of one class."""
    edges = np.asarray(bins(p, group, most=MOST_BINS).edges, dtype=np.float64)
    owner, size = np.unique(group, return_inverse=True, return_counts=True)[1:]
    share = 1 / size[owner.ravel()]
    place = np.searchsorted(edges, p, side="right")
    weight = np.bincount(place, share, minlength=len(edges) + 1)
    positive = np.bincount(place, share * y, minlength=len(edges) + 1)
    ends = np.empty((len(weight), 2))
    for b, one in enumerate(np.eye(len(weight))):
        for label in (0, 1):
            w = weight + one
            fitted = isotonic_regression((positive + label * one) / w, weights=w)
            ends[b, label] = fitted.x[b]
    return edges, np.clip(ends, 0, 1)
