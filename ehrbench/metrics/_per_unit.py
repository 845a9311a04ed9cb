"""Metrics that each unit has by itself, over its classes: how well they are ranked."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.metrics._column import UnitMean


class UnitGain(UnitMean):
    """Weighted mean of what each unit gains, in [0, 1]."""

    greater_is_better: ClassVar[bool] = True
    pooled: ClassVar[bool] = True

    def bounds(self, target: Target) -> tuple[float, float]:
        return 0.0, 1.0

    @abstractmethod
    def gains(self, y: FloatArray, p: FloatArray, target: Target) -> FloatArray:
        """(U,) of labels and probabilities (U, C); NaN for a unit that is not counted."""

    def loss(self, y: FloatArray, p: FloatArray, target: Target) -> FloatArray:
        return self.gains(y, p, target)[:, None]


class PrecisionAt(UnitGain):
    """Share of a unit's ``k`` most probable classes that are its own; among equals, the share by chance.

    A class of unknown label takes no place. Where there are fewer than ``k`` classes, of all of them.
    """

    depends_on_mix: ClassVar[bool] = True

    k: int

    def gains(self, y: FloatArray, p: FloatArray, target: Target) -> FloatArray:
        known = ~np.isnan(y)
        ranked = np.where(known, p, -1.0)
        k = np.minimum(self.k, known.sum(axis=1))  # (U,)
        last = np.take_along_axis(-np.sort(-ranked, axis=1), np.maximum(k - 1, 0)[:, None], axis=1)
        above, tied = (ranked > last) & known, (ranked == last) & known
        open_places = k - above.sum(axis=1)
        own = y == 1
        hits = (own & above).sum(axis=1) + (own & tied).sum(axis=1) * open_places / np.maximum(
            tied.sum(axis=1), 1
        )
        return np.where(k > 0, hits / np.maximum(k, 1), np.nan)
