"""A study's budget is exact and its trials resume, whatever interrupts them."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest

from ehrbench.app.checking import check
from ehrbench.app.wiring import Wired, wire
from ehrbench.core.errors import FitError
from ehrbench.core.progress import SILENT
from ehrbench.spine.search import Search
from tests.spine.composing import tiny_config


class Disturbed:
    """A builder that counts fits and raises at chosen ones (numbers from 1)."""

    def __init__(self, inner, disturbances: dict[int, BaseException]) -> None:
        self.inner, self.name, self.disturbances, self.fits = inner, inner.name, disturbances, 0

    def settings(self):
        return self.inner.settings()

    def defaults(self):
        return self.inner.defaults()

    def __call__(self, params):
        model = self.inner(params)
        fit = model.fit

        def counted(*args, **kwargs):
            self.fits += 1
            if self.fits in self.disturbances:
                raise self.disturbances[self.fits]
            return fit(*args, **kwargs)

        model.fit = counted
        return model


def wired(folder, *overrides) -> Wired:
    config = tiny_config("beats", folder, "models=[logistic]", "protocol.inner_folds=4", *overrides)
    return wire(config, check(config), "study", SILENT)


def disturb(search: Search, disturbances: dict[int, BaseException]) -> tuple[Search, Disturbed]:
    contender = search.contenders["logistic"]
    builder = Disturbed(contender.builder, disturbances)
    return replace(search, contenders={"logistic": replace(contender, builder=builder)}), builder


def values(search: Search) -> list[tuple[int, str, float | None]]:
    study = search.study("logistic", search.split.outer[0])
    return [(row.number, row.state, row.value) for row in search.backend.ledger.tickets(study.key)]


def test_ctrl_c_in_a_trial_loses_no_finished_fit_and_changes_no_bit(tmp_path):
    search, builder = disturb(wired(tmp_path / "a").search, {7: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        search.study("logistic", search.split.outer[0]).run(SILENT)
    assert builder.fits == 7  # four of the first trial, two of the second, and the one interrupted
    again, rest = disturb(wired(tmp_path / "a").search, {})
    again.study("logistic", again.split.outer[0]).run(SILENT)
    assert rest.fits == 2  # the interrupted fold and the one after it
    undisturbed = wired(tmp_path / "b").search
    undisturbed.study("logistic", undisturbed.split.outer[0]).run(SILENT)
    assert values(again) == values(undisturbed)


def test_a_fault_of_the_machine_is_tried_again(tmp_path):
    search, builder = disturb(wired(tmp_path).search, {2: RuntimeError("bus error")})
    study = search.study("logistic", search.split.outer[0])
    study.run(SILENT)
    assert [state for _, state, _ in values(search)] == ["complete", "complete"]
    assert builder.fits == 2 * 4 + 1


def test_a_fit_that_cannot_work_is_spent_as_failed_and_reported(tmp_path):
    search, builder = disturb(wired(tmp_path).search, {1: FitError("loss is NaN in epoch 3")})
    study = search.study("logistic", search.split.outer[0])
    study.run(SILENT)
    assert [state for _, state, _ in values(search)] == ["failed", "complete"]
    assert builder.fits == 1 + 4
    assert search.backend.ledger.tickets(study.key)[0].error == "loss is NaN in epoch 3"


def test_a_study_without_a_complete_trial_says_why(tmp_path):
    faults = {n: FitError("labels have one class") for n in range(1, 99)}
    search, _ = disturb(wired(tmp_path).search, faults)
    study = search.study("logistic", search.split.outer[0])
    study.run(SILENT)
    with pytest.raises(
        FitError, match="none of 2 trials completed; the last error was: labels have one class"
    ):
        study.best()


def test_the_first_trial_is_the_models_own_settings(tmp_path):
    search = wired(tmp_path, "model.logistic.build.C=0.125", "n_trials=1").search
    study = search.study("logistic", search.split.outer[0])
    study.run(SILENT)
    params = search.backend.ledger.tickets(study.key)[0].params
    assert params == {"C": 0.125, "class_weight_power": 0.0}


def test_optuna_agrees_with_the_ledger_at_the_end(tmp_path):
    search = wired(tmp_path, "n_trials=5").search
    study = search.study("logistic", search.split.outer[0])
    study.run(SILENT)
    rows = search.backend.ledger.tickets(study.key)
    trials = {t.number: t for t in study.opened.optuna_study.get_trials()}
    assert len(trials) == len(rows) == 5
    for row in rows:
        trial = trials[row.trial_number]
        assert (
            trial.state
            is {
                "complete": optuna.trial.TrialState.COMPLETE,
                "pruned": optuna.trial.TrialState.PRUNED,
            }[row.state]
        )
        assert dict(trial.params) == dict(row.params)
        assert trial.user_attrs["ticket"] == row.number
        if row.state == "complete":
            assert trial.value == row.value
