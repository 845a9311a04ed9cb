"""A leak planted at any step of the procedure is caught by its counterfactual, and a clean search is not.

Each leak is an ordinary model, featurizer or spine step that reaches round the dataset's door, without
calling the recorder, for outer-test records.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import optuna
import pytest

from ehrbench import metrics
from ehrbench.core.digest import digest
from ehrbench.core.model import load_arrays
from ehrbench.core.progress import SILENT
from ehrbench.core.records import Records
from ehrbench.ensemble._base import Calibrator, Combiner
from ehrbench.models.lightgbm import LightGBM
from ehrbench.spine import procedure
from ehrbench.spine.certificate import NotClean
from ehrbench.spine.counterfactual import Excuse, counterfactual, fingerprint, fold_again
from ehrbench.spine.dataset import Dataset
from ehrbench.spine.pruning import RacePruner
from ehrbench.spine.retraining import recorded
from ehrbench.spine.space import Space
from ehrbench.spine.study import Study
from ehrbench.spine.thresholds import ThresholdRule
from ehrbench.spine.trial import restore_model
from tests.spine.composing import wired
from tests.spine.tiny import ScaledTable


def everyone(records: Records) -> Records:
    """All records of the cohort, outer test included, without labels: what a leak in a featurizer reaches."""
    return records._origin.cohort.records


def with_labels(monkeypatch) -> dict[str, Records]:
    """The cohort as "all", with its labels, once a record was asked for: what a leak in the spine reaches."""
    opened, reached = Dataset.open, {}

    def remember(self, *rest):
        reached["all"] = self.cohort.records
        return opened(self, *rest)

    monkeypatch.setattr(Dataset, "open", remember)
    return reached


def run_counterfactual(folder, *overrides: str, excuse: Excuse | None = None) -> dict:
    """Search the first outer fold, then run it again on other test records."""
    real = wired(folder / "real", *overrides).search
    fold = real.split.outer[0]
    for model in real.contenders:
        real.study(model, fold).run(SILENT)
    numbers = itertools.count()

    def again(trials, *, other_test: bool) -> dict[str, str]:
        twin = wired(folder / f"scratch{next(numbers)}", *overrides).search
        return fold_again(replace(real, backend=twin.backend), fold, SILENT, trials, other_test=other_test)

    return counterfactual(real, fold, real.decide(fold), again, excuse)


def test_a_clean_search_stays_the_same_on_other_test_records(tmp_path):
    found = run_counterfactual(tmp_path)
    assert found["compared"] > 20
    assert not found["repeated"]


def test_a_refitted_model_is_compared_too(tmp_path):
    assert run_counterfactual(tmp_path, "refit=full")["compared"] > run_counterfactual(tmp_path)["compared"]


TWO_WORKERS = Excuse("two workers", same_bits=True)
ANOTHER_MACHINE = Excuse("another machine", same_bits=False)


def test_a_search_by_several_workers_is_retrained_and_held_to_what_was_recorded(tmp_path, monkeypatch):
    """Several workers draw other parameters than one alone; those of the ledger are trained, not asked."""
    suggest, drawn = Space.suggest, itertools.count()

    def other_at_first(self, trial):
        params = suggest(self, trial)
        if isinstance(trial, optuna.Trial) and "C" in params and next(drawn) < 3:
            params["C"] *= 1.01
        return params

    monkeypatch.setattr(Space, "suggest", other_at_first)
    found = run_counterfactual(tmp_path, "models=[logistic]", "pruner=none", excuse=TWO_WORKERS)
    assert not found["repeated"]
    assert found["trials"][0] == found["trials"][1] > 1


def test_pruned_and_copied_trials_are_retrained_as_they_were(tmp_path):
    """A space of one value is exhausted at once: later tickets are copies of the fits that there are."""
    one_value = ("~model.logistic.space.class_weight_power", "model.logistic.space.C.low=1.0")
    settings = ("n_trials=6", *one_value, "pruner.least_chance=0.45")
    found = run_counterfactual(tmp_path, *settings, excuse=TWO_WORKERS)
    assert not found["repeated"]
    assert 2 <= found["trials"][0] <= 7


@pytest.mark.parametrize("retrained", [False, True])
def test_workers_share_a_fold_that_is_run_again(retrained, tmp_path):
    """Whoever is the last has the marks."""
    real, twin = (wired(tmp_path / name).search for name in ("real", "twin"))
    fold = real.split.outer[0]
    for model in real.contenders:
        real.study(model, fold).run(SILENT)
    decided = real.decide(fold)
    trials = {chosen.name: recorded(chosen.study) for chosen in decided.chosen} if retrained else None
    again = partial(fold_again, replace(real, backend=twin.backend), fold, SILENT, trials, other_test=True)
    if not retrained:
        assert again(models=["lightgbm"]) == {}
    assert again(models=["logistic"]) == fingerprint(real, decided, trials)


def first_fits_are_others(monkeypatch) -> None:
    """As where something is left for later fits: a warm start, say."""
    fit, fitted = LightGBM.fit, itertools.count()

    def other_at_first(self, train, valid, *, seed, **rest):
        return fit(self, train, valid, seed=seed + (next(fitted) < 2), **rest)

    monkeypatch.setattr(LightGBM, "fit", other_at_first)


@pytest.mark.parametrize("excuse", [None, TWO_WORKERS])
def test_another_fit_of_the_same_parameters_is_not_clean(tmp_path, monkeypatch, excuse):
    """The order that workers' samplers saw does not excuse it."""
    first_fits_are_others(monkeypatch)
    with pytest.raises(NotClean, match="the same code gives another fitted state of lightgbm trial 0"):
        run_counterfactual(tmp_path, "models=[lightgbm]", "pruner=none", excuse=excuse)


def test_another_machine_need_not_give_the_same_bits(tmp_path, monkeypatch):
    """Half of the trials are retrained twice, so that it takes no longer than once all of them."""
    first_fits_are_others(monkeypatch)
    settings = ("models=[lightgbm]", "n_trials=4", "pruner=none")
    found = run_counterfactual(tmp_path, *settings, excuse=ANOTHER_MACHINE)
    assert found["repeated"]
    assert found["trials"] == [2, 4]


@pytest.mark.parametrize(
    ("point", "excuse"),
    [
        ("imputation", TWO_WORKERS),
        ("pruning", TWO_WORKERS),
        ("pruning", ANOTHER_MACHINE),
        ("threshold", ANOTHER_MACHINE),
    ],
)
def test_a_planted_leak_is_caught_by_retraining_too(point, excuse, tmp_path, monkeypatch):
    plant, settings, first = LEAKS[point]
    plant(monkeypatch)
    with pytest.raises(NotClean, match="other test records change ") as caught:
        run_counterfactual(tmp_path, *settings, excuse=excuse)
    assert first in kinds(caught.value.changed)


def leak_completing(*names: str) -> Callable:
    """What a fitted table keeps under these names comes from all records, the rest from training records."""

    def plant(monkeypatch) -> None:
        fit = ScaledTable.fit

        def leaking(self, records):
            fit(self, records)
            other = fit(ScaledTable(), everyone(records)).state()
            self.restore({**self.state(), **{name: other[name] for name in names}})
            return self

        monkeypatch.setattr(ScaledTable, "fit", leaking)

    return plant


def leak_early_stopping(monkeypatch) -> None:
    """Trees are stopped on all records but the training ones."""
    fit, reached = LightGBM.fit, with_labels(monkeypatch)

    def leaking(self, train, valid, **rest):
        every = reached["all"]
        return fit(self, train, every.take(np.flatnonzero(~np.isin(every.ids, train.ids))), **rest)

    monkeypatch.setattr(LightGBM, "fit", leaking)


def leak_pruning(monkeypatch) -> None:
    """Trials are stopped by a draw that depends on all labels."""
    reached = with_labels(monkeypatch)

    def prune(self, study, trial):
        return int(digest(reached["all"].labels, trial.params)[:8], 16) % 2 == 0

    monkeypatch.setattr(RacePruner, "prune", prune)


def leak_choice(monkeypatch) -> None:
    """The trial is chosen that predicts the outer test best."""

    def best(self):
        setting, auroc = self.setting, metrics.load("auroc")
        test = setting.dataset.cohort.records.take(setting.fold.test)

        def outer(row):
            model = restore_model(setting.ledger, row.fits[0].model, setting.builder, row.params)
            return auroc(test.labels, model.predict(test), target=setting.target)

        return max((r for r in setting.ledger.tickets(self.key) if r.state == "complete"), key=outer)

    monkeypatch.setattr(Study, "best", best)


def leak_decision(owner: type, step: str) -> Callable:
    """A step of the decision learns from the labels of the outer test as well."""

    def plant(monkeypatch) -> None:
        decide, learn, reached = procedure.decide, getattr(owner, step), {}

        def remember(studies, *rest, **how):
            setting = studies[0].setting
            reached["y"] = setting.dataset.cohort.records.take(setting.fold.test).labels
            return decide(studies, *rest, **how)

        def leaking(self, first, second, *rest, **arguments):
            n = len(reached["y"])
            more = np.linspace(0.01, 0.99, n)[:, None]
            if owner is ThresholdRule:  # choose(y, p, target)
                return learn(self, np.r_[first, reached["y"]], np.r_[second, more], *rest)
            if owner is Calibrator:  # fit(p, y, target=)
                return learn(self, np.r_[first, more], np.r_[second, reached["y"]], **arguments)
            logit = np.log(more / (1 - more))
            scores = {name: np.r_[z, logit] for name, z in first.items()}
            arguments["fold"] = np.r_[arguments["fold"], np.resize(np.unique(arguments["fold"]), n)]
            arguments["group"] = np.r_[arguments["group"], arguments["group"].max() + 1 + np.arange(n)]
            return learn(self, scores, np.r_[second, reached["y"]], **arguments)

        monkeypatch.setattr("ehrbench.spine.search.decide", remember)
        monkeypatch.setattr(owner, step, leaking)

    return plant


def kinds(changed) -> set[str]:
    """What of the procedure the marks speak of: all before the name of a model."""
    return {re.split(r" of (?:logistic|lightgbm|ensemble)", mark)[0] for mark in changed}


#: Point -> leak, settings under which it shows, the first kind of mark that it changes.
LEAKS = {
    "featurizer fit": (
        leak_completing("kept", "indicated", "scaling_knots"),
        ("pruner=none",),
        "fitted state",
    ),
    "scaling": (leak_completing("scaling_centre", "scaling_spread"), ("pruner=none",), "fitted state"),
    "imputation": (leak_completing("median"), ("pruner=none",), "fitted state"),
    "early stopping": (
        leak_early_stopping,
        (
            "models=[lightgbm]",
            "pruner=none",
            "model.lightgbm.build.early_stopping_rounds=5",
            "model.lightgbm.build.learning_rate=0.5",
            "~model.lightgbm.space.learning_rate",
        ),
        "fitted state",
    ),
    "pruning": (leak_pruning, ("n_trials=6",), "pruning"),
    "hyperparameter choice": (leak_choice, ("n_trials=6", "pruner=none"), "choice"),
    "stacking": (leak_decision(Combiner, "fit"), ("ensemble.combiners=[linear_stack]",), "combiner"),
    "calibration": (
        leak_decision(Calibrator, "fit"),
        ("ensemble.combiners=[mean]", "ensemble.calibrators=[platt]"),
        "calibrator",
    ),
    "threshold": (leak_decision(ThresholdRule, "choose"), (), "threshold"),
}
ORDER = (
    "parameters",
    "pruning",
    "fitted state",
    "early stopping",
    "predictions",
    "value",
    "choice",
    "combiner",
    "calibrator",
    "figures of the ensemble's choice",
    "threshold",
)


@pytest.mark.parametrize("point", LEAKS)
def test_a_planted_leak_is_caught_where_it_is(point, tmp_path, monkeypatch):
    plant, settings, first = LEAKS[point]
    plant(monkeypatch)
    monkeypatch.setattr(Study, "_forget_beaten", lambda self, ticket: None)  # leaks look at beaten ones
    with pytest.raises(NotClean, match="other test records change ") as caught:
        run_counterfactual(tmp_path, *settings)
    found = kinds(caught.value.changed)
    assert found <= set(ORDER)
    assert min(found, key=ORDER.index) == first  # nothing that comes before it in the procedure
    assert ("early stopping" in found) == (point == "early stopping")
    arrays = changed_arrays(tmp_path)
    own = {"featurizer fit": "knots", "scaling": "centre", "imputation": "median"}
    assert {name for name in own.values() if any(name in array for array in arrays)} == (
        {own[point]} if point in own else set()
    )


def changed_arrays(folder) -> set[str]:
    """Arrays of the first fit's fitted featurizer that differ between the search and its counterfactual."""
    states = []
    for name in ("real", "scratch0"):
        search = wired(folder / name).search
        ledger = search.backend.ledger
        keys = [key for key in ledger.studies("study") if key.model == "logistic"]
        if not keys:
            return set()
        fit = ledger.tickets(keys[0])[0].fits[0]
        ledger.artifacts.get_folder(fit.model, folder / f"state of {name}")
        states.append(load_arrays(folder / f"state of {name}" / "featurizer.npz"))
    return {name for name, array in states[0].items() if not np.array_equal(array, states[1][name])}
