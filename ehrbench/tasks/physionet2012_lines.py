"""Lines of PhysioNet 2012 records, split into their three columns, the distinct strings of each numbered.

Thousands of records are split by Arrow as one text. Arrow takes half a millisecond to begin, which is more
than one posted record needs by hand; what comes out is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from ehrbench.core.types import BoolArray, IntArray

_SENTINEL = b"?,?,?"
_LONGEST_LINE = 1000
#: Bytes of text from which on Arrow is quicker.
_MANY = 1 << 16


@dataclass(frozen=True)
class Split:
    """The three columns as codes into their distinct strings, line for line."""

    codes: tuple[IntArray, IntArray, IntArray]
    distinct: tuple[list[bytes], list[bytes], list[bytes]]
    odd: dict[int, str]  # line -> why it cannot be split; empty for a blank line

    @property
    def blank(self) -> BoolArray:
        """(lines,) True for lines without any text, which are three empty cells."""
        blank = np.ones(len(self.codes[0]), dtype=bool)
        for codes, distinct in zip(self.codes, self.distinct, strict=True):
            blank &= np.array([not text for text in distinct], dtype=bool)[codes]
        return blank


def plain(body: bytes) -> bytes:
    """Line ends as \\n, the last line ended, no byte order mark."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return body if body.endswith(b"\n") or not body else body + b"\n"


def split(text: bytes) -> Split:
    """Split lines into three columns; a line that has not three takes the place of a sentinel."""
    table = _arrow(text) if len(text) >= _MANY else None
    odd: dict[int, str] = {}
    if table is None:
        lines = text.split(b"\n")[:-1]
        for i, line in enumerate(lines):
            if line.count(b",") != 2 or (len(text) >= _MANY and len(line) > _LONGEST_LINE):
                odd[i], lines[i] = _why_odd(line), _SENTINEL
        if len(text) < _MANY:
            return _split([_numbered(column) for column in _columns(lines)], odd)
        table = _arrow(b"\n".join(lines) + b"\n")
        assert table is not None
    arrays = [table.column(c).combine_chunks() for c in range(3)]
    return _split([(array.indices.to_numpy(), array.dictionary.to_pylist()) for array in arrays], odd)


def _split(columns: list[tuple[IntArray, list[bytes]]], odd: dict[int, str]) -> Split:
    codes = tuple(codes for codes, _ in columns)
    distinct = tuple([text.strip() for text in texts] for _, texts in columns)
    return Split(codes, distinct, odd)  # type: ignore[arg-type]


def _columns(lines: list[bytes]) -> Iterable[Sequence[bytes]]:
    """The three columns of lines that have three."""
    return zip(*(line.split(b",") for line in lines), strict=True) if lines else ((), (), ())


def _numbered(column: Sequence[bytes]) -> tuple[IntArray, list[bytes]]:
    """Codes into the distinct strings, and these in the order in which they come."""
    number: dict[bytes, int] = {}
    codes = [number.setdefault(cell, len(number)) for cell in column]
    return np.array(codes, dtype=np.int32), list(number)


def _why_odd(line: bytes) -> str:
    if not line.strip():
        return ""
    n_columns = line.count(b",") + 1
    return f"{n_columns} columns instead of 3" if n_columns != 3 else f"over {_LONGEST_LINE} characters long"


def _arrow(text: bytes) -> pa.Table | None:
    """Three dictionary columns, or None where some line has not three columns."""
    strings = pa.dictionary(pa.int32(), pa.binary())
    names = ["time", "parameter", "value"]
    try:
        table = pc.read_csv(
            pa.BufferReader(text),
            read_options=pc.ReadOptions(column_names=names, use_threads=False, block_size=1 << 22),
            parse_options=pc.ParseOptions(quote_char=False, ignore_empty_lines=False),
            convert_options=pc.ConvertOptions(
                column_types=dict.fromkeys(names, strings), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None
    return table.unify_dictionaries()
