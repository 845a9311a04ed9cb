"""Long form: a table of one measurement a row (record, time, variable, value), to columns of numbers.

Times are numbers of a unit, HH:MM, or dates that count from a date of each record's own; which of them, is
found out once and kept with the task. A row without a time says what does not change: its variable is a
descriptor (a row for each, as MEDS has it).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.task import Skipped
from ehrbench.core.types import BoolArray, FloatArray, IntArray, StrArray
from ehrbench.tasks.columns import AMBIGUOUS, days_of, formats_of, numbers_of, texts_of
from ehrbench.tasks.numbers import shown
from ehrbench.tasks.tabular_files import RawTable

NUMBER, CLOCK = "number", "HH:MM"
#: Minutes in a unit that numbers may be given in.
UNITS = {"seconds": 1 / 60, "minutes": 1.0, "hours": 60.0, "days": 1440.0}
_LAST_MINUTE = np.iinfo(np.int32).max
_CLOCK = re.compile(r"(\d{1,6}):([0-5]\d)(?::([0-5]\d))?")


@dataclass(frozen=True)
class LongForm:
    """What the columns of a long table are called, and how its times are written.

    unit: of times that are numbers. format: ``NUMBER``, ``CLOCK``, or of dates; "" where not yet known.
    """

    id: str = "id"
    time: str = "time"
    variable: str = "variable"
    value: str = "value"
    unit: str = "hours"
    format: str = ""

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ConfigError(
                "task.time_unit", f"{self.unit!r} is no unit", f"choose one of {', '.join(UNITS)}"
            )

    @property
    def has_dates(self) -> bool:
        return self.format not in (NUMBER, CLOCK)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.id, self.time, self.variable, self.value)

    def posted(self) -> LongForm:
        """The form of measurements that came as JSON, their times read."""
        return LongForm(
            self.id, f"{self.id} time", f"{self.id} variable", f"{self.id} value", "minutes", NUMBER
        )

    def is_form_of(self, table: RawTable) -> bool:
        """Whether the table is one of measurements; one without ids holds one record, its name the file's."""
        return {self.time, self.variable, self.value} <= set(table.columns)

    def minutes(self, cells: pa.Array, start_days: FloatArray) -> FloatArray:
        """(N,) minutes since the start of times that are there, NaN for what is none.

        start_days: of each row's record, looked at where times are dates.
        """
        if self.has_dates:
            return np.asarray(np.rint((days_of(cells, self.format) - start_days) * 1440))
        if self.format == CLOCK:
            coded = texts_of(cells).dictionary_encode()
            read = np.array([clock_minute(text) for text in coded.dictionary.to_pylist()], dtype=np.float64)
            return np.asarray(read[coded.indices.to_numpy()] if len(read) else np.zeros(0))
        return np.asarray(np.rint(numbers_of(cells) * UNITS[self.unit]))


def time_format(table: RawTable, form: LongForm, wanted: str | None) -> str:
    """How the times of a long table are written: as most of the first are.

    wanted: ``date:FORMAT``, in place of what they look like.
    """
    if wanted is not None:
        return wanted.removeprefix("date:")
    cells = table.columns[form.time].drop_null()
    if not len(cells):
        raise DataError("holds no time", file=table.name, field=form.time, remedy="fill the times in")
    if pa.types.is_temporal(cells.type):
        return "%Y-%m-%dT%H:%M:%S"
    if not pa.types.is_string(cells.type):
        return NUMBER
    few = texts_of(cells.slice(0, 2000))
    shares = {
        NUMBER: np.mean(~np.isnan(numbers_of(few))),
        CLOCK: np.mean([clock_minute(text) == clock_minute(text) for text in few.to_pylist()]),
    }
    first = next(iter(formats_of(texts_of(cells.slice(0, 1)))), None)
    if first is not None:
        shares[first] = np.mean(~np.isnan(days_of(few, first)))
        both = formats_of(few)
        if len(both) > 1 and both[0] in AMBIGUOUS:
            remedy = f"say 'task.columns={{{form.time}: \"date:{both[-1]}\"}}'"
            raise table.fault(0, form.time, "holds dates that may begin with the day or the month", remedy)
        if both:
            return both[0]
    best = max(shares, key=lambda kind: float(shares[kind]))
    if not shares[best]:
        at = int(np.flatnonzero(~table.columns[form.time].is_null().to_numpy(zero_copy_only=False))[0])
        problem = f"{shown(cells[0].as_py())} is no time: neither a number, HH:MM nor a date"
        named = f"'task.columns={{{form.time}: \"date:%d.%m.%Y %H:%M\"}}'"
        remedy = f"give {form.unit} since the start, or say {named}"
        raise table.fault(at, form.time, problem, remedy)
    return best


def clock_minute(text: str) -> float:
    """Minutes of HH:MM or HH:MM:SS, NaN for any other text."""
    found = _CLOCK.fullmatch(text)
    return np.nan if found is None else int(found[1]) * 60 + int(found[2]) + round(int(found[3] or 0) / 60)


@dataclass(frozen=True)
class LongRows:
    """The R rows of one table that are measurements, in its order."""

    owner: IntArray  # (R,) place among the table's names
    minute: IntArray  # (R,)
    code: IntArray  # (R,) place among the variables
    value: FloatArray  # (R,)
    skipped: tuple[Skipped, ...]
    flow: Mapping[str, int]


class LongTable:
    """One long table of N rows, its K records and its variables numbered; ``read`` once these are known.

    names: (K,) records, also those without a row that can be read. owner, variable: (N,) places among
    ``names`` and ``variables``, -1 where the cell is empty.
    """

    def __init__(self, table: RawTable, form: LongForm) -> None:
        self.table, self.form = table, form
        if form.id in table.columns:
            self.names, self.owner = _numbered(table.columns[form.id])
        else:
            self.names = np.array([table.name.rsplit("/", 1)[-1].split(".")[0]])
            self.owner = np.zeros(table.n_rows, dtype=np.int64)
        self.variables, self.variable = _numbered(table.columns[form.variable])

    @cached_property
    def timed(self) -> BoolArray:
        """(N,) rows with a time."""
        return np.asarray(~self.table.columns[self.form.time].is_null().to_numpy(zero_copy_only=False))

    @cached_property
    def valued(self) -> BoolArray:
        """(N,) rows with a value."""
        return np.asarray(~self.table.columns[self.form.value].is_null().to_numpy(zero_copy_only=False))

    @cached_property
    def value(self) -> FloatArray:
        """(N,) values as numbers; NaN for none, and for texts."""
        found = np.full(self.table.n_rows, np.nan)
        rows = np.flatnonzero(self.valued & self.timed)
        found[rows] = numbers_of(self.table.columns[self.form.value].take(pa.array(rows)))
        return found

    @cached_property
    def static(self) -> RawTable:
        """A row a record, a column of text for each variable without a time; the first of two is kept."""
        n, found = len(self.names), dict[str, dict[int, str | None]]()
        rows = np.flatnonzero(~self.timed & (self.owner >= 0) & (self.variable >= 0))
        cells = texts_of(self.table.columns[self.form.value].take(pa.array(rows))).to_pylist()
        for row, cell in zip(rows.tolist(), cells, strict=True):
            found.setdefault(str(self.variables[self.variable[row]]), {}).setdefault(
                int(self.owner[row]), cell
            )
        columns = {self.form.id: pa.array(self.names.tolist(), pa.string())}
        columns |= {name: pa.array(map(of.get, range(n)), pa.string()) for name, of in found.items()}
        return RawTable(self.table.name, columns, n, 1)

    def read(
        self,
        variables: tuple[str, ...],
        start_days: FloatArray,
        known_static: frozenset[str],
        *,
        strict: bool,
    ) -> LongRows:
        """Measurements of these variables, those of others counted; a row that cannot be read is listed.

        start_days: (K,) of the records named, where times are dates.
        Raises DataError for the first fault when ``strict``.
        """
        form, table, n = self.form, self.table, self.table.n_rows
        faults = _RowFaults(self, strict)
        named = self.owner >= 0
        for row in np.flatnonzero(~named).tolist():
            faults.add(row, form.id, "is empty", "say whose measurement it is")
        for row in np.flatnonzero(named & (self.variable < 0)).tolist():
            faults.add(row, form.variable, "is empty", "say what was measured")
        place = {name: code for code, name in enumerate(variables)}
        codes = np.array([place.get(name, -1) for name in self.variables.tolist()] + [-1], dtype=np.int64)
        code = codes[self.variable]
        fixed = np.array([name in known_static for name in self.variables.tolist()] + [True], dtype=bool)
        for row in np.flatnonzero(named & ~self.timed & ~fixed[self.variable] & (code >= 0)).tolist():
            faults.add(row, form.time, "is empty", "say when it was measured")
        wanted = named & self.timed & (code >= 0)
        rows = np.flatnonzero(wanted & self.valued)
        for row in rows[np.isnan(self.value[rows])].tolist():
            faults.add(row, form.value, "{cell} is no number", "give numbers")
        starts = start_days[self.owner[rows]] if form.has_dates else np.zeros(len(rows))
        minute = form.minutes(table.columns[form.time].take(pa.array(rows)), starts)
        self._check_times(rows, minute, starts, faults)
        good = ~np.isnan(self.value[rows]) & (minute >= 0) & (minute <= _LAST_MINUTE)
        kept, skipped = rows[good], faults.listed()
        flow = {
            "rows": n,
            "rows skipped": len(skipped),
            "rows of other variables": int((named & self.timed & (self.variable >= 0) & (code < 0)).sum()),
            "rows without a value": int((wanted & ~self.valued).sum()),
        }
        minutes = minute[good].astype(np.int64)
        return LongRows(self.owner[kept], minutes, code[kept], self.value[kept], skipped, flow)

    def _check_times(
        self, rows: IntArray, minute: FloatArray, starts: FloatArray, faults: _RowFaults
    ) -> None:
        form, unread = self.form, np.isnan(minute)
        kind = {NUMBER: f"number of {form.unit}", CLOCK: "time HH:MM"}.get(form.format, f"date {form.format}")
        for at in np.flatnonzero(unread & ~np.isnan(starts)).tolist():
            faults.add(
                rows[at], form.time, f"{{cell}} is no {kind}, as the others are", "write all times alike"
            )
        for at in np.flatnonzero(unread & np.isnan(starts)).tolist():
            faults.add(
                rows[at], form.time, "the record has no date that {cell} could count from", "give it one"
            )
        remedy = (
            "times count from the start of a record: leave out what came before it, or name another start"
        )
        for at in np.flatnonzero(minute < 0).tolist():
            faults.add(rows[at], form.time, "{cell} is before the record's start", remedy)
        for at in np.flatnonzero(minute > _LAST_MINUTE).tolist():
            faults.add(
                rows[at], form.time, f"{{cell}} {form.unit} are thousands of years", "see task.time_unit"
            )


class _RowFaults:
    """Faults by row, the first of each; or the first of all is raised."""

    def __init__(self, long: LongTable, strict: bool) -> None:
        self._long, self._strict = long, strict
        self._found: dict[int, Skipped] = {}

    def add(self, row: int, field: str, problem: str, remedy: str) -> None:
        table = self._long.table
        cell = table.columns[field][row].as_py() if field in table.columns else None
        problem = problem.format(cell=shown(cell))
        if self._strict:
            raise table.fault(row, field, problem, remedy)
        self._found.setdefault(int(row), Skipped(*table.place(row), field, problem))

    def listed(self) -> tuple[Skipped, ...]:
        return tuple(self._found[row] for row in sorted(self._found))


def _numbered(cells: pa.Array) -> tuple[StrArray, IntArray]:
    """Distinct texts (K,), and each cell's place among them (N,), -1 where empty."""
    coded = texts_of(cells).dictionary_encode()
    empty = coded.is_null().to_numpy(zero_copy_only=False)
    place = coded.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    texts = np.array(coded.dictionary.to_pylist(), dtype=str)
    place[empty] = -1
    return texts, place
