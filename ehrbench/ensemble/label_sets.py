"""Label sets: classes that cannot be ruled out, so that the true one is among them nine times in ten.

Conformal prediction by class (Vovk, Lindsay, Nouretdinov & Gammerman 2003, "Mondrian confidence machine";
the probability itself as score: Sadinle, Lei & Wasserman 2019, "Least ambiguous set-valued classifiers with
bounded error levels"): a class stays in the set unless its probability is below that of nearly all
out-of-fold units of that class. So the promise holds for each class, not for the frequent ones alone. Units
of one group (patient, recording) are not exchangeable, groups are: a group weighs as one (Lee, Barber &
Willett 2023, "Distribution-free inference with hierarchical data", eq. 8). A class of fewer groups than the
promise takes is in every set, as no data can rule it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ehrbench.core.types import BoolArray, FloatArray, StrArray

#: Share of a class's units whose set is to hold it.
LEVEL = 0.9


@dataclass(frozen=True)
class LabelSets:
    """cuts: (C,) a class is in the set of a unit with a probability at or above its own."""

    cuts: FloatArray
    level: float = LEVEL

    @staticmethod
    def fit(p: FloatArray, y: FloatArray, group: StrArray, level: float = LEVEL) -> LabelSets:
        """Of out-of-fold probabilities and one-hot labels (U, C), of units that belong to groups (U,)."""
        columns = enumerate((y == 1).T)
        return LabelSets(np.array([_cut(p[k, c], group[k], level) for c, k in columns]), level)

    def sets(self, p: FloatArray) -> BoolArray:
        """(U, C) which classes are in; the most probable one always."""
        return np.asarray((p >= self.cuts) | (p == p.max(axis=1, keepdims=True)))

    def to_json(self) -> dict[str, Any]:
        return {"cuts": self.cuts.tolist(), "level": self.level}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> LabelSets:
        return cls(np.array(state["cuts"], dtype=np.float64), float(state["level"]))


def _cut(p: FloatArray, group: StrArray, level: float) -> float:
    """The largest probability that a share ``level`` of the groups, and one unknown group more, are above."""
    if len(p) == 0:
        return 0.0
    _, owner, size = np.unique(group, return_inverse=True, return_counts=True)
    order = np.argsort(-p, kind="stable")
    reached = np.cumsum(1 / size[owner.ravel()[order]]) / (len(size) + 1)
    enough = np.flatnonzero(reached >= level - 1e-12)
    return float(p[order[enough[0]]]) if len(enough) else 0.0
