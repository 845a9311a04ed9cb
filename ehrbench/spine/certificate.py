"""Leakage certificate: that no outer-test group touched anything that was fitted or chosen.

Two kinds of evidence, since neither is enough alone:

- the **access log**: which records the dataset's door handed out, for each outer fold and purpose, written to
  the ledger before any Fit that came of them. It cannot see what a model does behind the door.
- the **counterfactual**: replace the outer-test records by others (payloads drawn from the training records,
  labels drawn at random), run the outer fold again with the same seeds, and compare the digests of every
  fitted model, choice, ensemble and threshold. Whatever of the outer test reached any of them, changes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ehrbench.core.digest import derive_seed, digest
from ehrbench.core.errors import EhrbenchError
from ehrbench.core.ledger import StudyKey
from ehrbench.core.progress import Progress
from ehrbench.core.types import BoolArray, IntArray
from ehrbench.spine.dataset import Dataset
from ehrbench.spine.folds import OuterFold
from ehrbench.spine.procedure import Decided
from ehrbench.spine.search import Backend, Search

SCHEMA = 1


class NotClean(EhrbenchError):
    """The evidence does not hold; the message says where."""


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


def counterfactual(
    search: Search, fold: OuterFold, decided: Decided, scratch: Backend, progress: Progress
) -> dict[str, Any]:
    """Run an outer fold again on other test records and compare everything that was fitted or chosen.

    search, decided: the finished search and what it decided for ``fold``; scratch: an empty backend.
    Raises NotClean naming what changed.
    """
    twin = replace(search, dataset=without_test(search.dataset, fold, search.seed), backend=scratch)
    for model in search.contenders:
        twin.study(model, fold).run(progress)
    again = twin.decide(fold)
    before, after = fingerprint(search, decided), fingerprint(twin, again)
    changed = [name for name in before if before[name] != after.get(name)]
    if changed or len(before) != len(after):
        raise NotClean(
            f"outer fold {fold.name}: other test records change {', '.join(changed) or 'the trials'} — "
            "the outer test has leaked into the procedure"
        )
    return {"fold": fold.name, "compared": len(before), "digest": digest(before)}


def without_test(dataset: Dataset, fold: OuterFold, seed: int) -> Dataset:
    """The dataset with the fold's test records replaced: others' payloads, labels drawn from both classes.

    Drawn from few training records, so that any statistic of the test records (a mean, a vocabulary) changes.
    """
    records = dataset.cohort.records
    rng = np.random.default_rng(derive_seed(seed, "counterfactual", fold.name))
    source = np.arange(len(records))
    few = rng.choice(fold.train, size=max(1, len(fold.train) // 20), replace=False)
    source[fold.test] = rng.choice(few, size=len(fold.test))
    other = records.take(source)
    own = replace(other, ids=records.ids, groups=records.groups, _rows=None)
    labels = own.labels.copy()
    units = own.units_of(fold.test)
    labels[units] = labels[rng.permutation(len(labels))[: len(units)]]
    return Dataset(replace(dataset.cohort, records=replace(own, target=labels, _rows=None)))


def fingerprint(search: Search, decided: Decided) -> dict[str, str]:
    """Name -> digest of each fitted state and choice of one outer fold."""
    ledger, marks = search.backend.ledger, {}
    for chosen in decided.chosen:
        for row in ledger.tickets(chosen.study.key):
            name = f"{chosen.name} trial {row.number}"
            marks[f"parameters of {name}"] = digest(dict(row.params or {}))
            marks[f"outcome of {name}"] = digest(str(row.state), row.value)
            for fit in row.fits:
                marks[f"predictions of {name} fold {fit.fold}"] = fit.predictions
                marks[f"fitted state of {name} fold {fit.fold}"] = str(fit.model)
                marks[f"early stopping of {name} fold {fit.fold}"] = digest(fit.best_step)
        marks[f"choice of {chosen.name}"] = digest(chosen.row.number)
    marks["ensemble and calibration"] = digest(json.loads(decided.ensemble.to_json()))
    for name, threshold in decided.thresholds.items():
        marks[f"threshold of {name}"] = digest(threshold)
    return marks
