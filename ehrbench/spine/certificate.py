"""Leakage certificate: that no outer-test group touched anything that was fitted or chosen.

Its evidence is the **access log**: which records the dataset's door handed out, for each outer fold and
purpose, written to the ledger before any Fit that came of them. It cannot see what a model does behind the
door: that is for the **counterfactual** (``counterfactual.py``). What neither sees stands in
``docs/fooled.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ehrbench.core.digest import digest
from ehrbench.core.errors import EhrbenchError
from ehrbench.core.ledger import StudyKey
from ehrbench.core.types import BoolArray, IntArray
from ehrbench.spine.dataset import Dataset, Purpose
from ehrbench.spine.folds import OuterFold
from ehrbench.spine.search import Search

SCHEMA = 1


#: Purposes without which no outer fold is decided. Older runs did not tell ``select`` from ``stop``.
DECIDING: tuple[Purpose, ...] = ("fit", "stop", "stack", "calibrate", "threshold")


class NotClean(EhrbenchError):
    """The evidence does not hold; the message says where.

    changed: the marks that other test records changed, in the order of the procedure.
    """

    def __init__(self, message: str, changed: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.changed = tuple(changed)


def certify(search: Search) -> dict[str, Any]:
    """Check a finished search against its ledger; the certificate's content.

    Raises NotClean naming the leak.
    """
    log = search.dataset.persisted(search.backend.ledger, search.study_name)
    return {
        "schema": SCHEMA,
        "study_name": search.study_name,
        "data_digest": search.dataset.digest,
        "protocol": search.split.label,
        "folds": [_certify_fold(search, fold, log.get(fold.name, {})) for fold in search.split.all_folds],
    }


def _certify_fold(search: Search, fold: OuterFold, log: Mapping[str, BoolArray]) -> dict[str, Any]:
    dataset = search.dataset
    test_groups = np.unique(dataset.groups[fold.test])
    shared = np.intersect1d(np.unique(dataset.groups[fold.train]), test_groups)
    if len(shared):
        raise NotClean(f"outer fold {fold.name}: {len(shared)} groups stand in training and test")
    _check_fits(search, fold, log)
    if unseen := [purpose for purpose in DECIDING if purpose not in log]:
        raise NotClean(
            f"outer fold {fold.name}: no record was handed out for {unseen[0]}, "
            "so it was done behind the door"
        )
    purposes = {}
    for purpose, seen in sorted(log.items()):
        index = np.flatnonzero(seen)
        touched = int(np.isin(dataset.groups[index], test_groups).sum())
        if touched and purpose != "test":
            raise NotClean(
                f"outer fold {fold.name}: {touched} outer-test records were handed out for {purpose}"
            )
        purposes[purpose] = {
            "records": len(index),
            "outer_test_records": touched,
            "digest": _ids(dataset, index),
        }
    return {
        "name": fold.name,
        "digest": fold.digest,
        "train": {"records": len(fold.train), "digest": _ids(dataset, fold.train)},
        "test": {"records": len(fold.test), "groups": len(test_groups), "digest": _ids(dataset, fold.test)},
        "purposes": purposes,
    }


def _check_fits(search: Search, fold: OuterFold, log: Mapping[str, BoolArray]) -> None:
    """Every Fit in the ledger belongs to these folds, and what it was trained on stands in the log."""
    fitted = log.get("fit", np.zeros(len(search.dataset), dtype=np.bool_))
    for model in search.contenders:
        key = StudyKey(search.study_name, search.task, model, fold.index)
        for row in search.backend.ledger.tickets(key):
            for fit in row.fits:
                name = f"{key} trial {row.number} inner fold {fit.fold}"
                if fit.fold_digest != fold.digest:
                    raise NotClean(f"{name}: was fitted on other folds than these")
                if not fitted[fold.inner[fit.fold].train].all():
                    raise NotClean(f"{name}: its training records are not in the access log")


def _ids(dataset: Dataset, index: IntArray) -> str:
    return digest(dataset.cohort.records.ids[index].astype(str))
