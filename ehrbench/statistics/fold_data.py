"""Predictions of one test fold: of one model, or of several on the same units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ehrbench.core.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class FoldData:
    """What one finished procedure said of one test fold.

    y: labels, p: probabilities (U, C); group (U,): what is resampled together; threshold (C,) or None.
    n_train: groups the procedure was decided on (0 where it does not matter: a bundle on new records).
    """

    y: FloatArray
    p: FloatArray
    group: np.ndarray[Any, Any]
    threshold: FloatArray | None = None
    n_train: int = 0


@dataclass(frozen=True, eq=False)
class FoldPredictions:
    """What every model said of the test units of one outer fold.

    record: (U,) positions among all records; group: (U,) what is resampled together.
    y: (U, C), NaN where unknown; p: model -> (U, C); threshold: model -> (C,).
    n_train, n_test: records.
    """

    name: str
    record: IntArray
    unit: IntArray
    group: IntArray
    y: FloatArray
    p: Mapping[str, FloatArray]
    threshold: Mapping[str, FloatArray]
    n_train: int
    n_test: int

    def take(self, index: IntArray) -> FoldPredictions:
        """The units at ``index``, in that order; the sizes stay those of the whole fold."""
        return replace(
            self,
            record=self.record[index],
            unit=self.unit[index],
            group=self.group[index],
            y=self.y[index],
            p={model: p[index] for model, p in self.p.items()},
        )

    def of(self, model: str) -> FoldData:
        """One model's predictions."""
        return FoldData(self.y, self.p[model], self.group, self.threshold.get(model))
