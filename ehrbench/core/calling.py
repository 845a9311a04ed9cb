"""Calling: from probabilities to calls along a record whose units follow each other.

A unit is called where its probability reaches the threshold. Along a recording single beats are hardly ever
an anomaly by themselves, nor do they interrupt one: gaps of a few units between called ones are filled, then
runs too short to be anything are dropped.

Filling and dropping are done to the probabilities, before any threshold: as a closing and an opening with a
flat structuring element (Serra 1982). Both commute with thresholding (Maragos & Ziff 1990), so that what
stands there is each unit's **level**, the highest threshold at which it is still called. One set of levels
therefore serves every threshold, whoever compares it: p ≥ threshold becomes level ≥ threshold, and nothing
else need know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from ehrbench.core.types import FloatArray, IntArray
from ehrbench.core.views import offsets


@dataclass(frozen=True)
class Calling:
    """longest_gap: units between called ones that are called, too; shortest_run: called units in a row that
    are kept. 0 and 1 leave every call as it is."""

    longest_gap: int = 0
    shortest_run: int = 1

    def __post_init__(self) -> None:
        if self.longest_gap < 0 or self.shortest_run < 1:
            raise ValueError(f"calls with gaps of {self.longest_gap} and runs of {self.shortest_run} units")

    @property
    def plain(self) -> bool:
        """Whether levels are the probabilities themselves."""
        return self == Calling()

    def levels(self, p: FloatArray, n_units: IntArray) -> FloatArray:
        """(U, C) the highest threshold at which each unit is called, for probabilities p (U, C).

        n_units: (N,) of each record, in order. Beyond a record's ends nothing is called.
        """
        if self.plain or not len(p):
            return p
        apart = self.longest_gap + self.shortest_run  # further than any window reaches
        at = np.arange(len(p)) + apart * (1 + np.repeat(np.arange(len(n_units)), n_units))
        line = np.full((int(offsets(n_units)[-1]) + apart * (len(n_units) + 1), p.shape[1]), -np.inf)
        line[at] = p
        line = _slid(_slid(line, self.longest_gap + 1, least=False), self.longest_gap + 1, least=True)
        line = _slid(_slid(line, self.shortest_run, least=True), self.shortest_run, least=False)
        return np.asarray(line[at])


def _slid(line: FloatArray, size: int, *, least: bool) -> FloatArray:
    """Extreme of ``size`` values in a row: from each back for the least, from each on for the greatest.

    The two windows mirror each other, so that one after the other moves nothing.
    """
    origin = (size - 1) // 2 if least else -(size // 2)
    extreme = minimum_filter1d if least else maximum_filter1d
    return np.asarray(extreme(line, size, axis=0, mode="constant", cval=-np.inf, origin=origin))
