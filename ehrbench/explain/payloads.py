"""Records taken apart by their payload: what of it is exchanged between records, time cut off.

Done to the payload, before any featurizer: every column that comes of a parameter follows, ratios and masks
too, and all models see the same change. A payload that cannot do it has no parameters and no hours.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ehrbench.core.records import Exchangeable, Payload, Records, Timed
from ehrbench.core.types import IntArray


def parameters(payload: Payload) -> tuple[str, ...]:
    """Names that ``exchanged`` takes."""
    return payload.evidence() if isinstance(payload, Exchangeable) else ()


def exchanged(records: Records, parameter: str, donors: IntArray) -> tuple[IntArray, Records]:
    """All of one parameter taken from the records at ``donors`` (N,): who changes by it, unlabelled."""
    if not isinstance(records.payload, Exchangeable):
        raise TypeError(f"{type(records.payload).__name__} has no parameters")
    if parameter not in records.payload.evidence():
        return np.zeros(0, dtype=np.int64), records.take(np.zeros(0, dtype=np.int64)).without_labels()
    index, payload = records.payload.exchanged(parameter, donors)
    return index, replace(records.take(index).without_labels(), payload=payload).cached()


def n_hours(payload: Payload) -> int:
    """Whole hours until the last measurement of any record; 0 where there are no times."""
    return payload.n_hours() if isinstance(payload, Timed) else 0


def until(records: Records, hours: float) -> Records:
    """The records, unlabelled, as they were known ``hours`` after their start: nothing measured later."""
    assert isinstance(records.payload, Timed)
    return replace(records.without_labels(), payload=records.payload.until(hours)).cached()


def measured(payload: Payload, hours: int) -> IntArray:
    """(N, hours) measurements of each record within each hour."""
    assert isinstance(payload, Timed)
    return payload.measured(hours)
