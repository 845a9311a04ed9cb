"""Lines of PhysioNet 2012 records, split into their three columns.

Thousands of records are split by Arrow as one text, which numbers the distinct strings of each column, so
that each need be read once only. Arrow takes half a millisecond to begin, more than one posted record needs
by hand, and numbering its strings more than reading each; what the lines say is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from ehrbench.core.types import BoolArray, IntArray

_SENTINEL = b"?,?,?"
_SPACE = b" \t\x0b\x0c"  # what strip takes, but the end of a line
_LONGEST_LINE = 1000
#: Bytes of text from which on Arrow is quicker.
_MANY = 1 << 16


@dataclass(frozen=True)
class SplitLines:
    """The three columns as codes into their strings, line for line."""

    codes: tuple[IntArray, ...]  # 3 of (lines,)
    strings: tuple[list[bytes], ...]  # 3
    odd: dict[int, str]  # line -> why it cannot be split; empty for a blank line

    @property
    def blank(self) -> BoolArray:
        """(lines,) True for lines without any text, which are three empty cells."""
        blank = np.full(len(self.codes[0]), all(b"" in strings for strings in self.strings))
        if blank.any():
            for codes, strings in zip(self.codes, self.strings, strict=True):
                blank &= np.array([not text for text in strings], dtype=bool)[codes]
        return blank


def plain(body: bytes) -> bytes:
    """Line ends as \\n, the last line ended, no byte order mark."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return body if body.endswith(b"\n") or not body else body + b"\n"


def split(text: bytes) -> SplitLines:
    """Split lines into three columns; a line that has not three takes the place of a sentinel."""
    many = len(text) >= _MANY
    table = _arrow(text) if many else None
    odd: dict[int, str] = {}
    if table is None and (many or not _has_three_columns(text)):
        lines = text.split(b"\n")[:-1]
        for i, line in enumerate(lines):
            if line.count(b",") != 2 or (many and len(line) > _LONGEST_LINE):
                odd[i], lines[i] = _why_odd(line), _SENTINEL
        text = b"\n".join(lines) + b"\n"
    if many:
        table = table or _arrow(text)
        assert table is not None
        arrays = [table.column(c).combine_chunks() for c in range(3)]
        codes = [array.indices.to_numpy() for array in arrays]
        cells = [array.dictionary.to_pylist() for array in arrays]
    else:
        everything = text.replace(b"\n", b",").split(b",")[:-1]
        codes = [np.arange(len(everything) // 3)] * 3
        cells = [everything[c::3] for c in range(3)]
    if len(text.translate(None, _SPACE)) < len(text):
        cells = [[cell.strip() for cell in column] for column in cells]
    return SplitLines(tuple(codes), tuple(cells), odd)


def _has_three_columns(text: bytes) -> bool:
    """Whether every line has."""
    letters = np.frombuffer(text, dtype=np.uint8)
    marks = letters[(letters == ord(",")) | (letters == ord("\n"))]
    return len(marks) % 3 == 0 and bool((marks.reshape(-1, 3) == np.frombuffer(b",,\n", np.uint8)).all())


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
