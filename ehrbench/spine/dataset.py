"""Dataset: the only door to a search's records.

Every step of a procedure asks here for records, saying which outer fold it works in and what for; the door
refuses outer-test records to every purpose but the final prediction, and keeps, for each outer fold and
purpose, which records were handed out. That record is what a leakage certificate is made of.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Literal, get_args

import numpy as np

from ehrbench.core.errors import EhrbenchError
from ehrbench.core.records import Records
from ehrbench.core.task import Cohort
from ehrbench.core.types import BoolArray, IntArray
from ehrbench.spine.folds import OuterFold, split_groups

#: What records are handed out for. ``test`` is the finished procedure's prediction and its scoring.
Purpose = Literal["fit", "stop", "select", "prune", "stack", "calibrate", "threshold", "test"]


class Leak(EhrbenchError):
    """A step asked for records that judge it. Always a bug in the step, never the user's fault."""


class Dataset:
    """A cohort behind a door. Thread-safe as far as Python's dicts are: the log only grows."""

    def __init__(self, cohort: Cohort) -> None:
        self.cohort = cohort
        self.digest = cohort.digest
        self._records = cohort.records
        self._groups = split_groups(cohort.records)
        self._handed_out: dict[str, dict[str, BoolArray]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._records)

    def open(self, fold: OuterFold, purpose: Purpose, index: IntArray) -> Records:
        """The records at ``index``, for one purpose within one outer fold.

        Raises Leak when a purpose other than ``test`` asks for a record whose group is in the outer test,
        or for one outside the fold altogether.
        """
        if purpose not in get_args(Purpose):
            raise ValueError(f"unknown purpose {purpose!r}")
        allowed = fold.test if purpose == "test" else fold.train
        outside = ~np.isin(index, allowed)
        if outside.any():
            record = self._records.ids[np.asarray(index)[outside][0]]
            raise Leak(f"outer fold {fold.name}: {purpose} asked for record {record}, which it may not see")
        log = self._handed_out[fold.name]
        seen = log.setdefault(purpose, np.zeros(len(self), dtype=np.bool_))
        seen[index] = True
        return self._records.take(index)

    def handed_out(self, fold: OuterFold) -> dict[str, IntArray]:
        """Purpose -> positions of the records handed out for it within ``fold`` by this process."""
        return {purpose: np.flatnonzero(seen) for purpose, seen in self._handed_out[fold.name].items()}

    def units(self, index: IntArray) -> IntArray:
        """Positions among the cohort's units of the units of the records at ``index``."""
        return self._records.units_of(index)

    @property
    def total_units(self) -> int:
        return self._records.total_units

    @property
    def groups(self) -> IntArray:
        """(N,) groups as the folds see them: by group and by identical content."""
        return self._groups
