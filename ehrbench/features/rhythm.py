"""Rhythm: a whole recording as channels a beat, for networks that read it from end to end.

Networks find shapes by themselves; what they are spared is scale: the interval relative to its recording and
to slower and slower medians around the beat, how much it varies there and how rare that is in the recording,
and where beats are lost. Scales are learned from training recordings.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Signal, View, grouped, offsets
from ehrbench.features.beat_context import level_and_spread, rank
from ehrbench.features.beats import Beats
from ehrbench.features.neighbourhoods import running_mean, running_quantiles
from ehrbench.features.scaling import Scaling

#: Half widths of the windows, in beats, whose medians the interval is compared with.
HALVES = (4, 16, 64)
_LEAST = 5e-4


class Rhythm(Featurizer):
    """``Beats`` to ``Signal``; scaling: a method of ``Scaling``."""

    def __init__(self, scaling: str = "standard") -> None:
        self.scaling = scaling
        self._scaling = Scaling(scaling)

    def settings(self) -> dict[str, Any]:
        return {"scaling": self.scaling}

    @property
    def key(self) -> str:
        """Scaling is fitted, so it does not shape ``rows``."""
        return type(self).__qualname__

    def rows(self, records: Records) -> View:
        beats = records.payload
        assert isinstance(beats, Beats)
        names = _channels(np.full(1, 800.0), np.zeros(1)).keys()
        values = np.empty((len(beats.rr_ms), len(names)), dtype=np.float32)
        for start, stop in zip(beats.starts[:-1].tolist(), beats.starts[1:].tolist(), strict=True):
            part = slice(start, stop)
            channels = _channels(beats.rr_ms[part].astype(np.float64), beats.lost_ms[part])
            values[part] = np.stack(list(channels.values()), axis=1)
        counts = beats.n_beats
        within = np.arange(len(values)) - np.repeat(offsets(counts)[:-1], counts)
        return Signal(values, beats.starts, within, counts, tuple(names), grouped(names))

    def fit_rows(self, view: View) -> None:
        assert isinstance(view, Signal)
        self._scaling.fit(view.values.T)

    def apply(self, view: View) -> View:
        assert isinstance(view, Signal)
        return replace(view, values=self._scaling.apply(view.values))

    def state(self) -> dict[str, np.ndarray]:
        return self._scaling.state()

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._scaling.restore(state)


def _channels(rr: FloatArray, lost: FloatArray) -> dict[str, FloatArray]:
    """Name -> (n,) of one recording of n beats."""
    log_rr = np.log(rr)
    median, spread = level_and_spread(log_rr)
    change = np.diff(log_rr, prepend=log_rr[0])
    found = {
        "rr.log": log_rr,
        "rr.log_ratio": log_rr - median,
        "rr.z": ((log_rr - median) / spread).clip(-8, 8),
        "rr.change": change,
        "rr.size_of_change": np.log(np.abs(change) + _LEAST),
        "lost.seconds": np.log1p(np.asarray(lost, dtype=np.float64) / 1000),
    }
    for half in HALVES:
        w = 2 * half + 1
        least, q1, middle, q3, most = running_quantiles(log_rr, half, (0, 0.25, 0.5, 0.75, 1)).T
        found[f"rr.over_median@{w}"] = log_rr - middle
        found[f"rr.spread@{w}"] = np.log(np.maximum(q3 - q1, _LEAST) / spread)
        found[f"rr.rmssd@{w}"] = np.log(np.sqrt(running_mean(change**2, half)) + _LEAST)
        if half < HALVES[-1]:  # how unusual its surroundings are among all of the recording
            found[f"rr.rank_of_range@{w}"] = rank(most - least) - 0.5
    found["rr.rank"] = rank(log_rr) - 0.5
    found["recording.spread"] = np.full(len(rr), np.log(spread))
    return found
