"""Trials and ensembles that answer too slowly are not chosen, and the budget stays exact."""

import csv
import json
from dataclasses import replace

import pytest

from ehrbench.app.search import searching
from ehrbench.core.errors import ConfigError, FitError
from ehrbench.core.progress import SILENT
from ehrbench.runtime.bundle import Bundle
from ehrbench.spine.latency import AnswerLimit, trial_ms
from tests.spine.composing import tiny_config, wired


def limited(folder, limit_ms, *overrides, refit="inner"):
    """A search of a linear model that takes 2 ms a fold, and of trees that take one for each ten of them."""

    def time_ms(model, records, n_models):
        assert records.labels is not None
        return n_models * (model.n_estimators / 10 if hasattr(model, "n_estimators") else 2.0)

    search = wired(folder, *overrides).search
    return replace(search, latency=AnswerLimit(limit_ms, refit == "inner", time_ms))


def rows(search, model):
    study = search.study(model, search.split.outer[0])
    return study, search.backend.ledger.tickets(study.key)


def test_slow_trials_are_spent_as_failed_with_their_time_and_are_never_chosen(tmp_path):
    search = limited(tmp_path, 8.0, "n_trials=6", "pruner=none")  # of two folds: forty trees
    search.spend(SILENT)
    study, tickets = rows(search, "lightgbm")
    slow = [row for row in tickets if row.params["n_estimators"] > 40]
    assert [row.state for row in tickets] == ["failed" if row in slow else "complete" for row in tickets]
    assert 0 < len(slow) < len(tickets) == 6
    for row in tickets:
        assert trial_ms(search.backend.ledger, study.key, row.number) == row.params["n_estimators"] / 5
    for row in slow:
        assert not row.fits
        assert row.error.startswith(
            f"answers in {row.params['n_estimators'] / 5:.3g} ms a record, and search."
        )
    assert study.best() not in slow


def test_of_an_ensemble_all_members_answer_in_time_together(tmp_path):
    search = limited(tmp_path, 8.5, "n_trials=6", "pruner=none")
    search.spend(SILENT)
    for decided in search.conclude(SILENT).every:
        took = {one.name: one.latency_ms for one in decided.chosen}
        members = [one.name for one in decided.combined]
        assert set(took) == {"logistic", "lightgbm"}
        assert sum(took[name] for name in members) <= 8.5
        assert len(members) == (2 if sum(took.values()) <= 8.5 else 1)


def test_where_no_trial_answers_in_time_the_model_and_its_time_are_named(tmp_path):
    search = limited(tmp_path, 1.0, "n_trials=2")
    search.spend(SILENT)
    with pytest.raises(
        FitError, match=r"logistic.*none of 2 trials.*answers in 4 ms.*latency_ms is 1 — raise"
    ):
        search.conclude(SILENT)


def test_sets_that_answer_in_time_are_as_large_as_they_can_be():
    limit = AnswerLimit(10.0, True, lambda model, records, n_models: 0.0)
    assert limit.affordable({"a": 4, "b": 5, "c": 6}) == [("a", "b"), ("a", "c")]
    assert limit.affordable({"a": 4, "b": 9}) == [("a",), ("b",)]
    assert limit.affordable({"a": 1, "b": 2}) == [("a", "b")]


def test_a_bundle_holds_the_ensemble_s_members_alone_and_the_page_shows_times(tmp_path, monkeypatch):
    few = ("n_trials=2", "protocol=smoke", "study_name=study", "search.latency_ms=5000", "pruner=none")
    affordable = AnswerLimit.affordable

    def one_alone(self, took_ms):
        assert all(0 < ms < 5000 for ms in took_ms.values())  # as the bundle's runners were timed
        return affordable(replace(self, limit_ms=1.01 * max(took_ms.values())), took_ms)

    monkeypatch.setattr(AnswerLimit, "affordable", one_alone)
    searching.search(tiny_config("beats", tmp_path, *few))
    run = tmp_path / "study"
    summary = json.loads((run / "summary.json").read_text())
    chosen = next(fold["chosen"] for fold in summary["folds"] if fold["name"] == "all")
    assert list(Bundle.load(run / "bundle").models) == chosen["ensemble"]["models"]
    assert len(chosen["ensemble"]["models"]) == 1
    assert set(chosen["models"]) == {"logistic", "lightgbm"}
    with (run / "trials.csv").open() as file:
        assert all(float(row["latency_ms"]) > 0 for row in csv.DictReader(file))
    assert (run / "report.html").read_text().count('id="latency"') == 1


def test_a_limit_that_cannot_be_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"search\.latency_ms: input should be greater than 0"):
        wired(tmp_path, "search.latency_ms=0")
