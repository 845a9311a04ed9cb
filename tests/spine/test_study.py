"""A study's budget is exact and its trials resume, whatever interrupts them."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest

from ehrbench.app.composed.checking import check
from ehrbench.app.search import searching
from ehrbench.app.wired.backend import open_ledger
from ehrbench.app.wired.wiring import Wired, wire
from ehrbench.core.errors import ConfigError, FitError, StudyMismatch
from ehrbench.core.progress import SILENT
from ehrbench.infra.database import Database
from ehrbench.infra.study import optuna_storage
from ehrbench.spine.search import Search
from tests.spine.composing import CONF, tiny_config
from tests.spine.sleeping import sleeping_study


class Wrapping:
    """A builder that says what the one inside says."""

    def settings(self):
        return self.inner.settings()

    def defaults(self):
        return self.inner.defaults()


class Disturbed(Wrapping):
    """A builder that counts fits and raises at chosen ones (numbers from 1)."""

    def __init__(self, inner, disturbances: dict[int, BaseException]) -> None:
        self.inner, self.name, self.disturbances, self.fits = inner, inner.name, disturbances, 0

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


def wired(folder, *overrides, metric="auroc", name="study") -> Wired:
    config = tiny_config("beats", folder, "models=[logistic]", "protocol.inner_folds=4", *overrides)
    config["metric"] = metric
    return wire(check(config), name, SILENT)


def disturb(search: Search, disturbances: dict[int, BaseException]) -> tuple[Search, Disturbed]:
    contender = search.contenders["logistic"]
    builder = Disturbed(contender.builder, disturbances)
    return replace(search, contenders={"logistic": replace(contender, builder=builder)}), builder


def values(search: Search) -> list[tuple[int, str, float | None]]:
    study = search.study("logistic", search.split.outer[0])
    return [(row.number, row.state, row.value) for row in search.backend.ledger.tickets(study.key)]


class Helped(Wrapping):
    """A builder whose trials get as much help as they can while their first fold is trained."""

    def __init__(self, inner, study) -> None:
        self.inner, self.name, self.study, self.n_helped = inner, inner.name, study, 0

    def __call__(self, params):
        model = self.inner(params)
        fit = model.fit

        def helped(*args, **kwargs):
            while self.study.help(SILENT):
                self.n_helped += 1
            return fit(*args, **kwargs)

        model.fit = helped
        return model


def test_help_changes_neither_values_nor_the_race_nor_what_is_tried_next(tmp_path):
    overrides = ("n_trials=12", "sampler.n_startup_trials=3", "pruner=race", "pruner.least_chance=0.49")
    helper, search = (wired(tmp_path / "helped", *overrides, metric="log_loss").search for _ in range(2))
    contender = search.contenders["logistic"]
    builder = Helped(contender.builder, helper.study("logistic", helper.split.outer[0]))
    search = replace(search, contenders={"logistic": replace(contender, builder=builder)})
    alone = wired(tmp_path / "alone", *overrides, metric="log_loss").search
    rows = []
    for one in (search, alone):
        study = one.study("logistic", one.split.outer[0])
        study.run(SILENT)
        rows.append(one.backend.ledger.tickets(study.key))
    helped, expected = rows
    assert builder.n_helped > 12
    pruned = [row.number for row in helped if row.state == "pruned"]
    assert pruned
    assert any(len(helped[i].fits) > len(helped[i].counted) for i in pruned)
    for row, other in zip(helped, expected, strict=True):
        assert (row.state, row.value, row.params) == (other.state, other.value, other.params)
        assert [(f.fold, f.score, f.predictions) for f in row.counted] == [
            (f.fold, f.score, f.predictions) for f in other.fits
        ]


def test_a_fit_that_fails_for_a_helper_is_reported_by_its_trials_own_worker(tmp_path):
    helper, _ = disturb(wired(tmp_path).search, dict.fromkeys(range(1, 99), FitError("loss is NaN")))
    search = wired(tmp_path).search
    contender = search.contenders["logistic"]
    builder = Helped(contender.builder, helper.study("logistic", helper.split.outer[0]))
    search = replace(search, contenders={"logistic": replace(contender, builder=builder)})
    search.study("logistic", search.split.outer[0]).run(SILENT)
    assert builder.n_helped > 0
    assert [state for _, state, _ in values(search)] == ["complete", "complete"]


def test_a_fold_trained_before_its_turn_fails_the_trial_in_its_turn_only(tmp_path, monkeypatch):
    search, builder = disturb(wired(tmp_path, "n_trials=1").search, {2: FitError("loss is NaN")})
    study, ledger = search.study("logistic", search.split.outer[0]), search.backend.ledger
    start, leases = ledger.start, []

    def helped(*args, **kwargs):
        started = start(*args, **kwargs)
        leases.append(ledger.claim_fit(study.key, 4, "helper"))
        return started

    monkeypatch.setattr(ledger, "start", helped)
    monkeypatch.setattr("ehrbench.spine.trial.time.sleep", lambda _: ledger.release(leases[0]))
    study.run(SILENT)
    assert leases[0].fold == 1
    assert builder.fits == 4 + 1  # 0, 2 in vain while the helper has 1, 1, 2, 3
    assert [state for _, state, _ in values(search)] == ["complete"]


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
    storage = optuna_storage(open_ledger(check(tiny_config("beats", tmp_path)))[0])
    shown = optuna.load_study(study_name=str(study.key), storage=storage).get_trials()
    trials = {trial.user_attrs["ticket"]: trial for trial in shown}
    assert len(shown) == len(trials) == len(rows) == 5
    for row in rows:
        trial = trials[row.number]
        assert trial.state.name == row.state.upper()
        assert dict(trial.params) == dict(row.params)
        assert trial.value == (row.value if row.state == "complete" else None)


def test_what_a_finished_trial_has_tried_is_not_trained_again(tmp_path):
    space = {"x": {"type": "categorical", "choices": [0.1, 0.2, 0.3]}}
    database = Database.sqlite(tmp_path / "ehrbench.db")
    study = sleeping_study(database, tmp_path, n_trials=8, seconds=0.0, space=space)
    study.run(SILENT)
    rows = study.setting.ledger.tickets(study.key)
    assert [row.state for row in rows] == ["complete"] * 8
    assert {row.params["x"] for row in rows[:3]} == {0.1, 0.2, 0.3}  # new ones first
    assert len((tmp_path / "log").read_text().splitlines()) == 3 * 2
    value = {row.params["x"]: row.value for row in rows[:3]}
    assert all(row.value == value[row.params["x"]] and len(row.fits) == 2 for row in rows)


def test_a_beaten_trials_models_go_at_once(tmp_path):
    """Not only at the search's end: with large networks the disk would be full by then."""
    search = wired(tmp_path, "n_trials=5", "pruner=none").search
    study = search.study("logistic", search.split.outer[0])
    study.run(SILENT)
    ledger = study.setting.ledger
    held = {
        row.number: {fit.model for fit in row.fits if ledger.artifacts.holds(fit.model)}
        for row in ledger.tickets(study.key)
    }
    best = study.best()
    assert held.pop(best.number) == {fit.model for fit in best.fits}
    assert len(held) == 4
    assert not any(held.values())


def test_own_settings_that_the_space_does_not_hold_are_named(tmp_path, capsys):
    contenders = wired(tmp_path, "model.logistic.build.C=5", "n_trials=1").search.contenders
    assert contenders["logistic"].outside() == {"C": 5}
    config = tiny_config("beats", tmp_path, "models=[logistic]", "model.logistic.build.C=5", "n_trials=1")
    searching.search(config)
    said = " ".join(capsys.readouterr().err.split())
    assert "logistic: its own C=5 is not in its space, so that the first trial draws another" in said


def test_what_another_search_has_chosen_is_not_forgotten(tmp_path):
    """The first trial of both searches is one and the same, and so are its models."""
    chosen, fitted = {}, {}
    for name, n_trials in (("short", 1), ("long", 3)):
        search = wired(tmp_path, f"n_trials={n_trials}", name=name).search
        search.spend(SILENT)
        search.forget_losers()
        ledger = search.backend.ledger
        studies = [search.study("logistic", fold) for fold in search.split.all_folds]
        chosen[name] = {fit.model for study in studies for fit in study.best().fits}
        rows = [row for study in studies for row in ledger.tickets(study.key)]
        fitted[name] = {fit.model for row in rows for fit in row.fits}
    held = {model for model in fitted["long"] | fitted["short"] if ledger.artifacts.holds(model)}
    assert chosen["short"] - chosen["long"]
    assert held == chosen["short"] | chosen["long"] < fitted["long"]


@pytest.mark.parametrize("sampler", sorted(path.stem for path in (CONF / "sampler").glob("*.yaml")))
def test_every_sampler_searches_and_goes_on_where_it_stopped(sampler, tmp_path):
    def params(folder, *runs):
        early = [] if sampler == "random" else ["sampler.n_startup_trials=2"]
        for n_trials in runs:
            study = wired(folder, f"sampler={sampler}", f"n_trials={n_trials}", *early)
            study = study.search.study("logistic", study.search.split.outer[0])
            study.run(SILENT)
        rows = study.setting.ledger.tickets(study.key)
        assert {(row.state, row.attempt) for row in rows} <= {("complete", 1), ("pruned", 1)}
        return [(row.params, row.value) for row in rows]

    assert params(tmp_path / "once", 7) == params(tmp_path / "twice", 4, 7)


def test_the_first_trials_try_the_model_s_own_settings_and_the_portfolio(tmp_path):
    good = "{C: 0.5, class_weight_power: 0.0}"
    given = f"++model.logistic.portfolio=[{good}, {{C: 1000.0}}, {good}]"
    first = {}
    for portfolio in ("true", "false"):
        wanted = (given, f"search.portfolio={portfolio}", "n_trials=5", "pruner=none")
        search = wired(tmp_path / portfolio, *wanted).search
        search.spend(SILENT)
        study = search.study("logistic", search.split.outer[0])
        tickets = search.backend.ledger.tickets(study.key)
        assert [row.state for row in tickets] == ["complete"] * 5
        first[portfolio] = [row.params["C"] for row in tickets]
    own = search.contenders["logistic"].builder.defaults()["C"]
    assert first["true"][:2] == [own, 0.5]
    assert first["true"][0] == first["false"][0]
    assert len(set(first["true"])) == len(set(first["false"])) == 5  # out of the space, or tried: sampled
    again = wired(tmp_path / "true", given, "search.portfolio=false", "n_trials=5", "pruner=none").search
    with pytest.raises(StudyMismatch, match="portfolio"):
        again.spend(SILENT)


def test_a_portfolio_of_settings_that_are_none_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"model\.logistic\.portfolio\.0\.depth: the model has no such setting"
    ):
        wired(tmp_path, "++model.logistic.portfolio=[{depth: 3}]")
    with pytest.raises(ConfigError, match=r"model\.logistic\.portfolio: \{'C': 0\.5\} is not a list"):
        wired(tmp_path, "++model.logistic.portfolio={C: 0.5}")
