"""Measures: what a measurement must be to be believed, and how a wrong one is mended.

A value inside its range is left as it is. One outside is mended where the mistake is recognised beyond doubt
(a unit, a lost decimal point), and otherwise treated as not measured. Nothing is clipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ehrbench.core.types import BoolArray, FloatArray, IntArray

#: What stands for a unit where a number is a code, a score or a share: nobody reads it behind the number.
SCALES = frozenset({"", "0/1", "1–4", "3–15", "fraction"})


@dataclass(frozen=True)
class Mend:
    """Values in [low, high] become ``value * factor + offset``."""

    low: float
    high: float
    factor: float
    offset: float
    reason: str


@dataclass(frozen=True)
class Measure:
    """One parameter: its unit, its believed range (inclusive), and why."""

    name: str
    meaning: str
    unit: str
    low: float
    high: float
    reason: str
    mends: tuple[Mend, ...] = ()


@dataclass(frozen=True)
class Cleaned:
    """Values after cleaning, and for each what happened to it."""

    value: FloatArray  # (E,) float64
    believed: BoolArray  # (E,) False: treat as not measured
    mended: BoolArray  # (E,)


def clean(value: FloatArray, code: IntArray, measures: tuple[Measure, ...]) -> Cleaned:
    """Clean values (E,) of the measures that ``code`` (E,) names by place."""
    low, high = np.array([m.low for m in measures]), np.array([m.high for m in measures])
    believed = (value >= low[code]) & (value <= high[code])
    mended = np.zeros(len(value), dtype=bool)
    doubtful = np.flatnonzero(~believed)
    if len(doubtful):
        value = value.copy()
        raw, codes = value[doubtful], code[doubtful]
        for place, measure in enumerate(measures):
            for mend in measure.mends:
                at = doubtful[(codes == place) & (raw >= mend.low) & (raw <= mend.high)]
                value[at] = value[at] * mend.factor + mend.offset
                mended[at] = True
        believed[doubtful] = (value[doubtful] >= low[codes]) & (value[doubtful] <= high[codes])
    return Cleaned(value, believed, mended & believed)


def units_of(measures: Iterable[Measure]) -> dict[str, str]:
    """Name -> unit, of those that have one."""
    return {measure.name: measure.unit for measure in measures if measure.unit not in SCALES}


def markdown_table(measures: tuple[Measure, ...]) -> str:
    """The table as the documentation shows it."""
    lines = ["| parameter | meaning | unit | believed | why | mended |", "|---|---|---|---|---|---|"]
    for m in measures:
        mends = "; ".join(f"{d.low:g}–{d.high:g}: {d.reason}" for d in m.mends) or "–"
        lines.append(
            f"| {m.name} | {m.meaning} | {m.unit or '–'} | {m.low:g}–{m.high:g} | {m.reason} | {mends} |"
        )
    return "\n".join(lines)
