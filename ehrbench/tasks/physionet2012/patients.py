"""Patients of PhysioNet 2012: rows to cleaned ``Events``, the same way for one record or thousands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ehrbench.core.errors import DataError
from ehrbench.core.task import RawInput, Skipped
from ehrbench.core.types import BoolArray, FloatArray, IntArray, StrArray
from ehrbench.features.events import Events, event_order
from ehrbench.tasks.physionet2012.cleaning import DESCRIPTORS, SERIES, TOTALS, clean
from ehrbench.tasks.physionet2012.record_json import read_json
from ehrbench.tasks.physionet2012.record_text import (
    DESCRIPTOR_NAMES,
    NAMES,
    RECORD_ID,
    SERIES_NAMES,
    read_texts,
)

#: How the flow calls records that could not be read at all.
LOST = "record files skipped"
_N_SERIES = len(SERIES_NAMES)
_TOTALS = np.isin(SERIES_NAMES, TOTALS)
#: (names,) which column of the descriptors, RecordID last, a name at 00:00 is; -1: none.
_PLACE = np.array(
    [[*DESCRIPTOR_NAMES, RECORD_ID].index(n) if n in (*DESCRIPTOR_NAMES, RECORD_ID) else -1 for n in NAMES]
)


@dataclass(frozen=True)
class Patients:
    """N patients as parsed: ids, events, what was skipped, and counts of what cleaning did.

    sizes: how many of them came from each set, where several were joined.
    """

    ids: StrArray  # (N,)
    events: Events
    skipped: tuple[Skipped, ...]
    n_rows: int
    flow: dict[str, int]
    sizes: tuple[int, ...] = ()


def parse_patients(inputs: Sequence[RawInput], *, hours: float, strict: bool) -> Patients:
    """Raw inputs, text and JSON in any mixture, to patients in the same order.

    hours: measurements after this time are left out.
    An input that is no record (no header, no RecordID) raises DataError when ``strict``, else it is listed
    and left out.
    """
    is_text = np.array([isinstance(raw.body, bytes | bytearray) for raw in inputs], dtype=bool)
    if is_text.all():
        return _assemble(_of_texts(inputs, strict), hours)
    posted = _of_json([raw for raw in inputs if isinstance(raw.body, Mapping)], strict)
    if is_text.any():
        texts = [raw for raw, text in zip(inputs, is_text, strict=True) if text]
        place = np.concatenate([np.flatnonzero(is_text), np.flatnonzero(~is_text)])
        return _assemble(_join(_of_texts(texts, strict), posted, place), hours)
    return _assemble(posted, hours)


@dataclass(frozen=True)
class _Draft:
    """Rows before cleaning. record: index of the input; descriptors (N, D) with -1 or NaN unknown."""

    ids: list[str]
    broken: BoolArray
    descriptors: FloatArray
    record: IntArray
    minute: IntArray
    code: IntArray
    value: FloatArray
    skipped: tuple[Skipped, ...]
    n_rows: int


def _of_texts(texts: Sequence[RawInput], strict: bool) -> _Draft:
    """Tell the descriptors from the series: the first row of each descriptor's name at 00:00."""
    columns = read_texts([raw.name for raw in texts], [bytes(raw.body) for raw in texts], strict=strict)  # type: ignore[arg-type]
    skipped = list(columns.skipped)
    at = np.flatnonzero((_PLACE[columns.name] >= 0) & (columns.minute == 0))
    at = at[np.unique(columns.record[at] * len(NAMES) + columns.name[at], return_index=True)[1]]
    described = np.full((len(texts), len(DESCRIPTOR_NAMES) + 1), np.nan)
    described[columns.record[at], _PLACE[columns.name[at]]] = columns.value[at]
    is_series = columns.name < _N_SERIES
    is_series[at] = False
    ids = ["" if np.isnan(number) else str(int(number)) for number in described[:, -1].tolist()]
    broken = columns.broken.copy()
    for record in np.flatnonzero(~broken & np.isnan(described[:, -1])).tolist():
        name = texts[record].name
        stem, problem = name.rsplit("/", 1)[-1].removesuffix(".txt"), "has no RecordID"
        if strict:
            raise DataError(
                problem, file=name, record=stem, field=RECORD_ID, remedy="add 00:00,RecordID,<number>"
            )
        skipped.append(Skipped(name, stem, RECORD_ID, problem))
        broken[record] = True
    kept = np.flatnonzero(is_series & ~broken[columns.record])
    return _Draft(
        ids,
        broken,
        described[:, :-1],
        columns.record[kept],
        columns.minute[kept],
        columns.name[kept],
        columns.value[kept],
        tuple(skipped),
        columns.n_rows,
    )


def _of_json(posted: Sequence[RawInput], strict: bool) -> _Draft:
    records = [read_json(raw.name, raw.body, strict=strict) for raw in posted]  # type: ignore[arg-type]
    counts = [len(r.events) for r in records]
    events = np.array([event for r in records for event in r.events], dtype=np.float64).reshape(-1, 3)
    descriptors = [[r.descriptors.get(name, np.nan) for name in DESCRIPTOR_NAMES] for r in records]
    return _Draft(
        [r.record_id for r in records],
        np.array([r.broken for r in records], dtype=bool),
        np.array(descriptors, dtype=np.float64).reshape(len(records), len(DESCRIPTOR_NAMES)),
        np.repeat(np.arange(len(records)), np.array(counts, dtype=np.int64)),
        events[:, 0].astype(np.int16),
        events[:, 1].astype(np.uint8),
        events[:, 2].copy(),
        tuple(s for r in records for s in r.skipped),
        sum(r.n_rows for r in records),
    )


def _join(one: _Draft, two: _Draft, place: IntArray) -> _Draft:
    """Both kinds as one draft; record i of the drafts, end to end, becomes input ``place[i]``."""
    inverse = np.argsort(place)
    ids = one.ids + two.ids
    return _Draft(
        [ids[i] for i in inverse],
        np.concatenate([one.broken, two.broken])[inverse],
        np.concatenate([one.descriptors, two.descriptors])[inverse],
        place[np.concatenate([one.record, two.record + len(one.ids)]).astype(np.int64)],
        np.concatenate([one.minute, two.minute]),
        np.concatenate([one.code, two.code]),
        np.concatenate([one.value, two.value]),
        one.skipped + two.skipped,
        one.n_rows + two.n_rows,
    )


def _assemble(draft: _Draft, hours: float) -> Patients:
    """Clean, cut off, merge, order."""
    cleaned = clean(draft.value, draft.code, SERIES)
    in_time = draft.minute <= hours * 60
    kept = np.flatnonzero(cleaned.believed & in_time)
    order = kept[event_order(draft.record[kept], draft.code[kept], draft.minute[kept])]
    record, code, minute = draft.record[order], draft.code[order], draft.minute[order]
    first, value = _merge(record, code, minute, cleaned.value[order])
    counts = np.bincount(record[first], minlength=len(draft.ids))
    events = Events(
        np.concatenate([[0], np.cumsum(counts)]),
        minute[first].astype(np.int16),
        code[first].astype(np.uint8),
        value.astype(np.float32),
        _clean_descriptors(draft.descriptors).astype(np.float32),
        SERIES_NAMES,
        DESCRIPTOR_NAMES,
    )
    flow = {
        "rows": draft.n_rows,
        "rows skipped": len(draft.skipped),
        LOST: int(draft.broken.sum()),
        "measurements": len(draft.value),
        "measurements mended": int(cleaned.mended.sum()),
        "measurements not believed": int((~cleaned.believed).sum()),
        f"measurements after {hours:g} h": int((cleaned.believed & ~in_time).sum()),
        "measurements merged with another of the same minute": len(order) - len(first),
        "events": len(first),
    }
    ids = np.array(draft.ids, dtype=str)
    if draft.broken.any():
        whole = np.flatnonzero(~draft.broken)
        events, ids = events.take(whole), ids[whole]
    return Patients(ids, events, draft.skipped, draft.n_rows, flow)


def _merge(
    record: IntArray, code: IntArray, minute: IntArray, value: FloatArray
) -> tuple[IntArray, FloatArray]:
    """One value for each (record, parameter, minute): totals add up, of the rest the mean is taken.

    Returns the first position of each (K,) and its value (K,). Rows are in canonical order.
    """
    begins = np.ones(len(value), dtype=bool)
    begins[1:] = (minute[1:] != minute[:-1]) | (code[1:] != code[:-1]) | (record[1:] != record[:-1])
    first = np.flatnonzero(begins)
    if len(first) == len(value):
        return first, value
    total = np.add.reduceat(value, first)
    count = np.diff(np.append(first, len(value)))
    return first, np.where(_TOTALS[code[first]], total, total / count)


def _clean_descriptors(values: FloatArray) -> FloatArray:
    """(N, D) with NaN where unknown (-1), absent or not believed."""
    known = ~np.isnan(values)
    out = np.full(values.shape, np.nan)
    cleaned = clean(values[known], np.nonzero(known)[1], DESCRIPTORS)
    out[known] = np.where(cleaned.believed, cleaned.value, np.nan)
    return out
