"""Observed: what one version of a bundle has predicted, and what was told of it since, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ehrbench.core.types import BoolArray, FloatArray, IntArray, StrArray


@dataclass(frozen=True, eq=False)
class Observed:
    """N records in the order in which they were predicted, with U units of C classes.

    number: (N,) of each record among all that were ever kept there, of any version; ascending, never given
        twice, so that a record falls into the same look whenever one looks, whatever was deleted since.
    last: the greatest number given so far; first: the least one that is still kept.
    patient: (N,); made_at: (N,) datetime64[s], UTC. places: (N, F) of ``Profile.places``.
    record: (U,) which record owns each unit. p, called: (U, C); y: (U, C) the outcome that was told last, NaN
        unknown; told: (U,) place of a unit's first outcome among all that were told, -1 where none was.
    """

    number: IntArray
    first: int
    last: int
    patient: StrArray
    made_at: np.ndarray
    places: IntArray
    record: IntArray
    p: FloatArray
    called: BoolArray
    y: FloatArray
    told: IntArray

    def __len__(self) -> int:
        return len(self.number)

    @property
    def group(self) -> StrArray:
        """(U,) the patient of each unit."""
        return self.patient[self.record]

    @property
    def n_told(self) -> int:
        """Units with an outcome."""
        return int((self.told >= 0).sum())

    def latest(self, n: int) -> Observed:
        """The last ``n`` records."""
        start = max(len(self) - n, 0)
        mine = self.record >= start
        return replace(
            self,
            number=self.number[start:],
            patient=self.patient[start:],
            made_at=self.made_at[start:],
            places=self.places[start:],
            record=self.record[mine] - start,
            p=self.p[mine],
            called=self.called[mine],
            y=self.y[mine],
            told=self.told[mine],
        )
