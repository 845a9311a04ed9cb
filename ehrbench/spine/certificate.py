"""Leakage certificate: that no outer-test group touched anything that was fitted or chosen.

Two kinds of evidence, since neither is enough alone:

- the **access log**: which records the dataset's door handed out, for each outer fold and purpose, written to
  the ledger before any Fit that came of them. It cannot see what a model does behind the door.
- the **counterfactual**: replace the outer-test records by others (payloads drawn from the training records,
  labels drawn at random), run the outer fold again with the same seeds, in a process that has fitted nothing
  before, and compare the digests of every fitted model, choice, ensemble and threshold. Whatever of the outer
  test reached any of them changes it, and so does what another fold has left behind for this one.

What neither sees stands in ``docs/fooled.md``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ehrbench.core.digest import derive_seed, digest
from ehrbench.core.errors import EhrbenchError
from ehrbench.core.ledger import StudyKey
from ehrbench.core.model import Model
from ehrbench.core.progress import Progress
from ehrbench.core.types import BoolArray, IntArray
from ehrbench.spine.dataset import Dataset, Purpose
from ehrbench.spine.folds import OuterFold
from ehrbench.spine.procedure import Decided
from ehrbench.spine.search import Search

SCHEMA = 1


#: Purposes without which no outer fold is decided. Older runs did not tell ``select`` from ``stop``.
DECIDING: tuple[Purpose, ...] = ("fit", "stop", "stack", "calibrate", "threshold")
#: Marks of the counterfactual that its message names; there are hundreds of them in a large search.
_NAMED = 5


class RunsAgain(Protocol):
    """Runs the outer fold again, from nothing and by a process of its own; see ``fold_again``."""

    def __call__(self, *, other_test: bool) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Excuse:
    """Why a recorded fold need not repeat itself. same_bits: yet a fit of the same parameters must."""

    why: str
    same_bits: bool


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


def counterfactual(
    search: Search, fold: OuterFold, decided: Decided, again: RunsAgain, excuse: Excuse | None = None
) -> dict[str, Any]:
    """Run an outer fold again on other test records and compare everything that was fitted or chosen.

    search, decided: the finished search and what it decided for ``fold``.
    excuse: where there is one (several workers: their samplers saw another order), the recorded fold is
    compared with the fold run once more on its own test records, by the trials whose parameters are the same
    in both (the first, which tries a model's own settings, among them), and the choices by that one alone;
    ``repeated`` says so. Without it, a fold that does not repeat itself is not clean: what was fitted was no
    function of its records and its seed.
    Raises NotClean naming what changed.
    """
    before: Mapping[str, str] = fingerprint(search, decided)
    after = again(other_test=True)
    recorded = before == after
    if not recorded:
        own = again(other_test=False)
        if changed := _differing(own, after):
            raise NotClean(
                f"outer fold {fold.name}: other test records change {_first(changed)} — "
                "the outer test has leaked into the procedure, there or before",
                changed,
            )
        changed = _differing(before, own) if excuse is None else []
        if excuse is not None and excuse.same_bits:
            changed = _differing_fits(before, own)
        if changed:
            raise NotClean(
                f"outer fold {fold.name}: run again in a process of its own, the same code gives another "
                f"{_first(changed)} — something outlives a fit (in a module, a class, a file): find it, "
                "and search again",
                changed,
            )
        before = own
    return {"fold": fold.name, "compared": len(before), "digest": digest(before), "repeated": not recorded}


def fold_again(search: Search, fold: OuterFold, progress: Progress, *, other_test: bool) -> dict[str, str]:
    """``fingerprint`` of an outer fold, run from nothing; other_test: on other test records than its own.

    search: with an empty backend.
    """
    dataset = without_test(search.dataset, fold, search.seed) if other_test else search.dataset
    twin = replace(search, dataset=dataset)
    for model in search.contenders:
        twin.study(model, fold).run(progress)
    return fingerprint(twin, twin.decide(fold))


def _first(changed: Sequence[str]) -> str:
    rest = len(changed) - _NAMED
    return ", ".join(changed[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _differing_fits(before: Mapping[str, str], own: Mapping[str, str]) -> list[str]:
    """Marks that differ of the fits of trials whose parameters are the same."""
    parameters = "parameters of "
    same = [mark for mark in before if mark.startswith(parameters) and before[mark] == own.get(mark)]
    prefixes = tuple(
        f"{what} of {mark.removeprefix(parameters)} fold "
        for mark in same
        for what in ("fitted state", "early stopping", "predictions")
    )
    both = [name for name in before if name.startswith(prefixes) and name in own] if prefixes else []
    return [name for name in both if before[name] != own[name]]


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Marks of both that differ; where all of those agree, marks that only one of them has."""
    changed = [name for name in before if name in after and before[name] != after[name]]
    return changed or sorted(before.keys() ^ after.keys())


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
    own = replace(other, ids=records.ids, groups=records.groups)
    labels = own.labels.copy()
    units = own.units_of(fold.test)
    labels[units] = labels[rng.permutation(len(labels))[: len(units)]]
    return Dataset(replace(dataset.cohort, records=replace(own, target=labels)))


def fingerprint(search: Search, decided: Decided) -> dict[str, str]:
    """Name -> digest of each fitted state and choice of one outer fold, in the order of the procedure."""
    ledger, marks = search.backend.ledger, {}
    for chosen in decided.chosen:
        for row in ledger.tickets(chosen.study.key):
            name = f"{chosen.name} trial {row.number}"
            marks[f"parameters of {name}"] = digest(dict(row.params or {}))
            marks[f"pruning of {name}"] = digest(str(row.state), len(row.fits))
            for fit in row.fits:
                marks[f"fitted state of {name} fold {fit.fold}"] = str(fit.model)
                marks[f"early stopping of {name} fold {fit.fold}"] = digest(fit.best_step)
                marks[f"predictions of {name} fold {fit.fold}"] = fit.predictions
            marks[f"value of {name}"] = digest(row.value)
        marks[f"choice of {chosen.name}"] = digest(chosen.row.number)
        if search.refit == "full":
            marks[f"refitted state of {chosen.name}"] = _state(*chosen.models("full"))
    ensemble = json.loads(decided.ensemble.to_json())
    marks["combiner"] = digest(ensemble["combiner"])
    marks["calibrator"] = digest(ensemble["calibrator"])
    marks["figures of the ensemble's choice"] = digest(ensemble["choices"])
    for name, threshold in decided.thresholds.items():
        marks[f"threshold of {name}"] = digest(threshold)
        marks[f"calling of {name}"] = digest(asdict(decided.calling[name]))
    return marks


def _state(model: Model) -> str:
    with tempfile.TemporaryDirectory(prefix="ehrbench-") as folder:
        model.save(Path(folder))
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return digest(*(part for path in files for part in (path.name, path.read_bytes())))
