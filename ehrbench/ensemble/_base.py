"""Contracts of an ensemble's two parts: a combiner of models' scores, and a calibrator of its probabilities.

Shapes: U units, C classes as ``core.target`` has them, M models. Scores are those of ``Target.scores``:
logits, or centred log probabilities for a multi-class target.

What both promise
-----------------
- ``fit`` sees out-of-fold predictions only; whoever calls it sees to that. It is a function of its
  arguments: equal arguments give equal bits. Labels of NaN are unknown and count nothing.
- ``predict`` and ``apply`` treat each unit by itself and give finite probabilities; rows of a multi-class
  target sum to 1.
- A small change of a score makes a small change of the probability: no steps.
- The fitted state is JSON, written with all digits: a restored one predicts the same to the last bit.
- Importing and running them takes numpy and scipy only: the server does both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from ehrbench.core.errors import BundleError
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, IntArray

#: Model name to scores (U, C).
Scores = Mapping[str, FloatArray]
_EPS = float(np.finfo(np.float64).eps)


class Combiner(ABC):
    """Several models' scores to one probability. Unfitted until ``fit``; built without arguments."""

    name: ClassVar[str]
    target: Target
    models: tuple[str, ...]  # in the order of the weights

    def fit(
        self,
        scores: Scores,
        y: FloatArray,
        *,
        target: Target,
        fold: IntArray,
        seed: int,
        group: IntArray | None = None,
    ) -> Self:
        """Learn from out-of-fold scores and labels (U, C); ``fold`` (U,) is each unit's inner fold.

        What the combiner must choose for itself (a strength, a number of steps) it chooses over those
        folds. group: (U,) numbers; units of one are not independent (None: all are).
        """
        self.target, self.models = target, tuple(scores)
        group = np.arange(len(y)) if group is None else group
        self._fit(self.stacked(scores), np.asarray(y, dtype=np.float64), fold, group, seed)
        return self

    @abstractmethod
    def _fit(self, z: FloatArray, y: FloatArray, fold: IntArray, group: IntArray, seed: int) -> None:
        """``fit`` on stacked scores (M, U, C)."""

    @abstractmethod
    def predict(self, scores: Scores) -> FloatArray:
        """(U, C) probabilities of scores of the same models."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The fitted state, JSON-like; always with ``models``."""

    @classmethod
    def from_json(cls, state: Mapping[str, Any], target: Target) -> Self:
        """A fitted combiner of the state that ``to_json`` gave."""
        self = cls()
        self.target, self.models = target, tuple(state["models"])
        self._restore(state)
        return self

    @abstractmethod
    def _restore(self, state: Mapping[str, Any]) -> None: ...

    def stacked(self, scores: Scores) -> FloatArray:
        """(M, U, C) the scores in the order of ``models``; BundleError naming a model that is not there."""
        if missing := [m for m in self.models if m not in scores]:
            raise BundleError(
                f"ensemble: no scores of its member {missing[0]!r} — it needs {', '.join(self.models)}"
            )
        return np.stack([np.asarray(scores[m], dtype=np.float64) for m in self.models])


class Calibrator(ABC):
    """Probabilities to better calibrated ones, increasing in each class's own. Built without arguments."""

    name: ClassVar[str]
    target: Target

    def fit(self, p: FloatArray, y: FloatArray, *, target: Target, group: IntArray | None = None) -> Self:
        """Learn from out-of-fold probabilities and labels (U, C); group as a combiner's."""
        self.target = target
        group = np.arange(len(y)) if group is None else group
        self._fit(np.asarray(p, dtype=np.float64), np.asarray(y, dtype=np.float64), group)
        return self

    @abstractmethod
    def _fit(self, p: FloatArray, y: FloatArray, group: IntArray) -> None: ...

    @abstractmethod
    def apply(self, p: FloatArray) -> FloatArray:
        """(U, C) calibrated probabilities of probabilities (U, C)."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The fitted state, JSON-like."""

    @classmethod
    def from_json(cls, state: Mapping[str, Any], target: Target) -> Self:
        """A fitted calibrator of the state that ``to_json`` gave."""
        self = cls()
        self.target = target
        self._restore(state)
        return self

    @abstractmethod
    def _restore(self, state: Mapping[str, Any]) -> None: ...


def unit_loss(y: FloatArray, p: FloatArray, target: Target) -> FloatArray:
    """(U,) log loss of each unit in nats, mean over its known labels; NaN where it has none."""
    p = np.clip(p, _EPS, 1 - _EPS)
    if target.kind == "multiclass":
        return np.asarray(-(y * np.log(p)).sum(axis=1))
    known = ~np.isnan(y)
    loss = np.where(known, -np.where(y == 1, np.log(p), np.log1p(-p)), 0.0).sum(axis=1)
    count = known.sum(axis=1)
    return np.asarray(np.divide(loss, count, out=np.full(len(y), np.nan), where=count > 0))
