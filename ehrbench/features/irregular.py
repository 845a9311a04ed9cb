"""Irregular: events at their own times, for models that take real time steps (S4/S5 with Δt, attention).

Layout of the finished ``Sequence``, U patients, L = ``steps``, P parameters: one step for each distinct
minute with a measurement. ``values`` (U, L, P) scaled, 0 where not measured at that step (nothing is
carried); ``mask`` (U, L, P); ``time_hours`` (U, L); ``static`` (U, 2 D) as in ``Grid``.

A patient with fewer distinct minutes is padded at the *front*, at the time of the first real step with an
empty mask, so that the last step is always a real one and time differences of padding are 0. One with more is
coarsened: time is rounded up to the smallest grid of 2, 3, 4 … minutes that fits, the whole stay alike,
rather than forgetting its beginning.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from ehrbench.core.errors import ConfigError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.types import BoolArray, IntArray
from ehrbench.core.views import Sequence, View
from ehrbench.features.described import Described
from ehrbench.features.events import Events
from ehrbench.features.scaling import Scaling
from ehrbench.features.stored import stored_rows

_SPAN = 1 << 31  # more minutes than a stay can have
#: Minutes that time may be rounded up to: finely at first, then by a tenth more each.
_GRIDS = (*range(2, 16), *range(30, 1440, 15), *(int(1440 * 1.1**k) for k in range(156)))


class Irregular(Featurizer):
    """``Events`` to ``Sequence`` with real times.

    Parameters
    ----------
    hours: later events are not used.
    steps: L, the most distinct times kept of a patient.
    scaling: a method of ``Scaling``.
    """

    def __init__(self, hours: float = 48, steps: int = 128, scaling: str = "standard") -> None:
        if steps < 1:
            raise ConfigError("steps", f"{steps} steps", "give at least 1")
        self.hours, self.steps, self.scaling = float(hours), int(steps), scaling
        self._scaling, self._static = Scaling(scaling), Described(scaling)

    def settings(self) -> dict[str, Any]:
        return {"hours": self.hours, "steps": self.steps, "scaling": self.scaling}

    @cached_property
    def key(self) -> str:
        """Scaling is fitted, so it does not shape ``rows``."""
        return f"{type(self).__qualname__} {self.hours} {self.steps}"

    def rows(self, records: Records) -> View:
        """Unscaled: values NaN where not measured, mask as bytes, static (U, D) with NaN."""
        return stored_rows(self.key, records, lambda: self._place(records.payload))  # type: ignore[arg-type]

    def _place(self, events: Events) -> Sequence:
        n, n_parameters = len(events), len(events.parameters)
        inside = np.flatnonzero(events.minute <= 60 * self.hours)
        patient, parameter = np.divmod(events.cell[inside], n_parameters)
        minute = self._coarsened(patient, events.minute[inside].astype(np.int64), n)
        times, step = np.unique(patient * _SPAN + minute, return_inverse=True)  # (T,), (E,)
        owner = times // _SPAN
        counts = np.bincount(owner, minlength=n)
        rank = np.arange(len(times)) - np.repeat(np.cumsum(counts) - counts, counts)
        column = self.steps - counts[owner] + rank  # (T,) right-aligned

        values = np.full((n, self.steps, n_parameters), np.nan, dtype=np.float32)
        place = (patient, column[step], parameter)
        # Events of one cell lie in order of time: where coarsening joins several, the last one stays.
        values[place] = events.value[inside]
        time = np.zeros((n, self.steps), dtype=np.float32)
        first = np.zeros(n, dtype=np.float32)
        np.put(first, owner[rank == 0], (times % _SPAN)[rank == 0] / 60)
        time[:] = first[:, None]
        time[owner, column] = (times % _SPAN) / 60
        names = {f"{p}.value": p for p in events.parameters}
        return Sequence(
            values,
            (~np.isnan(values)).astype(np.uint8),
            time,
            np.asarray(events.descriptors),
            tuple(names),
            events.descriptor_names,
            names | dict(zip(events.descriptor_names, events.described, strict=True)),
        )

    def _coarsened(self, patient: IntArray, minute: IntArray, n: int) -> IntArray:
        """Minutes rounded up, for each patient as coarsely as ``steps`` asks."""
        out = minute.copy()
        for grid in _GRIDS:
            many = self._too_many(patient, out, n)
            if not many.any():
                break
            rows = many[patient]
            out[rows] = np.minimum((minute[rows] // grid + 1) * grid, int(60 * self.hours))
        return out

    def _too_many(self, patient: IntArray, minute: IntArray, n: int) -> BoolArray:
        times = np.unique(patient * _SPAN + minute)
        return np.asarray(np.bincount(times // _SPAN, minlength=n) > self.steps)

    def fit_rows(self, view: View) -> None:
        assert isinstance(view, Sequence)
        measured = view.mask.astype(bool)
        n_channels = view.values.shape[2]
        self._scaling.fit(view.values[:, :, f][measured[:, :, f]] for f in range(n_channels))
        self._static.fit(view.static)

    def apply(self, view: View) -> View:
        assert isinstance(view, Sequence)
        values = self._scaling.apply(view.values)
        values[np.isnan(values)] = 0.0
        return Sequence(
            values,
            view.mask.astype(np.float32),
            view.time_hours,
            self._static.apply(view.static),
            view.channels,
            *self._static.names(view),
        )

    def state(self) -> dict[str, np.ndarray]:
        return {f"values_{k}": v for k, v in self._scaling.state().items()} | {
            f"static_{k}": v for k, v in self._static.state().items()
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._scaling.restore({k[7:]: v for k, v in state.items() if k.startswith("values_")})
        self._static.restore({k[7:]: v for k, v in state.items() if k.startswith("static_")})
