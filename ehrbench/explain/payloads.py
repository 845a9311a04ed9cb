"""Records taken apart by their payload: what of it is exchanged between records, time cut off.

Done to the payload, before any featurizer: every column that comes of a parameter follows, ratios and masks
too, and all models see the same change. A payload that cannot do it has no parameters and no hours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ehrbench.core.records import Exchangeable, Payload, Records, Timed
from ehrbench.core.types import IntArray

#: A course is told in at most so many steps: each is a prediction by all models.
MOST_STEPS = 96


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


@dataclass(frozen=True)
class Steps:
    """Equal steps of whole hours that a course is told in: n of them; none where records have no times."""

    n: int
    hours: int

    @classmethod
    def of(cls, payload: Payload) -> Steps:
        """Of one hour each, or longer where there would be more than ``MOST_STEPS``."""
        n_hours = payload.n_hours() if isinstance(payload, Timed) else 0
        each = max(1, -(-n_hours // MOST_STEPS))
        return cls(-(-n_hours // each), each)

    def ends(self) -> list[int]:
        """(n,) the hour at which each step ends."""
        return [self.hours * (k + 1) for k in range(self.n)]

    def measured(self, payload: Payload) -> IntArray:
        """(N, n) measurements of each record within each step."""
        if not self.n:
            return np.zeros((len(payload), 0), dtype=np.int64)
        assert isinstance(payload, Timed)
        hourly = payload.measured(self.n * self.hours)
        return np.asarray(hourly.reshape(len(payload), self.n, self.hours).sum(axis=2))


def until(records: Records, hours: float) -> Records:
    """The records, unlabelled, as they were known ``hours`` after their start: nothing measured later."""
    assert isinstance(records.payload, Timed)
    return replace(records.without_labels(), payload=records.payload.until(hours)).cached()
