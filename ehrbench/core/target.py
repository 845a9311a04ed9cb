"""What is predicted: one binary outcome, several labels at once, or one of several classes.

Labels and probabilities have one shape for all three kinds, (U units, C classes), so nothing downstream asks
which kind it is except to turn scores into probabilities:

- ``binary``: C = 1, the probability of the positive class;
- ``multilabel``: C independent probabilities;
- ``multiclass``: C probabilities that sum to 1, labels one-hot.

A label of NaN is unknown: no loss, no metric counts it. A class that is not *scored* is learned and predicted
like the others, and no macro mean counts it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from scipy.special import expit, log_softmax, logit, softmax

from ehrbench.core.errors import DataError
from ehrbench.core.types import FloatArray, StrArray

Kind = Literal["binary", "multilabel", "multiclass"]
_EPS = 1e-7


@dataclass(frozen=True)
class Target:
    """Kind and class names of a target; unscored: classes that a split has too few of to score them.

    Two targets are equal whatever is scored: it is a matter of who judges, not of what is predicted.
    """

    kind: Kind
    classes: tuple[str, ...]
    unscored: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        fewest = {"binary": 1, "multilabel": 1, "multiclass": 2}
        if self.kind not in fewest:
            raise ValueError(f"target kind {self.kind!r} is none of {', '.join(fewest)}")
        if len(self.classes) < fewest[self.kind] or (self.kind == "binary" and len(self.classes) != 1):
            raise ValueError(f"a {self.kind} target cannot have classes {self.classes}")
        if not set(self.unscored) < set(self.classes):
            raise ValueError(f"unscored classes {self.unscored} are not some of {self.classes}")

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    @property
    def scored(self) -> list[int]:
        """Columns of the classes that macro means count."""
        return [c for c, name in enumerate(self.classes) if name not in self.unscored]

    def without(self, columns: Iterable[int]) -> Target:
        """The target with these classes not scored either; ValueError where none would be left."""
        left_out = {*self.unscored, *(self.classes[c] for c in columns)}
        return replace(self, unscored=tuple(name for name in self.classes if name in left_out))

    def alone(self, column: int) -> Target:
        """One class against the rest, as a binary target."""
        return Target("binary", (self.classes[column],))

    def probabilities(self, scores: FloatArray) -> FloatArray:
        """Probabilities (U, C) of scores (U, C): softmax for multi-class, otherwise sigmoid."""
        scores = np.asarray(scores, dtype=np.float64)
        return np.asarray(softmax(scores, axis=1) if self.kind == "multiclass" else expit(scores))

    def scores(self, probabilities: FloatArray) -> FloatArray:
        """The inverse: logits (U, C), or centred log probabilities for multi-class; clipped to ±16.1."""
        p = np.clip(np.asarray(probabilities, dtype=np.float64), _EPS, 1 - _EPS)
        if self.kind == "multiclass":
            return np.asarray(log_softmax(np.log(p), axis=1))
        return np.asarray(logit(p))

    def check_labels(self, y: FloatArray, where: object = None, unit_ids: StrArray | None = None) -> None:
        """Raise DataError unless ``y`` is (U, C) of 0, 1 and NaN, one-hot for multi-class.

        unit_ids: (U,) the record of each unit; the message names the first that is wrong.
        """
        if y.ndim != 2 or y.shape[1] != self.n_classes:
            raise DataError(f"labels have shape {y.shape}, not (units, {self.n_classes})", file=where)
        wrong = ~(np.isnan(y) | np.isin(y, (0.0, 1.0)))
        if wrong.any():
            unit, c = np.argwhere(wrong)[0]
            found = ", ".join(f"{value:g}" for value in np.unique(y[:, c]).tolist()[:5])
            raise DataError(
                f"{y[unit, c]:g} is neither 0 nor 1, as of {int(wrong[:, c].sum()):,} of {len(y):,} units "
                f"(labels found: {found})",
                file=where,
                record=None if unit_ids is None else unit_ids[unit],
                field=self.classes[c],
                remedy="code the outcome as 1 for those who have it and 0 for those who have not",
            )
        if self.kind == "multiclass":
            odd = np.flatnonzero(~np.isnan(y).any(axis=1) & (y.sum(axis=1) != 1))
            if len(odd):
                raise DataError(
                    f"belongs to no class or to several, as do {len(odd):,} of {len(y):,} units",
                    file=where,
                    record=None if unit_ids is None else unit_ids[odd[0]],
                    remedy=f"give each unit one of {', '.join(self.classes)}",
                )
