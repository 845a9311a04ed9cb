"""F1 over events: the harmonic mean of the share of events found and the share of called runs that are right.

An event of two beats counts as much as one of forty, which F1 over units hides.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.metrics._column import ratio
from ehrbench.metrics._events import EventMetric


class EventF1(EventMetric):
    """In [0, 1]; F1 itself where every record has one unit; undefined without events and calls."""

    name = "event_f1"
    title = "F1 over events"
    meaning = (
        "harmonic mean of the share of events found and the share of called runs that are right, an event"
        " being a run of positives; 1 is best"
    )
    depends_on_mix: ClassVar[bool] = True

    def bounds(self, target: Target) -> tuple[float, float]:
        return 0.0, 1.0

    def of_sums(self, sums: FloatArray) -> FloatArray:
        events, found, called, right, _ = sums.T
        sensitivity, precision = np.nan_to_num(ratio(found, events)), np.nan_to_num(ratio(right, called))
        value = np.nan_to_num(ratio(2 * sensitivity * precision, sensitivity + precision))
        return np.where(events + called > 0, value, np.nan)
