"""CardioSpike's form of RR recordings: a table of ``id,time,x,y``, one row a beat, and the same as JSON.

``id`` names the recording, ``time`` is when the beat came (ms), ``x`` the interval before it (ms), ``y`` 1 in
an anomaly; ``test.csv`` has no ``y``. Rows of several recordings may come in any mixture, those of one in the
order of their beats. A table of one recording may leave out ``id``, and any may leave out ``time``, which is
then the sum of the intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ehrbench.core.errors import DataError
from ehrbench.core.task import Skipped
from ehrbench.core.types import FloatArray, IntArray, StrArray
from ehrbench.core.views import offsets
from ehrbench.features.beats import Beats
from ehrbench.tasks.names import LONGEST, fault_of_name, id_of
from ehrbench.tasks.numbers import cells_of, of_json, of_text, shown, written

COLUMNS = ("id", "time", "x", "y")
#: Longest interval believed, in ms: a minute without a beat is no rhythm.
LONGEST_MS = 60_000.0
REMEDY = "columns and units: docs/tasks/rr_rhythm.md, or GET /model of a server"


@dataclass(frozen=True)
class Recordings:
    """N recordings in the order of their first rows, B beats.

    row: (B,) place of each beat among the rows of its recording, skipped ones too, so that the name of a beat
    does not depend on what was skipped. labels: (B,) where the input has them.
    """

    ids: StrArray  # (N,)
    beats: Beats
    row: IntArray
    labels: FloatArray | None
    skipped: tuple[Skipped, ...]
    n_rows: int
    n_lost: int


def read_csv(name: str, body: bytes, *, strict: bool, labelled: bool) -> Recordings:
    """A table with a header; columns go by name, in any order, cells may be quoted, blank lines are none.

    labelled: read ``y``, too, where there is one; otherwise whatever stands there plays no part.
    Raises DataError for missing or unknown columns, always; for a bad cell when ``strict``, else its row is
    skipped and listed. A recording of which no row is left is lost.
    """
    body = body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = body.decode("utf-8", "replace").split("\n")
    columns = cells_of(lines[0])
    _check_header(name, columns)
    labelled = labelled and "y" in columns
    only = name.rsplit("/", 1)[-1].removesuffix(".csv")
    rows: dict[str, list[tuple[int, float, float, float]]] = {}  # recording -> (row, time, x, y)
    n_seen: dict[str, int] = {}
    misnamed: dict[str, str] = {}  # recording -> why it cannot be called so
    skipped: list[Skipped] = []
    n_rows = 0
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        n_rows += 1
        given = cells_of(line)
        cells = dict(zip(columns, given, strict=False))
        if not labelled:
            cells.pop("y", None)
        recording = cells.get("id", only) or only
        row = n_seen.get(recording, 0)
        n_seen[recording] = row + 1
        if not row and "id" in columns and (problem := fault_of_name(recording)):
            misnamed[recording] = problem
        before = rows.setdefault(recording, [])
        try:
            if len(given) != len(columns):
                raise _BeatFault("line", f"{len(given)} columns instead of {len(columns)}")
            if recording in misnamed:
                raise _BeatFault("id", misnamed[recording])
            before.append((row, *_beat(cells, before[-1][1] if before else None)))
        except _BeatFault as fault:
            place = f"line {number}" if "id" not in columns else f"{recording[:LONGEST]}, line {number}"
            if strict:
                raise DataError(
                    fault.problem, file=name, record=place, field=fault.field, remedy=REMEDY
                ) from None
            skipped.append(Skipped(name, place, fault.field, fault.problem))
    kept = {recording: found for recording, found in rows.items() if found}
    table = np.array([beat for found in kept.values() for beat in found], dtype=np.float64).reshape(-1, 4)
    counts = np.array([len(found) for found in kept.values()], dtype=np.int64)
    return Recordings(
        np.array(list(kept), dtype=str),
        _beats(table[:, 1], table[:, 2], offsets(counts)),
        table[:, 0].astype(np.int64),
        table[:, 3].copy() if labelled else None,
        tuple(skipped),
        n_rows,
        len(rows) - len(kept),
    )


def read_json(name: str, body: Mapping[str, Any]) -> Recordings:
    """One recording, ``{"rr_ms": [812, 798, …]}``, with ``time_ms`` where beats are missing between them.

    Raises DataError naming the beat.
    """
    for key in body:
        if key not in ("record_id", "rr_ms", "time_ms"):
            raise DataError("is not a known field", record=name, field=key, remedy=REMEDY)
    columns = {"x": body.get("rr_ms"), "time": body.get("time_ms")}
    fields = {"x": "rr_ms", "time": "time_ms"}
    if not isinstance(columns["x"], list) or not columns["x"]:
        raise DataError("is not a list of one or more intervals", record=name, field="rr_ms", remedy=REMEDY)
    if columns["time"] is None:
        del columns["time"]
    elif not isinstance(columns["time"], list) or len(columns["time"]) != len(columns["x"]):
        problem = f"is not a list of {len(columns['x'])} times, one a beat"
        raise DataError(problem, record=name, field="time_ms", remedy=REMEDY)
    found: list[tuple[float, float, float]] = []
    for i in range(len(columns["x"])):
        cells = {column: values[i] for column, values in columns.items() if values is not None}
        try:
            found.append(_beat(cells, found[-1][0] if found else None))
        except _BeatFault as fault:
            field = f"{fields.get(fault.field, fault.field)}[{i}]"
            raise DataError(fault.problem, record=name, field=field, remedy=REMEDY) from None
    table = np.array(found, dtype=np.float64)
    starts = np.array([0, len(table)])
    ids = np.array([id_of(body, name)])
    beats = _beats(table[:, 0], table[:, 1], starts)
    return Recordings(ids, beats, np.arange(len(table)), None, (), len(table), 0)


class _BeatFault(Exception):
    """One field of one beat that cannot be."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field, self.problem = field, problem


def _beat(cells: Mapping[str, Any], before: float | None) -> tuple[float, float, float]:
    """Time, interval and label of one beat, the last before it at ``before`` ms; raises _BeatFault."""
    x = _number(cells, "x")
    if not 0 < x <= LONGEST_MS:
        raise _BeatFault("x", f"{written(x)} is not an interval of more than 0 and at most {LONGEST_MS:g} ms")
    time = _number(cells, "time") if "time" in cells else (0.0 if before is None else before + x)
    if before is not None and time < before:
        raise _BeatFault("time", f"{written(time)} goes back: the beat before was at {written(before)} ms")
    y = _number(cells, "y") if "y" in cells else 0.0
    if y not in (0.0, 1.0):
        raise _BeatFault("y", f"{written(y)} is neither 0 nor 1")
    return time, x, y


def _number(cells: Mapping[str, Any], column: str) -> float:
    raw = cells[column]
    number = of_text(raw) if isinstance(raw, str) else of_json(raw)
    if number is None:
        raise _BeatFault(column, f"{shown(raw)} is not a number")
    return number


def _beats(time_ms: FloatArray, rr_ms: FloatArray, starts: IntArray) -> Beats:
    """Lost time is what neither of two neighbouring intervals accounts for: some tables date a beat by its
    beginning, some by its end."""
    lost = np.zeros(len(rr_ms))
    lost[1:] = np.diff(time_ms) - np.maximum(rr_ms[1:], rr_ms[:-1])
    lost[starts[:-1]] = 0
    return Beats(starts, rr_ms.astype(np.float32), lost.clip(min=0).astype(np.float32))


def _check_header(name: str, columns: Sequence[str]) -> None:
    if "x" not in columns:
        raise DataError("has no such column", file=name, field="x", remedy=REMEDY)
    for i, column in enumerate(columns):
        if column not in COLUMNS:
            raise DataError("is not a known column", file=name, field=column, remedy=REMEDY)
        if column in columns[:i]:
            raise DataError("stands twice in the header", file=name, field=column, remedy=REMEDY)


def text_of(
    ids: Sequence[str], rr_ms: Sequence[FloatArray], labels: Sequence[FloatArray] | None = None
) -> Iterator[str]:
    """Lines of the publisher's own format, header first; whole milliseconds, the first beat at 0."""
    yield ",".join(COLUMNS if labels is not None else COLUMNS[:-1])
    for n, (name, intervals) in enumerate(zip(ids, rr_ms, strict=True)):
        x = np.rint(intervals).astype(np.int64)
        time = np.cumsum(x) - x[0]
        for i in range(len(x)):
            yield f"{name},{time[i]},{x[i]}" + ("" if labels is None else f",{int(labels[n][i])}")
