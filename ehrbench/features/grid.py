"""Grid: events on a regular grid of hours, for recurrent and state-space networks.

Layout of the finished ``Sequence``, U patients, L = ceil(hours / step_hours) steps, P parameters:

- ``values`` (U, L, F): for each of ``statistics`` in order, the P parameters in order (channels ``HR.mean``);
  with ``delta`` then P channels ``HR.delta``. Scaled; 0 where nothing is known yet (which is the training
  centre). With ``fill="forward"`` a value stands until the next one.
- ``mask`` (U, L, F): 1 where the parameter was measured in that step, also under a carried value; the delta
  channels are always 1.
- ``time_hours`` (U, L): the end of each step, when its measurements are all known.
- ``static`` (U, 2 D): D scaled descriptors, 0 where unknown, then D indicators, 1 where unknown.

Delta is the time since the parameter's last step with a measurement (since admission where there was none),
as log(1 + hours) / log(1 + L * step_hours), so in [0, 1]. A value at exactly ``hours`` is of the last step.
Scales are learned from measured cells of training patients, not from carried ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Names
from functools import cached_property
from typing import Any

import numpy as np

from ehrbench.core.errors import ConfigError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.types import BoolArray, FloatArray, IntArray
from ehrbench.core.views import Sequence, View
from ehrbench.features.described import Described
from ehrbench.features.events import Events
from ehrbench.features.scaling import Scaling
from ehrbench.features.stored import stored_rows

BIN_STATISTICS = ("mean", "last", "min", "max", "count")
FILLS = ("forward", "zero")
#: Of a grid whose step nobody chose: 4 hours of 48.
STEPS = 12


class Grid(Featurizer):
    """``Events`` to ``Sequence``.

    Parameters
    ----------
    hours, step_hours: extent and step of the grid (None: ``STEPS`` steps); later events are not used.
    statistics: of the values of one step, any of ``BIN_STATISTICS``.
    fill: ``forward`` carries a value on until the next, ``zero`` does not.
    delta: add the time since the last measurement, one channel a parameter.
    scaling: a method of ``Scaling``.
    totals: parameters whose values within a step add up instead of being averaged (volumes).
    """

    def __init__(
        self,
        hours: float = 48,
        step_hours: float | None = 1,
        statistics: Names[str] = ("mean",),
        fill: str = "forward",
        delta: bool = False,
        scaling: str = "standard",
        totals: Names[str] = ("Urine",),
    ) -> None:
        for name in statistics:
            if name not in BIN_STATISTICS:
                raise ConfigError(
                    "statistics", f"{name!r} is unknown", f"choose among {', '.join(BIN_STATISTICS)}"
                )
        if fill not in FILLS:
            raise ConfigError("fill", f"{fill!r} is unknown", f"choose among {', '.join(FILLS)}")
        step_hours = hours / STEPS if step_hours is None else step_hours
        if not 0 < step_hours <= hours or not statistics:
            raise ConfigError("step_hours", f"{step_hours} h steps over {hours} h", "0 < step_hours <= hours")
        self.hours, self.step_hours, self.statistics = float(hours), float(step_hours), list(statistics)
        self.fill, self.delta, self.scaling, self.totals = fill, bool(delta), scaling, list(totals)
        self._scaling, self._static = Scaling(scaling), Described(scaling)

    def settings(self) -> dict[str, Any]:
        return {
            "hours": self.hours,
            "step_hours": self.step_hours,
            "statistics": self.statistics,
            "fill": self.fill,
            "delta": self.delta,
            "scaling": self.scaling,
            "totals": self.totals,
        }

    @cached_property
    def key(self) -> str:
        """Scaling is fitted, so it does not shape ``rows``."""
        return f"{type(self).__qualname__} { ({**self.settings(), 'scaling': None}) }"

    @property
    def n_steps(self) -> int:
        """L."""
        return math.ceil(self.hours / self.step_hours - 1e-9)

    def rows(self, records: Records) -> View:
        """Unscaled: values NaN where nothing is known, mask as bytes, static (U, D) with NaN."""
        return stored_rows(self.key, records, lambda: self._bin(records.payload))  # type: ignore[arg-type]

    def _bin(self, events: Events) -> Sequence:
        n, n_steps, n_parameters = len(events), self.n_steps, len(events.parameters)
        inside = np.flatnonzero(events.minute <= 60 * self.hours)
        step = np.minimum(events.minute[inside] / (60 * self.step_hours), n_steps - 1).astype(np.int64)
        cell = events.cell[inside]
        begins = np.ones(len(inside), dtype=bool)
        begins[1:] = (cell[1:] != cell[:-1]) | (step[1:] != step[:-1])
        first = np.flatnonzero(begins)
        patient, parameter = np.divmod(cell[first], n_parameters)
        place = (patient, step[first], parameter)

        mask = np.zeros((n, n_steps, n_parameters), dtype=bool)
        mask[place] = True
        values = np.full((n, n_steps, len(self._names(events))), np.nan, dtype=np.float32)
        for s, statistic in enumerate(self.statistics):
            block = values[:, :, s * n_parameters : (s + 1) * n_parameters]
            block[place] = self._reduce(statistic, events.value[inside], first, parameter, events.parameters)
        known = values[:, :, : n_parameters * len(self.statistics)]
        source = _latest(mask) if self.fill == "forward" or self.delta else None
        if self.fill == "forward" and source is not None:
            for s in range(len(self.statistics)):
                block = known[:, :, s * n_parameters : (s + 1) * n_parameters]
                block[:] = np.take_along_axis(block, np.maximum(source, 0), axis=1)
        if self.delta and source is not None:
            values[:, :, -n_parameters:] = self._since(source)
        mask_all = np.tile(mask, (1, 1, len(self.statistics)))
        if self.delta:
            mask_all = np.concatenate([mask_all, np.ones_like(mask)], axis=2)
        time = np.minimum(np.arange(1, n_steps + 1) * self.step_hours, self.hours).astype(np.float32)
        names = self._names(events)
        return Sequence(
            values,
            mask_all.astype(np.uint8),
            np.tile(time, (n, 1)),
            np.asarray(events.descriptors),
            tuple(names),
            events.descriptor_names,
            names | dict(zip(events.descriptor_names, events.described, strict=True)),
        )

    def _names(self, events: Events) -> dict[str, str]:
        """Channel -> parameter."""
        kinds = [*self.statistics, *(["delta"] if self.delta else [])]
        return {f"{p}.{kind}": p for kind in kinds for p in events.parameters}

    def _reduce(
        self, statistic: str, value: FloatArray, first: IntArray, parameter: IntArray, names: tuple[str, ...]
    ) -> FloatArray:
        """(K,) statistic of each run of values that begins at ``first`` (K,)."""
        if not len(first):
            return np.zeros(0)
        count = np.diff(np.append(first, len(value)))
        if statistic == "count":
            return count
        if statistic == "last":
            return value[first + count - 1]
        if statistic in ("min", "max"):
            return (np.minimum if statistic == "min" else np.maximum).reduceat(value, first)
        total = np.add.reduceat(value.astype(np.float64), first)
        return np.asarray(np.where(np.isin(names, self.totals)[parameter], total, total / count))

    def _since(self, source: IntArray) -> FloatArray:
        steps = np.arange(self.n_steps)[None, :, None] - source  # source -1: since admission
        since = np.log1p((steps * self.step_hours).astype(np.float32))
        return np.asarray(since / np.float32(math.log1p(self.n_steps * self.step_hours)))

    def fit_rows(self, view: View) -> None:
        assert isinstance(view, Sequence)
        scaled = self._n_scaled(view)
        measured = view.mask.astype(bool)
        self._scaling.fit(view.values[:, :, f][measured[:, :, f]] for f in range(scaled))
        self._static.fit(view.static)

    def apply(self, view: View) -> View:
        assert isinstance(view, Sequence)
        scaled = self._n_scaled(view)
        values = self._scaling.apply(view.values[:, :, :scaled])
        values[np.isnan(values)] = 0.0
        if scaled < view.values.shape[2]:
            values = np.concatenate([values, view.values[:, :, scaled:]], axis=2)
        return Sequence(
            values,
            view.mask.astype(np.float32),
            view.time_hours,
            self._static.apply(view.static),
            view.channels,
            *self._static.names(view),
        )

    def _n_scaled(self, view: Sequence) -> int:
        kinds = len(self.statistics) + self.delta
        return int(view.values.shape[2]) * len(self.statistics) // kinds

    def state(self) -> dict[str, np.ndarray]:
        return {f"values_{k}": v for k, v in self._scaling.state().items()} | {
            f"static_{k}": v for k, v in self._static.state().items()
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._scaling.restore({k[7:]: v for k, v in state.items() if k.startswith("values_")})
        self._static.restore({k[7:]: v for k, v in state.items() if k.startswith("static_")})


def _latest(mask: BoolArray) -> IntArray:
    """(U, L, P) the latest step up to each with a measurement, -1 where there was none."""
    steps = np.arange(mask.shape[1], dtype=np.int16)[None, :, None]
    return np.maximum.accumulate(np.where(mask, steps, np.int16(-1)), axis=1)
