"""Sketches: a few numbers of a record, equal to those of what is nearly the same.

A record of many marks (measurements, runs of words, runs of beats) is sketched by one permutation hashing
(Li, Owen & Zhang 2012, "One Permutation Hashing"): marks fall into bins by their hash, a bin keeps its least
one, and neighbouring bins make a band. Two records that share most marks share a band, almost surely; two
that share a third of them, hardly ever. A record of few numbers is sketched by these, rounded.
"""

from __future__ import annotations

import numpy as np

from ehrbench.core.types import FloatArray, IntArray

#: Bands of a sketch, and bins of a band.
BANDS, BINS = 6, 8
#: Fewest distinct marks that a record is compared by.
FEWEST = BANDS * BINS


def mixed(*parts: np.ndarray) -> np.ndarray:
    """(E,) uint64, as if drawn, of rows of whole numbers (the finaliser of SplitMix64, a part at a time)."""
    found = np.zeros(len(parts[0]), dtype=np.uint64)
    for part in parts:
        found = found + np.uint64(0x9E3779B97F4A7C15) + part.astype(np.int64).view(np.uint64)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found = found ^ (found >> np.uint64(31))
    return found


def coarse(values: FloatArray) -> IntArray:
    """Whole numbers that stand for values rounded to two significant digits; one of its own for unknown."""
    size = np.abs(np.nan_to_num(values.astype(np.float64)))
    exponent = np.floor(np.log10(np.maximum(size, 1e-30))) - 1
    digits = np.rint(np.nan_to_num(values) / 10.0**exponent)
    return np.where(np.isnan(values), -1, 1000 * exponent.astype(np.int64) + digits.astype(np.int64))


def banded(owner: IntArray, marks: np.ndarray, n: int) -> np.ndarray:
    """(n, BANDS) uint64 of records whose marks (E,) are ``owner``'s; 0 where too little can be compared."""
    bins = BANDS * BINS
    least = np.full(n * bins, np.iinfo(np.uint64).max)
    np.minimum.at(least, owner * bins + (marks % np.uint64(bins)).astype(np.int64), marks)
    table = least.reshape(n, BANDS, BINS)
    bands = mixed(*np.moveaxis(table, 2, 0).reshape(BINS, n * BANDS)).reshape(n, BANDS)
    few = np.bincount(owner, minlength=n) < FEWEST
    empty = (table == np.iinfo(np.uint64).max).sum(axis=2) > BINS // 2
    return np.where(few[:, None] | empty, np.uint64(0), bands | np.uint64(1))
