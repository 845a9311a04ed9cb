"""Records: patients, recordings, images or notes, in columns.

A **record** is what the publisher gives (one patient); it has an id, a group (what must not straddle a
split), and a payload that only its task and featurizers understand. It owns one or more **units**, the
things to predict (one for a patient, one a beat for an RR recording). Splits go by group, predictions and
scores by unit. ``Records`` holds N of them; one raw input posted to the server is ``Records`` of length 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from ehrbench.core.types import BoolArray, FloatArray, IntArray, StrArray
from ehrbench.core.views import View, offsets, ragged


@runtime_checkable
class Payload(Protocol):
    """N payloads of one kind; owned by a task, opaque to everything but its featurizers."""

    def __len__(self) -> int: ...

    def take(self, index: IntArray) -> Self:
        """Payloads at ``index`` (any order), as a new payload."""
        ...

    def digests(self) -> StrArray:
        """(N,) content digests; equal exactly when two payloads are identical."""
        ...


@runtime_checkable
class Exchangeable(Payload, Protocol):
    """A payload that can be taken apart by what was asked or measured: permutation importance needs it."""

    def evidence(self) -> tuple[str, ...]:
        """Names that ``exchanged`` takes."""
        ...

    def exchanged(self, name: str, donors: IntArray) -> tuple[IntArray, Self]:
        """Everything of one name taken from the payloads at ``donors`` (N,), before any featurizer.

        A payload stays as it was, and is left out, where the exchange changes nothing. Returns the positions
        of the others, ascending, and these payloads.
        """
        ...


@runtime_checkable
class Timed(Payload, Protocol):
    """A payload that came over hours: a risk can be followed through them."""

    def n_hours(self) -> int:
        """Whole hours until the last measurement of any payload."""
        ...

    def until(self, hours: float) -> Self:
        """As they were known ``hours`` after the start: nothing measured later."""
        ...

    def measured(self, hours: int) -> IntArray:
        """(N, hours) measurements within each hour; one at a full hour ends that hour."""
        ...


@runtime_checkable
class Likened(Payload, Protocol):
    """A payload that knows what is nearly the same: one patient under two ids, one image stored twice."""

    def likenesses(self) -> np.ndarray:
        """(N, B) uint64: payloads that are nearly the same have a number of the same column in common.

        0: nothing to compare, as of what is too small to be told from another's.
        """
        ...


#: Where a piece of a record lies: whole numbers that its payload and a page that draws it understand.
Piece = tuple[int, ...]


@runtime_checkable
class Divisible(Payload, Protocol):
    """A payload that can be shown, and predicted again, without a piece of it: what a prediction rests on.

    Asked of single payloads (N = 1) only.
    """

    def shown(self) -> Any:
        """What the pieces lie on, JSON-like; None where whoever asks has it already."""
        ...

    def pieces(self, most: int, within: Piece | None = None) -> list[Piece]:
        """At most so many parts: coarse ones (sentences, variables), or fine ones within one of these."""
        ...

    def without(self, pieces: Sequence[Piece]) -> Self:
        """As many payloads as pieces, each lacking one of them."""
        ...


@runtime_checkable
class Serial(Payload, Protocol):
    """A payload of series, one number a unit, that people want to see beside what is called in them."""

    #: What the numbers are, with their unit: "RR interval, ms".
    series_title: str

    def series(self) -> FloatArray:
        """(U,) the number at each unit, in order."""
        ...


@dataclass(frozen=True, eq=False)
class Records:
    """N records with U units.

    ids, groups, subgroups and flags have N entries, ``target`` (U, C) rows in record order, or None where
    labels are unknown. ``auxiliary`` are outcomes akin to the target (death within a year beside death in
    hospital): known of training records only, learned from and never predicted (Caruana, Baluja & Mitchell
    1996, "Using the future to sort out the present"). Never modified; ``take`` makes another.

    ``numbers`` name the units within their raw record, where rows of it were skipped and the rest do not move
    up: the fifth beat of a recording stays the fifth.

    What is computed of the payload alone (content digests, unfitted rows) is kept with the payload it was
    computed of, so it follows ``take`` and is left behind where another payload is put in.
    """

    ids: StrArray  # (N,)
    groups: StrArray  # (N,)
    payload: Payload  # N
    n_units: IntArray  # (N,)
    target: FloatArray | None = None  # (U, C)
    subgroups: Mapping[str, StrArray] = field(default_factory=dict)  # name -> (N,)
    flags: Mapping[str, BoolArray] = field(default_factory=dict)  # name -> (N,)
    auxiliary: Mapping[str, FloatArray] = field(default_factory=dict)  # name -> (U,) of 0, 1 and NaN
    numbers: IntArray | None = None  # (U,) ascending within a record; None: 0, 1, 2, ...
    _origin: _Origin | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        n = len(self.ids)
        columns = {"groups": self.groups, "payload": self.payload, "n_units": self.n_units}
        columns |= {f"subgroups.{k}": v for k, v in self.subgroups.items()}
        columns |= {f"flags.{k}": v for k, v in self.flags.items()}
        for name, column in columns.items():
            if len(column) != n:  # type: ignore[arg-type]
                raise ValueError(f"{name} has {len(column)} entries for {n} records")  # type: ignore[arg-type]
        if self.target is not None and len(self.target) != int(self.n_units.sum()):
            raise ValueError(f"target has {len(self.target)} rows for {int(self.n_units.sum())} units")
        if self.numbers is not None and len(self.numbers) != int(self.n_units.sum()):
            raise ValueError(f"numbers has {len(self.numbers)} entries for {int(self.n_units.sum())} units")
        for name, label in self.auxiliary.items():
            if label.shape != (int(self.n_units.sum()),):
                raise ValueError(f"auxiliary.{name} is {label.shape} for {int(self.n_units.sum())} units")
        if self._origin is not None and self._origin.payload is not self.payload:
            object.__setattr__(self, "_origin", None)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def total_units(self) -> int:
        """U, the number of units of all records."""
        return int(self.n_units.sum())

    @property
    def labels(self) -> FloatArray:
        """(U, C) labels; ValueError where there are none."""
        if self.target is None:
            raise ValueError("these records carry no labels")
        return self.target

    @property
    def auxiliary_labels(self) -> FloatArray:
        """(U, A) of 0, 1 and NaN, the columns of ``auxiliary`` in their order; A may be 0."""
        if not self.auxiliary:
            return np.empty((self.total_units, 0))
        return np.stack(list(self.auxiliary.values()), axis=1)

    @property
    def unit_record(self) -> IntArray:
        """(U,) position of the record that owns each unit."""
        return np.repeat(np.arange(len(self)), self.n_units)

    @property
    def unit_number(self) -> IntArray:
        """(U,) number of each unit within its raw record, from 0."""
        if self.numbers is not None:
            return self.numbers
        return np.arange(self.total_units) - np.repeat(offsets(self.n_units)[:-1], self.n_units)

    @property
    def digests(self) -> StrArray:
        """(N,) content digests, equal exactly when two payloads are identical."""
        return self.payload.digests() if self._origin is None else self._origin.digests()

    def units_of(self, index: IntArray) -> IntArray:
        """Positions among all units of the units that the records at ``index`` own, in that order."""
        if (self.n_units == 1).all():
            return np.asarray(index)
        return ragged(offsets(self.n_units), index)[0]

    def take(self, index: IntArray) -> Records:
        """The records at ``index``, in that order."""
        index = np.asarray(index)
        units, payload = self.units_of(index), self.payload.take(index)
        return replace(
            self,
            ids=self.ids[index],
            groups=self.groups[index],
            payload=payload,
            n_units=self.n_units[index],
            target=None if self.target is None else self.target[units],
            subgroups={k: v[index] for k, v in self.subgroups.items()},
            flags={k: v[index] for k, v in self.flags.items()},
            auxiliary={k: v[units] for k, v in self.auxiliary.items()},
            numbers=None if self.numbers is None else self.numbers[units],
            _origin=None if self._origin is None else self._origin.take(index, units, payload),
        )

    def without_labels(self) -> Records:
        """The same records with their labels taken away: what a model is given to predict."""
        return replace(self, target=None, auxiliary={})

    def cached(self) -> Records:
        """The same records, a cohort: rows are computed once for all of them, whoever takes how many.

        Whoever holds a cohort for long asks for this once (a dataset, a bundle's batch); others compute what
        they need each time.
        """
        return replace(self, _origin=_Origin(self.payload, _Cohort(self)))

    def rows(self, key: str, compute: Callable[[Records], View]) -> View:
        """``compute(self)``, computed once for the whole cohort and sliced where these records are of one.

        ``compute`` must be pure, look at payloads only, and treat each record by itself (nothing fitted,
        nothing shared between records); ``key`` must say everything that shapes it. What is fitted across
        records never goes through here.
        """
        return compute(self) if self._origin is None else self._origin.rows(key, compute)


class _Cohort:
    """What is computed once for records and all that are taken from them; it holds nobody's labels."""

    def __init__(self, records: Records) -> None:
        self.records = replace(records, target=None, auxiliary={}, _origin=None)
        self.views: dict[str, View] = {}

    @cached_property
    def digests(self) -> StrArray:
        return self.records.payload.digests()

    def __getstate__(self) -> dict[str, Any]:  # views are recomputed where they are needed, never sent
        return {"records": self.records, "views": {}}


@dataclass(frozen=True, eq=False)
class _Origin:
    """Which records and units of a cohort a payload was taken from; None: all of them, as they are."""

    payload: Payload
    cohort: _Cohort
    index: IntArray | None = None
    units: IntArray | None = None

    def digests(self) -> StrArray:
        return self.cohort.digests if self.index is None else self.cohort.digests[self.index]

    def rows(self, key: str, compute: Callable[[Records], View]) -> View:
        if key not in self.cohort.views:
            self.cohort.views[key] = compute(self.cohort.records)
        view = self.cohort.views[key]
        index = self.units if view.per == "unit" else self.index
        return view if index is None else view.take(index)

    def take(self, index: IntArray, units: IntArray, payload: Payload) -> _Origin:
        return _Origin(
            payload,
            self.cohort,
            index if self.index is None else self.index[index],
            units if self.units is None else self.units[units],
        )
