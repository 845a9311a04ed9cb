"""No calibration: what the combiner says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehrbench.core.types import FloatArray, IntArray
from ehrbench.ensemble._base import Calibrator


class Identity(Calibrator):
    """Changes nothing."""

    name = "identity"

    def _fit(self, p: FloatArray, y: FloatArray, group: IntArray) -> None:
        pass

    def apply(self, p: FloatArray) -> FloatArray:
        return p

    def to_json(self) -> dict[str, Any]:
        return {}

    def _restore(self, state: Mapping[str, Any]) -> None:
        pass
