"""PhysioNet/CinC Challenge 2012's record format: text and JSON to columns, every fault located.

A record is a text of ``Time,Parameter,Value`` lines; its general descriptors (RecordID, Age, Gender, Height,
ICUType, Weight) stand first, at 00:00, and ``Weight`` is a series besides. Thousands of records are read as
one text, of which each distinct time, name and number is examined once (``record_lines``), and a fault
is known by its file and line without reading anything twice.

Cleaning is not done here (``cleaning``), nor what a patient is made of (``patients``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat

import numpy as np

from ehrbench.core.errors import DataError
from ehrbench.core.task import Skipped
from ehrbench.core.types import BoolArray, FloatArray, IntArray
from ehrbench.tasks.numbers import of_texts, written
from ehrbench.tasks.physionet2012.cleaning import DESCRIPTORS, SERIES
from ehrbench.tasks.physionet2012.record_lines import SplitLines, plain, split

HEADER = b"Time,Parameter,Value"
LAST_MINUTE = 48 * 60
RECORD_ID = "RecordID"
#: Codes of the names in ``Columns.name``: the series, then the descriptors, then RecordID.
SERIES_NAMES = tuple(m.name for m in SERIES)
DESCRIPTOR_NAMES = tuple(m.name for m in DESCRIPTORS)
#: In a file ``Weight`` is one name; which of its rows is the descriptor is decided by place, not by name.
NAMES = (*SERIES_NAMES, *(d for d in DESCRIPTOR_NAMES if d not in SERIES_NAMES), RECORD_ID)
CODE = {name: code for code, name in enumerate(NAMES)}
_ALLOWED = {
    "Gender": (-1.0, 0.0, 1.0),
    "ICUType": (-1.0, 1.0, 2.0, 3.0, 4.0),
    "MechVent": (0.0, 1.0),
}
TIME = re.compile(rb"(\d{2,3}):([0-5]\d)")
#: Minute of every time there is, also of 007:30.
MINUTES = {b"%0*d:%02d" % (n, *divmod(m, 60)): m for n in (2, 3) for m in range(LAST_MINUTE + 1)}
_CODES = {name.encode(): code for name, code in CODE.items()}
#: Names of which not every number is a value.
CODED = frozenset({"Age", "MechVent", "Gender", "ICUType", RECORD_ID})
#: (names,) whether it is one of them; whether it is said once, at 00:00.
_CODED = np.isin(NAMES, list(CODED))
_ONCE = ~np.isin(NAMES, SERIES_NAMES)
_ID = re.compile(rb"^[^,\n]*, *RecordID *, *(\d{1,15})\b", re.MULTILINE)
EMPTY_NAME = "empty parameter name"
_FORMAT = "each line is Time,Parameter,Value, for example 00:07,HR,73"


def id_in(text: bytes) -> str:
    """The RecordID that a text gives itself, "" where it gives none."""
    named = _ID.search(text)
    return named[1].decode() if named else ""


def with_id(text: bytes, record: str) -> bytes:
    """The same text under another RecordID.

    >>> with_id(b"Time,Parameter,Value\\n00:00,RecordID,7\\n00:07,HR,73\\n", "12")
    b'Time,Parameter,Value\\n00:00,RecordID,12\\n00:07,HR,73\\n'
    """
    named = _ID.search(text)
    return text if named is None else text[: named.start(1)] + record.encode() + text[named.end(1) :]


@dataclass(frozen=True)
class Columns:
    """R well-formed rows of N inputs, in file order within each input.

    n_rows: rows there were, also the skipped ones; broken: (N,) inputs that are no record at all.
    """

    record: IntArray  # (R,) which input
    minute: IntArray  # (R,)
    name: IntArray  # (R,) index into NAMES
    value: FloatArray  # (R,) float64
    skipped: tuple[Skipped, ...]
    n_rows: int
    broken: BoolArray  # (N,)


def read_texts(names: Sequence[str], bodies: Sequence[bytes], *, strict: bool) -> Columns:
    """N texts to columns.

    A row with an empty parameter (set c has some: ``47:05,,2.5``) is skipped and listed even when ``strict``.
    Raises DataError for the first other fault when ``strict``; otherwise lists it.
    """
    bodies = [plain(body) for body in bodies]
    n_lines = np.array([body.count(b"\n") for body in bodies], dtype=np.int64)
    start = np.cumsum(n_lines) - n_lines  # (N,) the line of each header
    lines = split(b"".join(bodies))
    faults = _Faults(names, bodies, start, strict)

    record = np.repeat(np.arange(len(bodies)), n_lines)
    broken = _check_headers(lines, start, n_lines, faults)
    is_row = ~(lines.blank | broken[record])
    is_row[start[n_lines > 0]] = False
    is_row[[line for line, why in lines.odd.items() if not why]] = False
    n_rows = int(is_row.sum()) + int(n_lines[broken].sum())

    for line, why in lines.odd.items():
        if is_row[line]:
            faults.add(line, "line", why, _FORMAT)
            is_row[line] = False
    minute = _lookup(lines, 0, is_row, faults).astype(np.int32)
    name = _lookup(lines, 1, is_row, faults).astype(np.int16)
    value = _lookup(lines, 2, is_row, faults)
    _check_codes(name, value, is_row, faults)
    _check_descriptors(record, minute, name, is_row, faults)
    rows = np.flatnonzero(is_row)
    return Columns(
        record[rows],
        minute[rows],
        name[rows].astype(np.uint16),
        value[rows],
        faults.listed(),
        n_rows,
        broken,
    )


class _Faults:
    """Collects faults by line, or raises the first."""

    def __init__(self, names: Sequence[str], bodies: Sequence[bytes], start: IntArray, strict: bool) -> None:
        self._names, self._bodies, self._start, self._strict = names, bodies, start, strict
        self._found: list[tuple[int, Skipped]] = []
        self._who: dict[int, str] = {}  # looked for once, as an input may have a fault in every line

    def add(self, line: int, field: str, problem: str, remedy: str = _FORMAT) -> None:
        record = int(np.searchsorted(self._start, line, side="right")) - 1
        self.add_to(record, int(line - self._start[record]) + 1, field, problem, remedy)

    def add_to(self, record: int, line: int, field: str, problem: str, remedy: str) -> None:
        name, place = self._names[record], f"{field} in line {line}" if field != "line" else f"line {line}"
        if record not in self._who:
            stem = name.rsplit("/", 1)[-1].removesuffix(".txt")
            self._who[record] = id_in(self._bodies[record]) or stem
        who = self._who[record]
        if self._strict and problem != EMPTY_NAME:
            raise DataError(problem, file=name, record=who, field=place, remedy=remedy)
        self._found.append((int(self._start[record]) + line, Skipped(name, who, place, problem)))

    def listed(self) -> tuple[Skipped, ...]:
        return tuple(skipped for _, skipped in sorted(self._found, key=lambda found: found[0]))


def _check_headers(lines: SplitLines, start: IntArray, n_lines: IntArray, faults: _Faults) -> BoolArray:
    """(N,) True where the first line is not the header."""
    broken = n_lines == 0
    filled = np.flatnonzero(~broken)
    for codes, strings, word in zip(lines.codes, lines.strings, HEADER.split(b","), strict=True):
        first = codes[start[filled]].tolist()
        broken[filled] |= np.array([strings[code] != word for code in first], dtype=bool)
    for record in np.flatnonzero(broken):
        problem = "does not begin with Time,Parameter,Value" if n_lines[record] else "is empty"
        faults.add_to(int(record), 1, "line", problem, "give a PhysioNet 2012 record")
    return np.asarray(broken)


def _no_minute(text: bytes) -> str:
    return f"{_show(text)} is " + ("later than 48:00" if TIME.fullmatch(text) else "not a time HH:MM")


def _no_name(text: bytes) -> str:
    return f"{_show(text)} is not a known parameter" if text else EMPTY_NAME


def _no_number(text: bytes) -> str:
    return f"{_show(text)} is not a number"


def _show(text: bytes) -> str:
    return repr(text[:40].decode("utf-8", "replace"))


def _known(numbers: Mapping[bytes, int], texts: Sequence[bytes]) -> FloatArray:
    return np.fromiter(map(numbers.get, texts, repeat(np.nan)), np.float64, len(texts))


#: Of each column its name, what strings of it say (NaN: nothing), and why another says nothing.
_COLUMNS: tuple[tuple[str, Callable[[list[bytes]], FloatArray], Callable[[bytes], str]], ...] = (
    ("Time", partial(_known, MINUTES), _no_minute),
    ("Parameter", partial(_known, _CODES), _no_name),
    ("Value", of_texts, _no_number),
)


def _lookup(lines: SplitLines, column: int, is_row: BoolArray, faults: _Faults) -> FloatArray:
    """(lines,) what each row's string says, -1 elsewhere; rows that say nothing leave ``is_row``."""
    field, read, why = _COLUMNS[column]
    codes, strings = lines.codes[column], lines.strings[column]
    needed = np.zeros(len(strings), dtype=bool)
    needed[codes[is_row]] = True
    said = np.full(len(strings), -1.0)
    said[needed] = read([strings[code] for code in needed.nonzero()[0].tolist()])
    said = said[codes]
    wrong = np.isnan(said)
    for line in np.flatnonzero(wrong & is_row).tolist():
        faults.add(line, field, why(strings[codes[line]]))
        is_row[line] = False
    said[wrong] = -1
    return said


def _check_codes(name: IntArray, value: FloatArray, is_row: BoolArray, faults: _Faults) -> None:
    """Rows whose value is a code (sex, ICU type, ventilation) that does not exist, and impossible ages."""
    at = np.flatnonzero(_CODED[name] & is_row)
    for line, code, number in zip(at.tolist(), name[at].tolist(), value[at].tolist(), strict=True):
        if problem := problem_of(NAMES[code], number):
            faults.add(line, NAMES[code], problem, "see the publisher's codes")
            is_row[line] = False


def _check_descriptors(
    record: IntArray, minute: IntArray, name: IntArray, is_row: BoolArray, faults: _Faults
) -> None:
    """A descriptor is said once and at 00:00; Weight is a series besides, and may be said again."""
    at = np.flatnonzero(_ONCE[name] & is_row)
    late, early = at[minute[at] > 0], at[minute[at] == 0]
    again = np.ones(len(early), dtype=bool)
    again[np.unique(record[early] * len(NAMES) + name[early], return_index=True)[1]] = False
    for lines, problem in ((late, "a descriptor stands at 00:00"), (early[again], "stands there twice")):
        for line in lines.tolist():
            faults.add(line, NAMES[name[line]], problem, "give each descriptor once, at 00:00")
            is_row[line] = False


def problem_of(parameter: str, value: float) -> str:
    """Why a code or an age cannot be, or an empty string."""
    if parameter in _ALLOWED and value not in _ALLOWED[parameter]:
        return f"{written(value)} is none of {', '.join(f'{v:g}' for v in _ALLOWED[parameter])}"
    if parameter == "Age" and value != -1 and not 0 <= value <= 130:
        return f"{written(value)} is not an age in years"
    if parameter == RECORD_ID and (value != int(value) or not 0 <= value < 1e15):
        return f"{written(value)} is not a whole number of at most 15 digits"
    return ""
