"""What is predicted: one binary outcome, several labels at once, or one of several classes.

Labels and probabilities have one shape for all three kinds, (U units, C classes), so nothing downstream asks
which kind it is except to turn scores into probabilities:

- ``binary``: C = 1, the probability of the positive class;
- ``multilabel``: C independent probabilities;
- ``multiclass``: C probabilities that sum to 1, labels one-hot.

A label of NaN is unknown: no loss, no metric counts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit, log_softmax, logit, softmax

from ehrbench.core.errors import DataError
from ehrbench.core.types import FloatArray

Kind = Literal["binary", "multilabel", "multiclass"]
_EPS = 1e-7


@dataclass(frozen=True)
class Target:
    """Kind and class names of a target."""

    kind: Kind
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        fewest = {"binary": 1, "multilabel": 1, "multiclass": 2}
        if self.kind not in fewest:
            raise ValueError(f"target kind {self.kind!r} is none of {', '.join(fewest)}")
        if len(self.classes) < fewest[self.kind] or (self.kind == "binary" and len(self.classes) != 1):
            raise ValueError(f"a {self.kind} target cannot have classes {self.classes}")

    @property
    def n_classes(self) -> int:
        return len(self.classes)

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

    def check_labels(self, y: FloatArray, where: object = None) -> None:
        """Raise DataError unless ``y`` is (U, C) of 0, 1 and NaN, one-hot for multi-class."""
        if y.ndim != 2 or y.shape[1] != self.n_classes:
            raise DataError(f"labels have shape {y.shape}, not (units, {self.n_classes})", file=where)
        known = y[~np.isnan(y)]
        if not np.isin(known, (0.0, 1.0)).all():
            raise DataError("labels other than 0 and 1", file=where, remedy="check the outcome file")
        if self.kind == "multiclass":
            rows = y[~np.isnan(y).any(axis=1)]
            if not (rows.sum(axis=1) == 1).all():
                raise DataError("a unit belongs to no class or to several", file=where)
