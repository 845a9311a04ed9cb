"""Stays: measurements as read to cleaned ``Events``, and what is told of them, whoever published them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrbench.core.types import FloatArray, IntArray
from ehrbench.core.views import Table
from ehrbench.features.events import Events, event_order
from ehrbench.features.segments import Segments
from ehrbench.tasks.measures import Measure, clean

#: What ``describe`` tells of each time series.
DESCRIBED = ("mean", "min", "max", "last", "count")


@dataclass(frozen=True)
class Vocabulary:
    """What is measured.

    totals: volumes, of which two in one minute add up; of the rest the mean is taken.
    described: as of ``Events``.
    """

    series: tuple[Measure, ...]
    descriptors: tuple[Measure, ...]
    totals: tuple[str, ...] = ()
    described: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measurements:
    """M measurements of N records before cleaning, in any order."""

    record: IntArray  # (M,) which of the N
    minute: IntArray  # (M,) since the start, none negative
    code: IntArray  # (M,) place among the vocabulary's series
    value: FloatArray  # (M,) float64
    descriptors: FloatArray  # (N, D), NaN where unknown


def assemble(read: Measurements, vocabulary: Vocabulary, hours: float) -> tuple[Events, dict[str, int]]:
    """Clean, cut off after ``hours``, merge those of one minute, order; and counts of each."""
    cleaned = clean(read.value, read.code, vocabulary.series)
    in_time = read.minute <= hours * 60
    kept = np.flatnonzero(cleaned.believed & in_time)
    order = kept[event_order(read.record[kept], read.code[kept], read.minute[kept])]
    record, code, minute = read.record[order], read.code[order], read.minute[order]
    names = tuple(measure.name for measure in vocabulary.series)
    first, value = _merge(record, code, minute, cleaned.value[order], np.isin(names, vocabulary.totals))
    counts = np.bincount(record[first], minlength=len(read.descriptors))
    events = Events(
        np.concatenate([[0], np.cumsum(counts)]),
        minute[first].astype(np.int32),
        code[first].astype(np.uint16),
        value.astype(np.float32),
        _clean_descriptors(read.descriptors, vocabulary.descriptors).astype(np.float32),
        names,
        tuple(measure.name for measure in vocabulary.descriptors),
        vocabulary.described,
    )
    flow = {
        "measurements": len(read.value),
        "measurements mended": int(cleaned.mended.sum()),
        "measurements not believed": int((~cleaned.believed).sum()),
        f"measurements after {hours:g} h": int((cleaned.believed & ~in_time).sum()),
        "measurements merged with another of the same minute": len(order) - len(first),
        "events": len(first),
    }
    return events, flow


def _merge(
    record: IntArray, code: IntArray, minute: IntArray, value: FloatArray, totals: np.ndarray
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
    return first, np.where(totals[code[first]], total, total / count)


def _clean_descriptors(values: FloatArray, measures: tuple[Measure, ...]) -> FloatArray:
    """(N, D) with NaN where unknown, absent or not believed."""
    known = ~np.isnan(values)
    out = np.full(values.shape, np.nan)
    cleaned = clean(values[known], np.nonzero(known)[1], measures)
    out[known] = np.where(cleaned.believed, cleaned.value, np.nan)
    return out


def described(events: Events, hours: float) -> Table:
    """Descriptors, and ``DESCRIBED`` of each series over the whole window."""
    stay = Segments(events, 0, 60 * hours, closed=True)
    n, n_series = len(events), len(events.parameters)
    values = np.empty((n, len(events.descriptor_names) + len(DESCRIBED) * n_series), dtype=np.float32)
    values[:, : values.shape[1] - len(DESCRIBED) * n_series] = events.descriptors
    for k, statistic in enumerate(DESCRIBED, start=-len(DESCRIBED)):
        stay.write(statistic, values[:, values.shape[1] + k * n_series :][:, :n_series])
    names = [*events.descriptor_names, *(f"{p}.{k}" for k in DESCRIBED for p in events.parameters)]
    return Table(values, tuple(names))
