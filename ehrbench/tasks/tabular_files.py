"""People's own tables: CSV of any dialect, plain or gzipped, and Parquet, to columns of Arrow.

Cells of a CSV stay text here (what they mean is for ``columns`` to say); Parquet brings types of its own.
What had to be guessed (an encoding, a separator) is told in ``notes``.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from ehrbench.core.errors import DataError

#: Texts that stand for nothing, as spreadsheets, R, SAS and databases write it.
NOTHING = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "none", "?", ".", "#N/A", "<NA>")
SEPARATORS = (",", ";", "\t", "|")
#: A first column so called holds the rows' names, as R and pandas write them, and nothing of a record.
ROW_NAMES = ("", "Unnamed: 0", "__index_level_0__")
_REMEDY = "give a CSV with a header, or a Parquet file"
_PARQUET = b"PAR1"
_SNIFFED = 1 << 16


@dataclass(frozen=True)
class RawTable:
    """Named columns of one length, chunks joined.

    first_line: the line of a CSV's first row, else 1; lines: of each row, where they do not just follow it.
    posted: it is one record of that name, and no file. parts: the files that it was put together from,
    without their cells.
    """

    name: str
    columns: dict[str, pa.Array]
    n_rows: int
    first_line: int
    notes: tuple[str, ...] = ()
    posted: bool = False
    lines: tuple[int, ...] = ()
    parts: tuple[RawTable, ...] = ()

    def place(self, index: int) -> tuple[str, str]:
        """The file of row ``index``, and how a person finds it there."""
        for part in self.parts:
            if index < part.n_rows:
                return part.place(index)
            index -= part.n_rows
        number = self.lines[index] if self.lines else index + self.first_line
        return self.name, f"{'line' if self.first_line > 1 else 'row'} {number}"

    def where(self, index: int) -> str:
        """The row, with its file where there are several."""
        file, row = self.place(index)
        return f"{file}, {row}" if self.parts else row

    def fault(self, index: int, column: str, problem: str, remedy: str) -> DataError:
        """What is wrong with a cell, and where it stands."""
        if self.posted:
            return DataError(problem, record=self.name, field=column, remedy=remedy)
        file, row = self.place(index)
        return DataError(problem, file=file, record=row, field=column, remedy=remedy)


def read_table(name: str, body: bytes) -> RawTable:
    """One file's content. Raises DataError naming file, line and column where it is no table."""
    if body[:2] == b"\x1f\x8b":
        try:
            body = gzip.decompress(body)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"is damaged or truncated ({error})", file=name, remedy=_REMEDY) from error
    return _parquet(name, body) if body[:4] == _PARQUET else _csv(name, body)


def _parquet(name: str, body: bytes) -> RawTable:
    try:
        table = pq.read_table(pa.BufferReader(body))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"is no whole Parquet file ({_brief(error)})", file=name, remedy=_REMEDY) from error
    columns = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_nested(field.type):
            remedy = "give one value a cell, or leave the column out of the file"
            raise DataError(
                f"holds {field.type}, not one value a cell", file=name, field=field.name, remedy=remedy
            )
        whole = column.combine_chunks()
        if isinstance(whole, pa.ChunkedArray):
            whole = whole.chunk(0) if whole.num_chunks else pa.array([], whole.type)
        columns[field.name] = whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole
    _check_names(name, [field.name for field in table.schema])
    return RawTable(name, columns, table.num_rows, 1, _without_row_names(name, columns))


def _csv(name: str, body: bytes) -> RawTable:
    notes = []
    if (nul := body.find(b"\0")) >= 0 and not body.startswith((b"\xff\xfe", b"\xfe\xff")):
        line = body.count(b"\n", 0, nul) + 1
        remedy = f"take them out, or {_REMEDY}"
        raise DataError("holds NUL bytes: it is no text", file=name, record=f"line {line}", remedy=remedy)
    text, encoding = _decoded(name, body)
    if encoding != "utf-8":
        notes.append(f"{name}: read as {encoding}, since it is not UTF-8")
    if not text.strip():
        raise DataError("is empty", file=name, remedy=_REMEDY)
    head = text[:_SNIFFED]
    separator = _separator(head)
    if separator != ",":
        notes.append(f"{name}: cells are separated by {separator!r}")
    text = re.sub(r"(?m)^[ \t]+$" if separator != "\t" else r"(?m)^ +$", "", text)  # blank lines are none
    above = len(text) - len(text.lstrip("\n"))
    header = next(csv.reader(io.StringIO(text[above : above + _SNIFFED]), delimiter=separator))
    names = [column.strip() for column in header]
    _check_names(name, names)
    try:
        table = pc.read_csv(
            pa.BufferReader(text.encode()),
            read_options=pc.ReadOptions(column_names=names, skip_rows=above + 1),
            parse_options=pc.ParseOptions(delimiter=separator, newlines_in_values='"' in text),
            convert_options=pc.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                null_values=list(NOTHING),
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        raise _malformed(name, text, separator, len(names), error) from error
    joined = {column: pa.array(table[column].combine_chunks()) for column in names}
    follow = table.num_rows == text[above:].rstrip("\n").count("\n")
    lines = () if follow else tuple(_lines(text, separator))[1:]
    notes += _without_row_names(name, joined)
    return RawTable(name, joined, table.num_rows, above + 2, tuple(notes), lines=lines)


def _without_row_names(name: str, columns: dict[str, pa.Array]) -> tuple[str, ...]:
    """Takes the rows' names out of several columns; what to tell of it.

    pandas writes an index of Parquet last.
    """
    found = [c for c in columns if c in ROW_NAMES and (c == next(iter(columns)) or c == ROW_NAMES[-1])]
    if not found or len(columns) == 1:
        return ()
    del columns[found[0]]
    called = f"is called {found[0]}" if found[0] else "has no name"
    return (f"{name}: a column {called}: taken for the rows' names, and left out",)


def csv_of(rows: Iterable[Iterable[Any]]) -> bytes:
    """Rows as a CSV, the header first; None is an empty cell.

    >>> csv_of([["ward, bed", "x"], ["icu", None]])
    b'"ward, bed",x\\nicu,\\n'
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _lines(text: str, separator: str) -> Iterator[int]:
    """The line at which each row begins, the header among them; blank ones, and line ends in cells, count."""
    rows, last = csv.reader(io.StringIO(text), delimiter=separator), 0
    for row in rows:
        if row:
            yield last + 1
        last = rows.line_num


def _decoded(name: str, body: bytes) -> tuple[str, str]:
    """Text with Unix line ends, and the encoding it was in."""
    for encoding in (
        ("utf-16",) if body.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8-sig", "cp1252", "latin-1")
    ):
        try:
            text = body.decode(encoding)
        except UnicodeDecodeError:
            continue
        known = {"utf-8-sig": "utf-8", "cp1252": "Latin-1 (Windows-1252)"}
        return text.replace("\r\n", "\n").replace("\r", "\n"), known.get(encoding, encoding)
    raise DataError("is no text in UTF-8, UTF-16 or Latin-1", file=name, remedy=_REMEDY)


def _separator(head: str) -> str:
    """The separator that stands equally often in most of the first lines; a comma where none does."""
    lines = [re.sub(r'"[^"]*"', "", line) for line in head.splitlines()[:50] if line.strip()]
    if len(lines) > 1 and len(head) == _SNIFFED:
        lines.pop()
    counts = {s: Counter(line.count(s) for line in lines).most_common(1)[0] for s in SEPARATORS}
    agreed = {s: n for s, (n, times) in counts.items() if n and times >= 0.8 * len(lines)}
    return max(agreed, key=agreed.__getitem__) if agreed else ","


def _check_names(name: str, names: list[str]) -> None:
    seen: set[str] = set()
    for i, column in enumerate(names):
        if not column and (i or len(names) == 1):
            raise DataError(f"column {i + 1} has no name", file=name, remedy="give every column a header")
        if column in seen:
            raise DataError(
                "stands twice in the header", file=name, field=column, remedy="rename one of them"
            )
        seen.add(column)


def _malformed(name: str, text: str, separator: str, n_columns: int, error: pa.ArrowInvalid) -> DataError:
    """Which line it is that Arrow could not split."""
    rows, last = csv.reader(io.StringIO(text), delimiter=separator, strict=True), 0
    try:
        for row in rows:
            if row and len(row) != n_columns:
                problem = f"has {len(row)} cells where the header names {n_columns} columns"
                return DataError(problem, file=name, record=f"line {last + 1}", remedy="mend the line")
            last = rows.line_num
    except csv.Error as fault:
        remedy = "close the quotes, or take the mark out of the text"
        problem = f"quotes never close, or {fault}"
        return DataError(problem, file=name, record=f"line {last + 1}", remedy=remedy)
    return DataError(f"is no table ({_brief(error)})", file=name, remedy=_REMEDY)


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__
