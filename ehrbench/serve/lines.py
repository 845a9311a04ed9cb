"""Lines: a stream of bytes cut into the rows of an NDJSON or CSV body, none longer than is allowed."""

from __future__ import annotations

from collections.abc import Iterator


class RowSplitter:
    """Fed with bytes as they come; gives whole rows with the number of the line at which each begins.

    quoted: a line end inside double quotes belongs to the row, as in CSV. A row of more than ``most`` bytes
    is given as None: it is thrown away while it is read.
    """

    def __init__(self, most: int, *, quoted: bool) -> None:
        self.most, self.quoted = most, quoted
        self._part, self._too_long, self._open = bytearray(), False, False
        self._line = self._begun = 1

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes | None]]:
        """Rows that ``data`` ends; blank ones are left out."""
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._add(piece)
            self._line += 1
            if self._open:
                self._add(b"\n")
                continue
            yield from self._row()
        self._add(rest)

    def end(self) -> Iterator[tuple[int, bytes | None]]:
        """The last row, where no line end follows it."""
        yield from self._row()

    def _add(self, piece: bytes) -> None:
        if self.quoted and piece.count(b'"') % 2:
            self._open = not self._open
        if len(self._part) + len(piece) > self.most:
            self._too_long = True
            self._part.clear()
        if not self._too_long:
            self._part += piece

    def _row(self) -> Iterator[tuple[int, bytes | None]]:
        row = None if self._too_long else bytes(self._part).removesuffix(b"\r")
        if row is None or row.strip():
            yield self._begun, row
        self._part.clear()
        self._too_long, self._open, self._begun = False, False, self._line
