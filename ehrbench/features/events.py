"""Events: irregular measurements of N patients, and descriptors that do not change.

Three columns in compressed sparse rows: patient i owns events ``starts[i]:starts[i+1]``, each a minute since
admission, a parameter and a value. Within a patient the order is canonical, by (parameter, minute), so that
equal patients are equal arrays whatever the order of their files, and a featurizer finds all values of one
parameter side by side without sorting. Values are clean and at most one a (parameter, minute) when the task
has merged them; this class does not clean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Self

import numpy as np

from ehrbench.core.records import Piece
from ehrbench.core.types import BoolArray, FloatArray, IntArray, StrArray
from ehrbench.features.rows import alike, spans
from ehrbench.features.sketches import banded, coarse, mixed
from ehrbench.features.stored import RowStore

#: What an event's columns are, and nothing narrower: a minute that wraps is another time, and no error.
#: Parts of a patient's time that a variable's course is taken apart into.
PARTS = 4
DTYPES = {"minute": np.dtype(np.int32), "parameter": np.dtype(np.uint16), "value": np.dtype(np.float32)}


@dataclass(frozen=True, eq=False)
class Events:
    """N patients with E events of P parameters, and D descriptors each.

    described: what each descriptor tells of: itself, or the category that it is a level of.
    store: where views of exactly these N patients may be kept on disk; ``take`` drops it.
    """

    starts: IntArray  # (N+1,) int64
    minute: IntArray  # (E,) int32, since admission: four thousand years
    parameter: IntArray  # (E,) uint16, index into ``parameters``
    value: FloatArray  # (E,) float32
    descriptors: FloatArray  # (N, D) float32, NaN = unknown
    parameters: tuple[str, ...]  # P
    descriptor_names: tuple[str, ...]  # D
    described: tuple[str, ...] = ()  # D; left out: ``descriptor_names``
    store: RowStore | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "described", self.described or self.descriptor_names)
        for name, dtype in DTYPES.items():
            if getattr(self, name).dtype != dtype:
                raise TypeError(f"{name} is {getattr(self, name).dtype}, not {dtype}: it might have wrapped")

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def n_events(self) -> IntArray:
        """(N,) events of each patient."""
        return np.diff(self.starts)

    @property
    def cell(self) -> IntArray:
        """(E,) int64 ``patient * P + parameter`` of each event; non-decreasing."""
        patient = np.repeat(np.arange(len(self)) * len(self.parameters), self.n_events)
        return patient + self.parameter

    def take(self, index: IntArray) -> Self:
        """Patients at ``index``, in that order."""
        index = np.asarray(index)
        counts = self.n_events[index]
        starts = np.concatenate([[0], np.cumsum(counts)])
        source = np.repeat(self.starts[:-1][index] - starts[:-1], counts) + np.arange(starts[-1])
        return type(self)(
            starts,
            self.minute[source],
            self.parameter[source],
            self.value[source],
            self.descriptors[index],
            self.parameters,
            self.descriptor_names,
            self.described,
        )

    def evidence(self) -> tuple[str, ...]:
        """Parameters and descriptors; a name's descriptor and series are one, as are a category's levels."""
        return tuple(dict.fromkeys([*self.parameters, *self.described]))

    def exchanged(self, name: str, donors: IntArray) -> tuple[IntArray, Self]:
        """See ``core.records.Exchangeable``; whoever has nothing of it, nor the donor, is left out."""
        index = np.flatnonzero(self._differs(name, donors))
        kept, given = self.take(index), self.take(donors[index])
        places = self._descriptors_of(name)
        kept.descriptors[:, places] = given.descriptors[:, places]
        if name not in self.parameters:
            return index, kept
        code = self.parameters.index(name)
        parts = kept._kept(kept.parameter != code), given._kept(given.parameter == code)
        owner = np.concatenate([part.owner for part in parts])
        minute, codes, value = (
            np.concatenate([getattr(part, column) for part in parts])
            for column in ("minute", "parameter", "value")
        )
        order = event_order(owner, codes, minute)
        starts = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(kept)))])
        return index, replace(
            kept, starts=starts, minute=minute[order], parameter=codes[order], value=value[order]
        )

    def shown(self) -> Any:
        """The one patient's parameters and their last values; None where there is none."""
        values: dict[str, float | None] = dict.fromkeys(self.evidence())
        known = np.flatnonzero(~np.isnan(self.descriptors[0]))
        values |= {
            self.described[d]: float(self.descriptors[0, d]) for d in known.tolist() if self._is_one(d)
        }
        values |= {self.parameters[p]: float(v) for p, v in zip(self.parameter, self.value, strict=True)}
        cells = [None if value is None else float(f"{value:.6g}") for value in values.values()]
        return {"names": list(values), "values": cells, "minutes": int(self.minute.max(initial=0))}

    def pieces(self, most: int, within: Piece | None = None) -> list[Piece]:
        """Parameters with a measurement, ``(from, to)`` among ``evidence``; of one its times.

        A part of its course is ``(from, to, first minute, the one after its last)``.
        """
        names = self.evidence()
        if within is not None and within[1] - within[0] == 1 and names[within[0]] in self.parameters:
            minutes = self.minute[self.parameter == self.parameters.index(names[within[0]])]
            cuts = (
                np.linspace(0, int(self.minute.max(initial=0)) + 1, min(PARTS, most) + 1).astype(int).tolist()
            )
            held = [(a, b) for a, b in pairwise(cuts) if ((minutes >= a) & (minutes < b)).any()]
            return [(*within, a, b) for a, b in held] if len(held) > 1 else []
        there = np.zeros(len(names), dtype=bool)
        measured = {self.parameters[p] for p in np.unique(self.parameter)}
        described = {self.described[d] for d in np.flatnonzero(~np.isnan(self.descriptors[0]))}
        there[[k for k, name in enumerate(names) if name in measured | described]] = True
        return spans(there, most, within)

    def without(self, pieces: Sequence[Piece]) -> Self:
        """The one patient once for each of ``pieces``, which was then not measured."""
        names, kept = self.evidence(), np.ones((len(pieces), len(self.minute)), dtype=bool)
        many = self.take(np.zeros(len(pieces), dtype=np.int64))
        for k, (start, stop, *part) in enumerate(pieces):
            gone = np.isin(
                self.parameter, [self.parameters.index(n) for n in names[start:stop] if n in self.parameters]
            )
            if part:
                gone &= (self.minute >= part[0]) & (self.minute < part[1])
            else:
                many.descriptors[k, [d for d, of in enumerate(self.described) if of in names[start:stop]]] = (
                    np.nan
                )
            kept[k] = ~gone
        return many._kept(kept.ravel())

    def _is_one(self, descriptor: int) -> bool:
        """Whether it is itself, and no level of a category."""
        return self.described[descriptor] == self.descriptor_names[descriptor]

    def n_hours(self) -> int:
        """Whole hours until the last measurement of any patient."""
        return int(np.ceil(self.minute.max(initial=0) / 60))

    def until(self, hours: float) -> Self:
        """What was known ``hours`` after admission."""
        return self._kept(self.minute <= 60 * hours)

    def measured(self, hours: int) -> IntArray:
        """(N, hours) measurements within each hour; one at a full hour ends that hour."""
        hour = np.maximum(np.ceil(self.minute / 60).astype(np.int64) - 1, 0)
        cells = len(self) * hours
        return np.bincount(self.owner * hours + hour, minlength=cells).reshape(len(self), hours)

    @property
    def owner(self) -> IntArray:
        """(E,) the patient of each event."""
        return np.repeat(np.arange(len(self)), self.n_events)

    def _kept(self, keep: BoolArray) -> Self:
        starts = np.concatenate([[0], np.cumsum(np.bincount(self.owner[keep], minlength=len(self)))])
        return replace(
            self,
            starts=starts,
            minute=self.minute[keep],
            parameter=self.parameter[keep],
            value=self.value[keep],
            store=None,
        )

    def _differs(self, name: str, donors: IntArray) -> BoolArray:
        """(N,): has the parameter's series, or its donor has; or their descriptors differ."""
        differs = np.zeros(len(self), dtype=bool)
        if name in self.parameters:
            differs[self.owner[self.parameter == self.parameters.index(name)]] = True
            differs |= differs[donors]
        described = self.descriptors[:, self._descriptors_of(name)]
        return differs | ~alike(described, described[donors]).all(axis=1)

    def _descriptors_of(self, name: str) -> list[int]:
        """Places of the descriptors that are ``name``, or levels of it."""
        return [i for i, one in enumerate(self.described) if one == name]

    def digests(self) -> StrArray:
        """(N,) 32 hex digits over a patient's events and descriptors."""
        packed = np.empty(len(self.minute), dtype=[("m", "<i4"), ("p", "<u2"), ("v", "<f4")])
        packed["m"], packed["p"], packed["v"] = self.minute, self.parameter, self.value
        events, size = memoryview(packed.tobytes()), packed.dtype.itemsize
        described = memoryview(np.ascontiguousarray(self.descriptors, dtype="<f4").tobytes())
        width = 4 * self.descriptors.shape[1]
        digests = []
        for i, (start, stop) in enumerate(
            zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
        ):
            h = blake2b(described[i * width : (i + 1) * width], digest_size=16)
            h.update(events[start * size : stop * size])
            digests.append(h.hexdigest())
        return np.array(digests, dtype="U32")

    def likenesses(self) -> np.ndarray:
        """See ``core.records.Likened``: what was measured in which hour, to two digits."""
        marks = mixed(self.parameter, self.minute // 60, coarse(self.value))
        return banded(self.owner, marks, len(self))


def event_order(patient: IntArray, parameter: IntArray, minute: IntArray) -> IntArray:
    """(E,) positions that bring events into canonical order; ties keep the order they came in.

    One sort of whole numbers that carry their own position: several times as fast as a stable argsort.
    """
    n = max(len(minute), 1)
    n_minutes, n_parameters, n_patients = (int(x.max(initial=0)) + 1 for x in (minute, parameter, patient))
    if n_patients * n_parameters * n_minutes * n > 1 << 62:  # too many for one number
        return np.lexsort((minute, parameter, patient))
    key = (patient.astype(np.int64) * n_parameters + parameter) * n_minutes + minute
    return np.sort(key * n + np.arange(len(key))) % n


def concatenate(parts: list[Events]) -> Events:
    """Patients of all parts, in order; the parts share parameters and descriptors."""
    offsets = np.cumsum([0] + [len(part.value) for part in parts])
    starts = [part.starts[:-1] + offset for part, offset in zip(parts, offsets[:-1], strict=True)]
    return Events(
        np.concatenate([*starts, offsets[-1:]]),
        np.concatenate([part.minute for part in parts]),
        np.concatenate([part.parameter for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.descriptors for part in parts]),
        parts[0].parameters,
        parts[0].descriptor_names,
        parts[0].described,
    )
