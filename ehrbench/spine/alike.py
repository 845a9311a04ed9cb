"""Alike: records of different groups that are nearly the same, as one patient under two ids is.

Records of identical content never stand on both sides of a split. What is nearly identical (an export
rounded twice, a stay entered again, an image saved at another quality) is only likely to be the same patient,
so it is counted, and joined where the configuration says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ehrbench.core.records import Likened, Records
from ehrbench.core.types import IntArray
from ehrbench.spine.folds import Split, join, relabel, split_groups


@dataclass(frozen=True)
class Alike:
    """n_records: with their like in another group; n_tested: of outer tests, with theirs in training."""

    n_records: int
    n_tested: int


def alike_groups(records: Records) -> IntArray:
    """(N,) numbers in which records of one group, of identical or of nearly the same content, are one."""
    found = split_groups(records)
    if isinstance(records.payload, Likened):
        for band in records.payload.likenesses().T:
            alone = band == 0
            names = np.where(
                alone, np.arange(len(band), dtype=np.uint64) << np.uint64(1), band | np.uint64(1)
            )
            found = join(found, relabel(names))
    return found


def joined(records: Records) -> Records:
    """The same records, those that are nearly the same in one group, by the name of the first of theirs."""
    _, first, number = np.unique(alike_groups(records), return_index=True, return_inverse=True)
    return replace(records, groups=records.groups[first[number]])


def count(records: Records, split: Split) -> Alike:
    """How many are alike, and how many of these a split tests on what it has nearly trained on."""
    groups, alike = split_groups(records), alike_groups(records)
    pairs = np.unique(np.stack([alike, groups]), axis=1)
    several = np.bincount(pairs[0], minlength=int(alike.max()) + 1) > 1
    n_tested = sum(int(np.isin(alike[fold.test], alike[fold.train]).sum()) for fold in split.outer)
    return Alike(int(several[alike].sum()), n_tested)
