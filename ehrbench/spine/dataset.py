"""Dataset: the only door to a search's records.

Every step of a procedure asks here for records, saying which outer fold it works in and what for; the door
refuses outer-test records to every purpose but the final prediction, and keeps, for each outer fold and
purpose, which records were handed out. That record is what a leakage certificate is made of.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from ehrbench.core.digest import digest
from ehrbench.core.errors import EhrbenchError
from ehrbench.core.ledger import Ledger
from ehrbench.core.records import Records
from ehrbench.core.task import Cohort
from ehrbench.core.types import BoolArray, IntArray
from ehrbench.spine.folds import OuterFold, split_groups

#: Prefix of the ledger's results that hold the access log.
ACCESS = "access/"

#: What records are handed out for. ``test`` is the finished procedure's prediction and its scoring.
Purpose = Literal["fit", "stop", "select", "prune", "stack", "calibrate", "threshold", "test"]


class Leak(EhrbenchError):
    """A step asked for records that judge it. Always a bug in the step, never the user's fault."""


class Dataset:
    """A cohort behind a door. Thread-safe as far as Python's dicts are: the log only grows."""

    def __init__(self, cohort: Cohort) -> None:
        self._records = cohort.records.cached()
        self.cohort = replace(cohort, records=self._records)
        self.digest = self.cohort.digest
        self._groups = split_groups(self._records)
        self._handed_out: dict[str, dict[str, BoolArray]] = defaultdict(dict)
        self._persisted: set[str] = set()

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

    def persist(self, ledger: Ledger, study_name: str) -> None:
        """Write what this process has handed out and not yet written, before any Fit that came of it.

        One small row for each outer fold and purpose and growth of its set; after the first trial of a fold
        nothing grows any more.
        """
        for fold, by_purpose in self._handed_out.items():
            for purpose, seen in by_purpose.items():
                content = np.packbits(seen).tobytes()
                name = f"{ACCESS}{fold}/{purpose}/{digest(content)[:16]}"
                if name not in self._persisted:
                    ledger.put_result(study_name, name, content)
                    self._persisted.add(name)

    def persisted(self, ledger: Ledger, study_name: str) -> dict[str, dict[str, BoolArray]]:
        """Fold name -> purpose -> (N,) whether the record was ever handed out, by any worker."""
        union: dict[str, dict[str, BoolArray]] = defaultdict(dict)
        for name in ledger.result_names(study_name, ACCESS):
            _, fold, purpose, _ = name.split("/")
            bits = np.frombuffer(ledger.result(study_name, name) or b"", dtype=np.uint8)
            seen = np.unpackbits(bits, count=len(self)).astype(np.bool_)
            union[fold][purpose] = union[fold].get(purpose, np.zeros(len(self), dtype=np.bool_)) | seen
        return dict(union)

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
