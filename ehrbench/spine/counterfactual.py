"""Counterfactual: an outer fold run again on other test records; nothing that was fitted or chosen changes.

The outer-test records are replaced by others (payloads drawn from the training records, labels drawn at
random), the fold is run again with the same seeds, in processes that have fitted nothing before, and the
digests of every fitted model, choice, ensemble and threshold are compared. Whatever of the outer test reached
any of them changes it, and so does what another fold has left behind for this one.

How it is run again:

- the whole fold is **searched**, sampler and pruner among it, where one worker had searched it.
- every recorded trial is **retrained** with the parameters and folds that the ledger has, where several
  workers did: the order that their samplers saw cannot be had again. What sampler and pruner were told of a
  trial (score, steps of the race) is compared in their place, and what both say next, by all that is known.
- half of the trials are retrained **twice**, on the fold's own and on other test records, where the recorded
  bits cannot be had (another machine).

No way costs more fits than the fold's search did.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ehrbench.core.digest import derive_seed, digest
from ehrbench.core.ledger import TicketRow
from ehrbench.core.model import Model
from ehrbench.core.progress import Progress
from ehrbench.spine.certificate import NotClean
from ehrbench.spine.dataset import Dataset
from ehrbench.spine.folds import OuterFold
from ehrbench.spine.procedure import Decided
from ehrbench.spine.retraining import PastTrial, recorded, retrain
from ehrbench.spine.search import Search

#: Marks that a message names; there are hundreds of them in a large search.
_NAMED = 5

#: Model -> the trials that are retrained; None: the fold is searched again, its sampler asked.
Trials = Mapping[str, Sequence[PastTrial]] | None


class RunsAgain(Protocol):
    """Runs the outer fold again, from nothing and by processes of its own; see ``fold_again``."""

    def __call__(self, trials: Trials, *, other_test: bool) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Excuse:
    """Why a recorded fold need not repeat itself. same_bits: yet a fit of the same parameters must."""

    why: str
    same_bits: bool


def counterfactual(
    search: Search, fold: OuterFold, decided: Decided, again: RunsAgain, excuse: Excuse | None = None
) -> dict[str, Any]:
    """Run an outer fold again on other test records and compare everything that was fitted or chosen.

    search, decided: the finished search and what it decided for ``fold``. excuse: see the module's text.
    ``trials`` of the answer: how many were retrained, of how many; ``repeated``: two runs again were
    compared, not one with the recorded fold.
    Raises NotClean naming what changed.
    """
    every = {chosen.name: recorded(chosen.study) for chosen in decided.chosen}
    trials: Trials = None
    if excuse is not None:
        trials = every if excuse.same_bits else {c.name: _half(every[c.name], c.row) for c in decided.chosen}
    before: Mapping[str, str] = fingerprint(search, decided, trials)
    after = again(trials, other_test=True)
    same = before == after
    if not same:
        own = again(trials, other_test=False)
        if changed := _differing(own, after):
            raise NotClean(
                f"outer fold {fold.name}: other test records change {_first(changed)} — "
                "the outer test has leaked into the procedure, there or before",
                changed,
            )
        if excuse is None or excuse.same_bits:
            changed = _differing(before, own)
            raise NotClean(
                f"outer fold {fold.name}: run again in a process of its own, the same code gives another "
                f"{_first(changed)} — something outlives a fit (in a module, a class, a file): find it, "
                "and search again",
                changed,
            )
    kept = every if trials is None else trials
    counts = [sum(one.kept for of in trials_of.values() for one in of) for trials_of in (kept, every)]
    return {
        "fold": fold.name,
        "compared": len(after),
        "digest": digest(dict(after)),
        "repeated": not same,
        "trials": counts,
    }


def _half(trials: Sequence[PastTrial], chosen: TicketRow) -> list[PastTrial]:
    """Those with half of the fits, the chosen one first, then by number; of the others only the number."""
    order = sorted(trials, key=lambda one: (one.number != chosen.number, one.number))
    left = sum(len(one.folds) for one in trials if one.kept) / 2
    for place, one in enumerate(order):
        if one.number != chosen.number and len(one.folds) > left:
            order[place] = one.left_out()
        left -= len(order[place].folds)
    return sorted(order, key=lambda one: one.number)


def fold_again(
    search: Search,
    fold: OuterFold,
    progress: Progress,
    trials: Trials = None,
    *,
    other_test: bool,
    models: Collection[str] | None = None,
) -> dict[str, str]:
    """``fingerprint`` of an outer fold, run from nothing; other_test: on other test records than its own.

    search: with an empty backend, or one shared with workers who do the same; {} where one of these is not
    done yet, and will say. models: those that this worker takes, whose sampler is one worker's; None: all.
    """
    dataset = without_test(search.dataset, fold, search.seed) if other_test else search.dataset
    twin = replace(search, dataset=dataset)
    for model in reversed(list(twin.contenders)):  # what one leaves behind for the next meets another
        study = twin.study(model, fold)
        if trials is not None:
            retrain(study, trials[model], progress)
        elif models is None or model in models:
            study.run(progress)
    if not all(twin.study(model, fold).spent() for model in twin.contenders):
        return {}
    return fingerprint(twin, twin.decide(fold), trials)


def _first(changed: Sequence[str]) -> str:
    rest = len(changed) - _NAMED
    return ", ".join(changed[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


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


def fingerprint(search: Search, decided: Decided, trials: Trials = None) -> dict[str, str]:
    """Name -> digest of each fitted state and choice of one outer fold, in the order of the procedure.

    trials: only these count, and what sampler and pruner would say next stands with them.
    """
    ledger, marks = search.backend.ledger, {}
    for chosen in decided.chosen:
        kept = None if trials is None else {one.number for one in trials[chosen.name] if one.kept}
        for row in ledger.tickets(chosen.study.key):
            if kept is not None and row.number not in kept:
                continue
            name, fits = f"{chosen.name} trial {row.number}", row.fits if trials is None else row.counted
            marks[f"parameters of {name}"] = digest(dict(row.params or {}))
            marks[f"pruning of {name}"] = digest(str(row.state), len(fits))
            for fit in fits:
                marks[f"fitted state of {name} fold {fit.fold}"] = str(fit.model)
                marks[f"early stopping of {name} fold {fit.fold}"] = digest(fit.best_step)
                seen = (fit.score, sorted(fit.steps.items()))
                marks[f"predictions of {name} fold {fit.fold}"] = digest(fit.predictions, *seen)
            marks[f"value of {name}"] = digest(row.value)
        if kept is not None:
            asked, stopped = chosen.study.next_asked(kept)
            marks[f"parameters of {chosen.name} that are asked next"] = digest(asked)
            marks[f"pruning of {chosen.name} by all that is known"] = digest(stopped)
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
