"""Statistics of every (patient, parameter) cell of ``Events`` within a window, all cells at once.

Events lie in canonical order, so the values of one cell are one run; every statistic is a reduction over
runs (``ufunc.reduceat``), with no loop over patients or parameters. Sums are taken in float64 and run by run,
so that a patient's statistics are the same in any company.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ehrbench.core.errors import ConfigError
from ehrbench.core.types import BoolArray, FloatArray, IntArray
from ehrbench.features.events import Events

#: name -> what it is; t in hours since admission.
STATISTICS: dict[str, str] = {
    "count": "number of measurements; 0, never missing",
    "mean": "mean",
    "min": "least value",
    "max": "greatest value",
    "std": "standard deviation (of the values at hand, so 0 for a single one)",
    "median": "median",
    "first": "first value",
    "last": "last value",
    "change": "last - first",
    "slope": "least-squares slope over time, per hour; missing below two distinct times",
    "first_hour": "time of the first measurement",
    "last_hour": "time of the last measurement",
    "min_hour": "time of the (first) least value",
    "max_hour": "time of the (first) greatest value",
    "sum": "sum",
    "range": "max - min",
    "step": "mean absolute difference of neighbouring values; missing below two",
    "q10": "10th percentile (nearest rank)",
    "q90": "90th percentile (nearest rank)",
}


def unit_of(statistic: str, unit: str) -> str:
    """The unit of a statistic of values in ``unit``; "" where it has none, or none is known."""
    if statistic == "count":
        return ""
    if statistic.endswith("_hour"):
        return "h"
    return f"{unit}/h" if unit and statistic == "slope" else unit


class Segments:
    """Runs of one cell each among the events at minutes in [low, high), or [low, high] if ``closed``."""

    def __init__(self, events: Events, low: float, high: float, *, closed: bool) -> None:
        minute = events.minute
        inside = (minute >= low) & ((minute <= high) if closed else (minute < high))
        cell, value = events.cell, events.value
        if not inside.all():
            cell, minute, value = cell[inside], minute[inside], value[inside]
        begins = np.ones(len(cell), dtype=bool)
        begins[1:] = cell[1:] != cell[:-1]
        self.begin: IntArray = begins.nonzero()[0]  # (R,)
        self.patient, self.parameter = np.divmod(cell[self.begin], len(events.parameters))  # (R,), (R,)
        self.end = np.empty_like(self.begin)  # (R,)
        self.end[:-1], self.end[-1:] = self.begin[1:] - 1, len(cell) - 1
        self.count = self.end - self.begin + 1  # (R,)
        self.value, self.minute = value, minute  # (E',) float32, int32
        self._known: dict[str, FloatArray] = {}

    def write(self, statistic: str, out: FloatArray) -> None:
        """Fill out (N, P); NaN (0 for count) where a cell has nothing to tell it from."""
        out[:] = 0 if statistic == "count" else np.nan
        out[self.patient, self.parameter] = self.run(statistic)

    def run(self, statistic: str) -> FloatArray:
        """(R,) one value a run."""
        if statistic not in self._known:
            self._known[statistic] = np.asarray(getattr(self, f"_{statistic}")())
        return self._known[statistic]

    @property
    def hour(self) -> FloatArray:
        """(E',) float32."""
        if "hour" not in self._known:
            self._known["hour"] = self.minute.astype(np.float32) / np.float32(60)
        return self._known["hour"]

    def _over_runs(self, ufunc: np.ufunc, values: FloatArray) -> FloatArray:
        return ufunc.reduceat(values, self.begin) if len(self.begin) else np.zeros(0)

    def _count(self) -> FloatArray:
        return self.count.astype(np.float64)

    def _sum(self) -> FloatArray:
        return self._over_runs(np.add, self.value.astype(np.float64))

    def _mean(self) -> FloatArray:
        return self.run("sum") / self.count

    def _min(self) -> FloatArray:
        return self._over_runs(np.minimum, self.value)

    def _max(self) -> FloatArray:
        return self._over_runs(np.maximum, self.value)

    def _range(self) -> FloatArray:
        return self.run("max") - self.run("min")

    def _std(self) -> FloatArray:
        deviation = self.value - np.repeat(self.run("mean"), self.count)
        return np.asarray(np.sqrt(self._over_runs(np.add, deviation * deviation) / self.count))

    def _first(self) -> FloatArray:
        return self.value[self.begin]

    def _last(self) -> FloatArray:
        return self.value[self.end]

    def _change(self) -> FloatArray:
        return self.run("last") - self.run("first")

    def _first_hour(self) -> FloatArray:
        return self.hour[self.begin]

    def _last_hour(self) -> FloatArray:
        return self.hour[self.end]

    def _slope(self) -> FloatArray:
        hour = self.hour.astype(np.float64)
        hour -= np.repeat(self._over_runs(np.add, hour) / self.count, self.count)
        deviation = self.value - np.repeat(self.run("mean"), self.count)
        spread = self._over_runs(np.add, hour * hour)
        shared = self._over_runs(np.add, hour * deviation)
        return _quotient(shared, spread, spread > 1e-9)

    def _step(self) -> FloatArray:
        jump = np.zeros(len(self.value))
        jump[1:] = np.abs(np.diff(self.value.astype(np.float64)))
        jump[self.begin] = 0.0
        total = self._over_runs(np.add, jump)
        return _quotient(total, self.count - 1, self.count > 1)

    def _min_hour(self) -> FloatArray:
        return self._hour_of("min")

    def _max_hour(self) -> FloatArray:
        return self._hour_of("max")

    def _hour_of(self, extreme: str) -> FloatArray:
        at_extreme = self.value == np.repeat(self.run(extreme), self.count)
        return self._over_runs(np.minimum, np.where(at_extreme, self.hour, np.float32(np.inf)))

    def _median(self) -> FloatArray:
        low = self._ranked[self.begin + (self.count - 1) // 2]
        high = self._ranked[self.begin + self.count // 2]
        return np.asarray((low.astype(np.float64) + high) / 2)

    def _q10(self) -> FloatArray:
        return np.asarray(self._ranked[self.begin + np.rint((self.count - 1) * 0.1).astype(np.int64)])

    def _q90(self) -> FloatArray:
        return np.asarray(self._ranked[self.begin + np.rint((self.count - 1) * 0.9).astype(np.int64)])

    @property
    def _ranked(self) -> FloatArray:
        """(E',) values sorted within each run, by one sort of (run, order-keeping bits of the float)."""
        if "ranked" not in self._known:
            bits = (self.value + np.float32(0)).view(np.uint32)
            negative = bits >> 31 == 1
            ordered = np.where(negative, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)
            run = np.repeat(np.arange(len(self.begin), dtype=np.uint64), self.count)
            key = np.sort(run << np.uint64(32) | ordered)
            back = (key & np.uint64(0xFFFFFFFF)).astype(np.uint32)
            bits = np.where(back >> 31 == 1, back ^ np.uint32(1 << 31), ~back)
            self._known["ranked"] = bits.astype(np.uint32).view(np.float32)
        return self._known["ranked"]


def _quotient(above: FloatArray, below: FloatArray | IntArray, where: BoolArray) -> FloatArray:
    """above / below, NaN elsewhere."""
    return np.asarray(np.divide(above, below, out=np.full(len(above), np.nan), where=where))


def check_statistics(names: Sequence[str]) -> None:
    """Raise ConfigError for a name that is no statistic."""
    for name in names:
        if name not in STATISTICS:
            raise ConfigError("statistics", f"{name!r} is unknown", f"choose among {', '.join(STATISTICS)}")
