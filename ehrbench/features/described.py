"""Described: descriptors that do not change, fit for networks: scaled, 0 and an indicator where unknown."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ehrbench.core.types import FloatArray
from ehrbench.core.views import Sequence, indicators
from ehrbench.features.scaling import Scaling


class Described:
    """(U, D) with NaN to (U, 2 D) finite."""

    def __init__(self, scaling: str) -> None:
        self._scaling = Scaling(scaling)

    def fit(self, static: FloatArray) -> None:
        self._scaling.fit(column[~np.isnan(column)] for column in static.T)

    def apply(self, static: FloatArray) -> FloatArray:
        unknown = np.isnan(static)
        scaled = np.where(unknown, np.float32(0), self._scaling.apply(static))
        return np.concatenate([scaled, unknown], axis=1, dtype=np.float32)

    @staticmethod
    def names(view: Sequence) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """Names of the 2 D columns, and ``parameter_of`` with the new ones among them."""
        missing = indicators(view.descriptors, view.parameter_of)
        return (*view.descriptors, *missing), {**view.parameter_of, **missing}

    def state(self) -> dict[str, np.ndarray]:
        return self._scaling.state()

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._scaling.restore(state)
