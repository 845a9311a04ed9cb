"""BeatContext: each beat as a row of what surrounds it, for trees, or scaled for linear models and networks.

All of it comes of the recording the beat stands in, to both sides, and most of it is relative (logarithms of
ratios, ranks, deviations in units of the recording's own), since what is quick for one heart is slow for
another. Only scales are learned.

Columns are named by what they tell of (``level.over_median@129``), which is what explanations sum up. L is
log RR, windows are in beats:

- ``level``: the interval (ms), L less the recording's median and less those of windows, the same in units of
  the spread there, ranks, minima, maxima, and how many beats around lie far below or above;
- ``neighbours``: L of each of the ``reach`` beats to either side, less the median of the 65 around, and less
  the beat's own;
- ``change``: of L to the next beat and from the last; ``shape``: slope, turns, skew, autocorrelations, how
  long L has been rising or falling and will be, how far the window's shortest and longest intervals are;
- ``variability``: spread, deviation, range, RMSSD and pNN50 of windows, Poincaré's ratio of short-term to
  long-term (Brennan, Palaniswami & Kamen 2001), and where they rank among all of the recording;
- ``beside``: windows before and after against each other and against the beat;
- ``recording``: beats, median, spreads; ``place``: where in it the beat stands; ``lost``: beats left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Table, View, grouped
from ehrbench.features.beats import Beats
from ehrbench.features.completing import Completing
from ehrbench.features.neighbourhoods import (
    before_after,
    mirrored,
    running_autocorrelation,
    running_deviation,
    running_mean,
    running_quantiles,
    running_rank,
    running_slope,
    windows,
)

#: Half widths, in beats, of the windows around a beat, and of those to one side of it.
AROUND = (2, 4, 8, 16, 32, 64)
BESIDE = (3, 6, 12, 24, 48)
#: A jump that counts for pNN50, in ms.
_JUMP_MS = 50.0
#: How far from the recording's median a beat is far, in its interquartile ranges.
_FAR = 1.0
#: Columns in units of their own; all others are relative, or logarithms.
_UNITS = dict.fromkeys(("level.ms", "lost.ms", "lost.around", "recording.median"), "ms")
_BEATS = ("shape.run_before", "shape.run_after", "shape.shortest_at", "shape.longest_at")
#: Least spread that divides: half a millisecond of a second.
_LEAST = 5e-4


class BeatContext(Featurizer):
    """``Beats`` to ``Table``.

    Parameters
    ----------
    reach: beats to either side that are columns of their own.
    scaling: None (raw), or a method of ``Scaling``.
    """

    def __init__(self, reach: int = 12, scaling: str | None = None) -> None:
        self.reach, self.scaling = int(reach), scaling
        self._completing = None if scaling is None else Completing(scaling)

    def settings(self) -> dict[str, Any]:
        return {"reach": self.reach, "scaling": self.scaling}

    @property
    def key(self) -> str:
        """Scaling is fitted, so it does not shape ``rows``."""
        return f"{type(self).__qualname__} {self.reach}"

    def unit(self, column: str, units: Mapping[str, str]) -> str:
        return _UNITS.get(column, "beats" if column.partition("@")[0] in _BEATS else "")

    def rows(self, records: Records) -> View:
        beats = records.payload
        assert isinstance(beats, Beats)
        names = self._columns(np.full(1, 800.0), np.zeros(1)).keys()
        values = np.empty((len(beats.rr_ms), len(names)), dtype=np.float32)
        for start, stop in zip(beats.starts[:-1].tolist(), beats.starts[1:].tolist(), strict=True):
            part = slice(start, stop)
            columns = self._columns(beats.rr_ms[part].astype(np.float64), beats.lost_ms[part])
            values[part] = np.stack(list(columns.values()), axis=1)
        return Table(values, tuple(names), parameter_of=grouped(names))

    def _columns(self, rr: FloatArray, lost: FloatArray) -> dict[str, FloatArray]:
        """Name -> (n,) of one recording of n beats."""
        return dict(
            [
                *_of_beat(rr, lost),
                *self._lags(np.log(rr)),
                *_around(rr),
                *_beside(np.log(rr)),
                *_of_recording(rr),
            ]
        )

    def _lags(self, log_rr: FloatArray) -> Iterator[tuple[str, FloatArray]]:
        level = running_quantiles(log_rr, AROUND[4], (0.5,))[:, 0]
        padded, n = mirrored(log_rr, self.reach), len(log_rr)
        for k in range(-self.reach, self.reach + 1):
            there = padded[self.reach + k : self.reach + k + n]
            yield f"neighbours.lag@{k}", there - level
            if k:
                yield f"neighbours.difference@{k}", there - log_rr

    def fit_rows(self, view: View) -> None:
        assert isinstance(view, Table)
        if self._completing is not None:
            self._completing.fit(view)

    def apply(self, view: View) -> View:
        assert isinstance(view, Table)
        return view if self._completing is None else self._completing.apply(view)

    def state(self) -> dict[str, np.ndarray]:
        return {} if self._completing is None else self._completing.state()

    def restore(self, state: dict[str, np.ndarray]) -> None:
        if self._completing is not None:
            self._completing.restore(state)


def _of_beat(rr: FloatArray, lost: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    log_rr, (median, spread) = np.log(rr), level_and_spread(np.log(rr))
    change = np.diff(log_rr, prepend=log_rr[0])
    yield "level.ms", rr
    yield "level.log_ratio", log_rr - median
    yield "level.z", (log_rr - median) / spread
    yield "level.rank", rank(log_rr)
    yield "change.change", change
    yield "change.next_change", np.append(change[1:], 0.0)
    yield "change.bend", np.append(change[1:], 0.0) - change
    yield "shape.run_before", runs(np.sign(change))
    yield "shape.run_after", runs(np.sign(np.append(change[1:], 0.0))[::-1])[::-1]
    yield "lost.ms", np.asarray(lost)
    yield "lost.around", running_mean(np.asarray(lost, dtype=np.float64), 8)


def _around(rr: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    log_rr, (median, spread) = np.log(rr), level_and_spread(np.log(rr))
    change = np.diff(log_rr, prepend=log_rr[0])
    jumps = (np.abs(np.diff(rr, prepend=rr[0])) > _JUMP_MS).astype(np.float64)
    turns = np.diff(np.sign(change), prepend=0.0) != 0
    low, high = log_rr < median - _FAR * spread, log_rr > median + _FAR * spread
    for half in AROUND:
        w = 2 * half + 1
        least, q1, middle, q3, most = running_quantiles(log_rr, half, (0, 0.25, 0.5, 0.75, 1)).T
        deviation = running_deviation(log_rr, half)
        yield f"level.over_median@{w}", log_rr - middle
        yield f"level.z@{w}", (log_rr - middle) / np.maximum(q3 - q1, _LEAST)
        yield f"level.median@{w}", middle - median
        yield f"variability.spread@{w}", np.log(np.maximum(q3 - q1, _LEAST) / spread)
        yield f"variability.deviation@{w}", np.log(np.maximum(deviation, _LEAST) / spread)
        yield f"variability.range@{w}", most - least
        yield f"level.least@{w}", (least - median) / spread
        yield f"level.most@{w}", (most - median) / spread
        yield f"shape.skew@{w}", (most + least - 2 * middle) / np.maximum(most - least, _LEAST)
        yield f"level.rank@{w}", running_rank(log_rr, half)
        yield f"shape.slope@{w}", running_slope(log_rr, half)
        rmssd = np.sqrt(running_mean(change**2, half))
        yield f"variability.rmssd@{w}", rmssd
        yield f"variability.poincare@{w}", np.log(np.maximum(rmssd, _LEAST) / np.maximum(deviation, _LEAST))
        yield f"variability.rank_of_range@{w}", rank(most - least)
        yield f"variability.rank_of_rmssd@{w}", rank(rmssd)
        yield (
            f"variability.range_over_usual@{w}",
            np.log(np.maximum(most - least, _LEAST) / max(float(np.median(most - least)), _LEAST)),
        )
        yield f"variability.jumps@{w}", running_mean(jumps, half)
        yield f"shape.turns@{w}", running_mean(turns.astype(np.float64), half)
        yield f"level.low@{w}", running_mean(low.astype(np.float64), half)
        yield f"level.high@{w}", running_mean(high.astype(np.float64), half)
    for half in AROUND[1:4]:
        around = windows(log_rr, half)
        yield f"shape.shortest_at@{2 * half + 1}", around.argmin(axis=1) - half
        yield f"shape.longest_at@{2 * half + 1}", around.argmax(axis=1) - half
    for half in AROUND[2:5]:
        for lag in (1, 2, 3, 4):
            yield f"shape.autocorrelation_{lag}@{2 * half + 1}", running_autocorrelation(log_rr, half, lag)


def _beside(log_rr: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    square = (log_rr - log_rr.mean()) ** 2
    for w in BESIDE:
        past, future = before_after(log_rr, w, -1), before_after(log_rr, -1, w)
        spread = [
            np.maximum(
                np.sqrt(np.maximum(before_after(square, *side) - (mean - log_rr.mean()) ** 2, 0)), _LEAST
            )
            for side, mean in (((w, -1), past), ((-1, w), future))
        ]
        yield f"beside.over_past@{w}", log_rr - past
        yield f"beside.over_future@{w}", log_rr - future
        yield f"beside.future_over_past@{w}", future - past
        yield f"beside.both@{w}", log_rr - (future + past) / 2
        yield f"beside.past_deviation@{w}", np.log(spread[0])
        yield f"beside.future_deviation@{w}", np.log(spread[1])


def _of_recording(rr: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    n, (median, spread) = len(rr), level_and_spread(np.log(rr))
    at = np.arange(n)
    change = np.diff(np.log(rr), prepend=np.log(rr[0]))
    facts = {
        "beats": np.log(n),
        "median": np.exp(median),
        "spread": np.log(spread),
        "rmssd": np.log(max(float(np.sqrt(np.mean(change**2))), _LEAST)),
        "jumps": float((np.abs(np.diff(rr, prepend=rr[0])) > _JUMP_MS).mean()),
    }
    for name, value in facts.items():
        yield f"recording.{name}", np.full(n, value)
    yield "place.from_start", np.log1p(at)
    yield "place.to_end", np.log1p(n - 1 - at)


def rank(x: FloatArray) -> FloatArray:
    """(n,) share of the recording's values below each; of equal ones the earlier is the lower."""
    return np.asarray((np.argsort(np.argsort(x, kind="stable"), kind="stable") + 0.5) / len(x))


def runs(x: FloatArray) -> FloatArray:
    """(n,) how many values up to and with each are equal to it, times x; 1 where it differs from the last."""
    at = np.arange(len(x))
    begun = np.maximum.accumulate(np.where(np.diff(x, prepend=np.nan) != 0, at, 0))
    return np.asarray((at - begun + 1) * x)


def level_and_spread(log_rr: FloatArray) -> tuple[float, float]:
    """Median and interquartile range of a recording, the range at least what divides."""
    q1, median, q3 = np.quantile(log_rr, (0.25, 0.5, 0.75))
    return float(median), max(float(q3 - q1), 10 * _LEAST)
