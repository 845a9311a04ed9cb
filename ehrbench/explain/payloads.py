"""Payloads taken apart: their parameters, one of them exchanged between records, time cut off.

Done to the payload, before any featurizer: every column that comes of a parameter follows, ratios and masks
too, and all models see the same change. A payload of another kind has no parameters and no hours.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ehrbench.core.records import Payload, Records
from ehrbench.core.types import BoolArray, FloatArray, IntArray
from ehrbench.features.events import Events, event_order
from ehrbench.features.rows import Rows


def parameters(payload: Payload) -> tuple[str, ...]:
    """Names that ``exchanged`` takes; a descriptor and a series of one name are one parameter."""
    match payload:
        case Events():
            return tuple(dict.fromkeys([*payload.parameters, *payload.descriptor_names]))
        case Rows():
            return payload.names
    return ()


def exchanged(records: Records, parameter: str, donors: IntArray) -> tuple[IntArray, Records]:
    """Everything of one parameter taken from the records at ``donors`` (N,): who changes by it, unlabelled.

    A record stays as it was, and is left out, where neither it nor its donor has the parameter, or both have
    the same cell. Returns the positions of the others, ascending, and these records.
    """
    payload = records.payload
    match payload:
        case Events():
            index = np.flatnonzero(_differs(payload, parameter, donors))
            return index, _with(
                records.take(index), _exchanged_events(payload, parameter, index, donors[index])
            )
        case Rows():
            column = np.array(payload.names) == parameter
            cells, given = payload.values[:, column], payload.values[donors][:, column]
            index = np.flatnonzero(~_same(cells, given).all(axis=1))
            kept = payload.take(index)
            values = kept.values.copy()
            values[:, column] = given[index]
            return index, _with(records.take(index), replace(kept, values=values))
    raise TypeError(f"{type(payload).__name__} has no parameters")


def n_hours(payload: Payload) -> int:
    """Whole hours until the last measurement of any record; 0 where there are no times."""
    return int(np.ceil(payload.minute.max(initial=0) / 60)) if isinstance(payload, Events) else 0


def until(records: Records, hours: float) -> Records:
    """The records, unlabelled, as they were known ``hours`` after admission: nothing measured later."""
    assert isinstance(records.payload, Events)
    return _with(records, _kept(records.payload, records.payload.minute <= 60 * hours))


def measured(payload: Payload, hours: int) -> IntArray:
    """(N, hours) measurements of each record within each hour; one at a full hour ends that hour."""
    assert isinstance(payload, Events)
    hour = np.maximum(np.ceil(payload.minute / 60).astype(np.int64) - 1, 0)
    cell = np.repeat(np.arange(len(payload)), payload.n_events) * hours + hour
    return np.bincount(cell, minlength=len(payload) * hours).reshape(len(payload), hours)


def _with(records: Records, payload: Payload) -> Records:
    return replace(records.without_labels(), payload=payload, _rows=None)  # rows of the old payload go


def _kept(events: Events, keep: BoolArray) -> Events:
    owner = np.repeat(np.arange(len(events)), events.n_events)[keep]
    starts = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(events)))])
    return replace(
        events,
        starts=starts,
        minute=events.minute[keep],
        parameter=events.parameter[keep],
        value=events.value[keep],
        store=None,
    )


def _same(one: FloatArray, two: FloatArray) -> BoolArray:
    """Equal, or both unknown."""
    return np.equal(one, two) | (np.isnan(one) & np.isnan(two))


def _differs(events: Events, parameter: str, donors: IntArray) -> BoolArray:
    """(N,): has the parameter's series, or its donor has; or their descriptors differ."""
    differs = np.zeros(len(events), dtype=bool)
    if parameter in events.parameters:
        code = events.parameters.index(parameter)
        differs[np.repeat(np.arange(len(events)), events.n_events)[events.parameter == code]] = True
        differs |= differs[donors]
    if parameter in events.descriptor_names:
        described = events.descriptors[:, events.descriptor_names.index(parameter)]
        differs |= ~_same(described, described[donors])
    return differs


def _exchanged_events(events: Events, parameter: str, index: IntArray, donors: IntArray) -> Events:
    """The patients at ``index`` with one parameter of those at ``donors``, one each."""
    kept, given = events.take(index), events.take(donors)
    if parameter in events.descriptor_names:
        place = events.descriptor_names.index(parameter)
        kept.descriptors[:, place] = given.descriptors[:, place]
    if parameter not in events.parameters:
        return kept
    code = events.parameters.index(parameter)
    parts = _kept(kept, kept.parameter != code), _kept(given, given.parameter == code)
    owner = np.concatenate([np.repeat(np.arange(len(part)), part.n_events) for part in parts])
    minute, codes, value = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("minute", "parameter", "value")
    )
    order = event_order(owner, codes, minute)
    return replace(
        kept,
        starts=np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(kept)))]),
        minute=minute[order],
        parameter=codes[order],
        value=value[order],
    )
