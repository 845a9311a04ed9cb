"""Records: patients, recordings, images or notes, in columns.

A **record** is what the publisher gives (one patient); it has an id, a group (what must not straddle a
split), and a payload that only its task and featurizers understand. It owns one or more **units**, the
things to predict (one for a patient, one a beat for an RR recording). Splits go by group, predictions and
scores by unit. ``Records`` holds N of them; one raw input posted to the server is ``Records`` of length 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from ehrbench.core.types import BoolArray, FloatArray, IntArray, StrArray
from ehrbench.core.views import View


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


@dataclass(frozen=True, eq=False)
class Records:
    """N records with U units.

    ids, groups, subgroups and flags have N entries, ``target`` (U, C) rows in record order, or None where
    labels are unknown. ``auxiliary`` are outcomes akin to the target (death within a year beside death in
    hospital): known of training records only, learned from and never predicted (Caruana, Baluja & Mitchell
    1996, "Using the future to sort out the present"). Never modified; ``take`` makes another.
    """

    ids: StrArray  # (N,)
    groups: StrArray  # (N,)
    payload: Payload  # N
    n_units: IntArray  # (N,)
    target: FloatArray | None = None  # (U, C)
    subgroups: Mapping[str, StrArray] = field(default_factory=dict)  # name -> (N,)
    flags: Mapping[str, BoolArray] = field(default_factory=dict)  # name -> (N,)
    auxiliary: Mapping[str, FloatArray] = field(default_factory=dict)  # name -> (U,) of 0, 1 and NaN
    _rows: _RowMemo | None = field(default=None, repr=False)

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
        for name, label in self.auxiliary.items():
            if label.shape != (int(self.n_units.sum()),):
                raise ValueError(f"auxiliary.{name} is {label.shape} for {int(self.n_units.sum())} units")
        if self._rows is None:
            object.__setattr__(self, "_rows", _RowMemo(self))

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
        """(U,) number of each unit within its record, from 0."""
        starts = np.cumsum(self.n_units) - self.n_units
        return np.arange(self.total_units) - np.repeat(starts, self.n_units)

    def units_of(self, index: IntArray) -> IntArray:
        """Positions among all units of the units that the records at ``index`` own, in that order."""
        if (self.n_units == 1).all():
            return np.asarray(index)
        starts = np.cumsum(self.n_units) - self.n_units
        parts = [np.arange(starts[i], starts[i] + self.n_units[i]) for i in index]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def take(self, index: IntArray) -> Records:
        """The records at ``index``, in that order."""
        index = np.asarray(index)
        units = self.units_of(index)
        assert self._rows is not None
        return replace(
            self,
            ids=self.ids[index],
            groups=self.groups[index],
            payload=self.payload.take(index),
            n_units=self.n_units[index],
            target=None if self.target is None else self.target[units],
            subgroups={k: v[index] for k, v in self.subgroups.items()},
            flags={k: v[index] for k, v in self.flags.items()},
            auxiliary={k: v[units] for k, v in self.auxiliary.items()},
            _rows=self._rows.take(units),
        )

    def without_labels(self) -> Records:
        """The same records with their labels taken away: what a model is given to predict."""
        return replace(self, target=None, auxiliary={})

    def rows(self, key: str, compute: Callable[[Records], View]) -> View:
        """``compute(self)``, computed once for the whole cohort and sliced.

        ``compute`` must be pure and treat each record by itself (nothing fitted, nothing shared between
        records); ``key`` must say everything that shapes it. What is fitted across records never goes
        through here.
        """
        assert self._rows is not None
        return self._rows.get(key, compute)


class _RowMemo:
    """Views of a whole cohort, shared by every ``Records`` taken from it; it holds nobody's labels."""

    def __init__(
        self, root: Records, views: dict[str, View] | None = None, units: IntArray | None = None
    ) -> None:
        self._root = root if views is not None else replace(root, target=None, auxiliary={}, _rows=self)
        self._units = units
        self._views: dict[str, View] = {} if views is None else views

    def get(self, key: str, compute: Callable[[Records], View]) -> View:
        if key not in self._views:
            self._views[key] = compute(self._root)
        view = self._views[key]
        return view if self._units is None else view.take(self._units)

    def take(self, units: IntArray) -> _RowMemo:
        return _RowMemo(self._root, self._views, units if self._units is None else self._units[units])

    def __getstate__(self) -> dict[str, Any]:  # views are recomputed where they are needed, never sent
        return {"_root": self._root, "_units": self._units, "_views": {}}
