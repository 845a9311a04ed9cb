"""Rows: one table row a record, as questionnaires and registries give them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

import numpy as np

from ehrbench.core.types import BoolArray, FloatArray, IntArray, StrArray


@dataclass(frozen=True, eq=False)
class Rows:
    """N rows of F named numbers; NaN is unknown."""

    values: FloatArray  # (N, F) float32
    names: tuple[str, ...]  # F

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: IntArray) -> Self:
        """Rows at ``index``, in that order."""
        return type(self)(self.values[np.asarray(index)], self.names)

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
        return index, type(self)(values, self.names)

    def digests(self) -> StrArray:
        """(N,) 32 hex digits of each row's values; -0 counts as 0 and every NaN as the same."""
        plain = np.ascontiguousarray(self.values, dtype="<f4") + np.float32(0)
        plain[np.isnan(plain)] = np.nan
        width = 4 * plain.shape[1]
        data = memoryview(plain.tobytes())
        return np.array(
            [
                blake2b(data[i : i + width], digest_size=16).hexdigest()
                for i in range(0, width * len(plain), width)
            ],
            dtype="U32",
        )


def alike(one: FloatArray, two: FloatArray) -> BoolArray:
    """Equal, or both unknown."""
    return np.equal(one, two) | (np.isnan(one) & np.isnan(two))
