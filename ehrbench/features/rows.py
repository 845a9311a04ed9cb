"""Rows: one table row a record, as questionnaires, registries and people's own tables give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Self

import numpy as np

from ehrbench.core.records import Piece
from ehrbench.core.types import BoolArray, FloatArray, IntArray, StrArray
from ehrbench.features.sketches import coarse, mixed


@dataclass(frozen=True, eq=False)
class Rows:
    """N rows of F named columns; NaN is unknown.

    levels: of each column of categories; a cell there holds the number of its level. Which levels there are
        is a way of writing texts down, and no model learns from it: levels are told by their text.
    """

    values: FloatArray  # (N, F) float32
    names: tuple[str, ...]  # F
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: IntArray) -> Self:
        """Rows at ``index``, in that order."""
        return type(self)(self.values[np.asarray(index)], self.names, self.levels)

    def evidence(self) -> tuple[str, ...]:
        """The columns."""
        return self.names

    def exchanged(self, name: str, donors: IntArray) -> tuple[IntArray, Self]:
        """See ``core.records.Exchangeable``; rows with the same cell, or both unknown, are left out."""
        column = self.names.index(name)
        cells, given = self.values[:, column], self.values[donors, column]
        index = np.flatnonzero(~alike(cells, given))
        values = self.values[index]
        values[:, column] = given[index]
        return index, type(self)(values, self.names, self.levels)

    def shown(self) -> Any:
        """The one row's columns and cells, a category by its text; None for what is unknown."""
        cells = [None if np.isnan(cell) else round(float(cell), 6) for cell in self.values[0]]
        texts = [
            self.levels[name][int(cell)] if cell is not None and name in self.levels else cell
            for name, cell in zip(self.names, cells, strict=True)
        ]
        return {"names": list(self.names), "values": texts}

    def pieces(self, most: int, within: Piece | None = None) -> list[Piece]:
        """Columns in which something stands, ``(from, to)``; so many to a piece that ``most`` will do.

        >>> row = Rows(np.array([[1, np.nan, 3]], dtype=np.float32), ("a", "b", "c"))
        >>> row.pieces(9), row.pieces(1), row.pieces(9, (0, 3)), row.without([(0, 1)]).values.tolist()
        ([(0, 1), (2, 3)], [(0, 3)], [(0, 1), (2, 3)], [[nan, nan, 3.0]])
        """
        return spans(~np.isnan(self.values[0]), most, within)

    def without(self, pieces: Sequence[Piece]) -> Self:
        """The one row once for each of ``pieces``, which is then unknown."""
        values = np.repeat(self.values[:1], len(pieces), axis=0)
        for row, (start, stop, *_) in zip(values, pieces, strict=True):
            row[start:stop] = np.nan
        return type(self)(values, self.names, self.levels)

    def digests(self) -> StrArray:
        """(N,) 32 hex digits of each row; -0 counts as 0, every NaN as the same, a category by its text."""
        plain = np.ascontiguousarray(self.values, dtype="<f4") + np.float32(0)
        plain[np.isnan(plain)] = np.nan
        for name, levels in self.levels.items():
            column = plain[:, self.names.index(name)]
            known = ~np.isnan(column)
            marks = np.array([_mark(level) for level in levels], dtype="<u4").view("<f4")
            column[known] = marks[column[known].astype(np.int64)]
        width = 4 * plain.shape[1]
        data = memoryview(plain.tobytes())
        return np.array(
            [
                blake2b(data[i : i + width], digest_size=16).hexdigest()
                for i in range(0, width * len(plain), width)
            ],
            dtype="U32",
        )

    def likenesses(self) -> np.ndarray:
        """See ``core.records.Likened``: numbers to two digits, where a row has several; all else as it is."""
        found = [len(np.unique(column[~np.isnan(column)])) for column in self.values.T]
        numbers = np.array(found, dtype=np.int64) > _VALUES
        numbers &= [name not in self.levels for name in self.names]
        known = (~np.isnan(self.values[:, numbers])).sum(axis=1)
        if not len(self) or numbers.sum() < _NUMBERS:
            return np.zeros((len(self), 1), dtype=np.uint64)
        rounded = mixed(*coarse(self.values).T) | np.uint64(1)
        return np.where(known >= _NUMBERS, rounded, np.uint64(0))[:, None]


#: Columns of more values than these are numbers; fewest of them that a row is compared by.
_VALUES, _NUMBERS = 10, 6


def _mark(level: str) -> int:
    """Four bytes of a text; none are those of a NaN."""
    return int.from_bytes(blake2b(level.encode(), digest_size=4).digest(), "little") & 0xBFFFFFFF


def spans(there: BoolArray, most: int, within: Piece | None = None) -> list[Piece]:
    """Places where something is, ``(from, to)``, at most so many; those within another's.

    Of a single place there is none within.
    """
    first, last = (0, len(there)) if within is None else within[:2]
    if within is not None and last - first < 2:
        return []
    size = -(-(last - first) // most)
    starts = range(first, last, size)
    return [
        (start, min(start + size, last)) for start in starts if there[start : min(start + size, last)].any()
    ]


def alike(one: FloatArray, two: FloatArray) -> BoolArray:
    """Equal, or both unknown."""
    return np.equal(one, two) | (np.isnan(one) & np.isnan(two))
