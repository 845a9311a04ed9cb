"""Micro F1: F1 of all units' calls together, each call alike, whatever its class.

For a multi-class target, where each unit is called once, it is the accuracy of the calls.
"""

from __future__ import annotations

from typing import ClassVar

from ehrbench.core.types import FloatArray
from ehrbench.metrics._called import CalledF1, share


class MicroF1(CalledF1):
    """In [0, 1], at the decision thresholds."""

    name = "micro_f1"
    title = "Micro F1"
    meaning = "F1 of the calls of all classes together, each call alike; 1 is best"
    pooled: ClassVar[bool] = True

    def of_counts(self, true: FloatArray, called: FloatArray, positive: FloatArray) -> FloatArray:
        return share(2 * true.sum(axis=1), (called + positive).sum(axis=1))
