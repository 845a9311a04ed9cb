"""Error of a run's ends: by how many units the ends of an event and of the run that finds it lie apart.

The mean over both ends of all found events. Read beside the share of events found: one that finds only what
is plain has small errors.
"""

from __future__ import annotations

import math
from typing import ClassVar

from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.metrics._column import ratio
from ehrbench.metrics._events import EventMetric


class RunEndError(EventMetric):
    """At least 0, in units; undefined where no event is found."""

    name = "run_end_error"
    title = "Error of a run's ends"
    meaning = (
        "how many steps the ends of an event and of the called run that finds it lie apart, on average; 0"
        " is best"
    )
    greater_is_better: ClassVar[bool] = False

    def bounds(self, target: Target) -> tuple[float, float]:
        return 0.0, math.inf

    def of_sums(self, sums: FloatArray) -> FloatArray:
        return ratio(sums[:, 4], 2 * sums[:, 1])
