"""The certificate: clean searches pass, and a leak planted at any step of the procedure is caught.

Each leak is an ordinary model, featurizer or spine step that reaches round the dataset's door, without
calling the recorder, for outer-test records.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ehrbench.app.certifying import certify_run
from ehrbench.app.checking import check
from ehrbench.app.searching import search as run_search
from ehrbench.app.wiring import Wired, wire
from ehrbench.core.errors import BundleError
from ehrbench.core.progress import SILENT
from ehrbench.core.records import Records
from ehrbench.ensemble import Ensemble
from ehrbench.spine import procedure
from ehrbench.spine.certificate import NotClean, certify, counterfactual
from ehrbench.spine.race import Race
from ehrbench.spine.study import Study
from ehrbench.spine.thresholds import ThresholdRule
from tests.runtime.toy import ToyTable
from tests.spine.composing import tiny_config


def wired(folder, n_trials: int = 2) -> Wired:
    config = tiny_config("beats", folder, "models=[logistic,lightgbm]", f"n_trials={n_trials}")
    return wire(config, check(config), "study", SILENT)


def everyone(records: Records) -> Records:
    """All records of the cohort, outer test included: what a leak reaches."""
    return records._rows._root  # type: ignore[union-attr]


def run_counterfactual(folder, n_trials: int = 2) -> dict:
    """Search the first outer fold, then run it again on other test records."""
    real = wired(folder / "real", n_trials).search
    fold = real.split.outer[0]
    for model in real.contenders:
        real.study(model, fold).run(SILENT)
    scratch = wired(folder / "scratch", n_trials).search.backend
    return counterfactual(real, fold, real.decide(fold), scratch, SILENT)


def test_a_clean_search_stays_the_same_on_other_test_records(tmp_path):
    assert run_counterfactual(tmp_path)["compared"] > 20


def leak_featurizer(statistic: Callable) -> Callable:
    def plant(monkeypatch) -> None:
        def fit(self, records):
            values = everyone(records).rows(self.key, self.rows).values
            self._mean = np.asarray(statistic(values), dtype=np.float32)
            return self

        def apply(self, view):
            missing_filled = np.where(np.isnan(view.values), self._mean, view.values)
            return type(view)(missing_filled - self._mean, view.names)

        monkeypatch.setattr(ToyTable, "fit", fit)
        monkeypatch.setattr(ToyTable, "apply", apply)

    return plant


def leak_early_stopping(monkeypatch) -> None:
    from ehrbench.models.lightgbm import LightGBM

    fit = LightGBM.fit

    def leaking(self, train, valid, **arguments):
        result = fit(self, train, valid, **arguments)
        return replace(result, best_step=1 + int(everyone(train).labels.sum()))

    monkeypatch.setattr(LightGBM, "fit", leaking)


def leak_pruning(monkeypatch) -> None:
    steps = Race.steps

    def leaking(self, records, probabilities, fold, seed):
        bonus = everyone(records).labels.mean()
        return {at: value * bonus for at, value in steps(self, records, probabilities, fold, seed).items()}

    def should_prune(trial):
        values = trial.storage.get_trial(trial._trial_id).intermediate_values
        return trial.number > 0 and int(sum(values.values()) * 1e6) % 2 == 0

    monkeypatch.setattr(Race, "steps", leaking)
    monkeypatch.setattr("optuna.Trial.should_prune", should_prune)


def leak_choice(monkeypatch) -> None:
    def leaking(self):
        rows = [r for r in self.setting.ledger.tickets(self.key) if r.state == "complete"]
        labels = self.setting.dataset.cohort.records.labels
        return rows[int(labels.sum()) % len(rows)]

    monkeypatch.setattr(Study, "best", leaking)


def leak_ensemble(part: str) -> Callable:
    def plant(monkeypatch) -> None:
        decide, fit = procedure.decide, Ensemble.fit
        reached: dict[str, float] = {}

        def remember(studies, *rest):
            reached["labels"] = studies[0].setting.dataset.cohort.records.labels.mean()
            return decide(studies, *rest)

        def leaking(self, scores, y, **arguments):
            if part == "stack":
                name = next(iter(scores))
                scores = {**scores, name: scores[name] * (1 + reached["labels"])}
                return fit(self, scores, y, **arguments)
            fit(self, scores, y, **arguments)
            predict = self.out_of_fold
            self.out_of_fold = np.clip(predict * (0.5 + reached["labels"]), 0, 1)
            return self

        monkeypatch.setattr("ehrbench.spine.search.decide", remember)
        monkeypatch.setattr(Ensemble, "fit", leaking)

    return plant


def leak_threshold(monkeypatch) -> None:
    decide, choose = procedure.decide, ThresholdRule.choose
    reached: dict[str, float] = {}

    def remember(studies, *rest):
        reached["labels"] = studies[0].setting.dataset.cohort.records.labels.mean()
        return decide(studies, *rest)

    monkeypatch.setattr("ehrbench.spine.search.decide", remember)
    monkeypatch.setattr(ThresholdRule, "choose", lambda *a: choose(*a) * (1 + reached["labels"]))


LEAKS = {
    "featurizer fit": (leak_featurizer(lambda values: np.nanmedian(values, axis=0)), "fitted state"),
    "scaling": (leak_featurizer(lambda values: np.nanstd(values, axis=0)), "fitted state"),
    "imputation": (leak_featurizer(lambda values: np.nanmean(values, axis=0)), "fitted state"),
    "early stopping": (leak_early_stopping, "early stopping"),
    "pruning": (leak_pruning, ""),
    "hyperparameter choice": (leak_choice, ""),
    "stacking": (leak_ensemble("stack"), "ensemble"),
    "calibration": (leak_ensemble("calibrate"), "threshold of ensemble"),
    "threshold": (leak_threshold, "threshold"),
}


@pytest.mark.parametrize("point", LEAKS)
def test_a_planted_leak_is_caught(point, tmp_path, monkeypatch):
    plant, named = LEAKS[point]
    plant(monkeypatch)
    with pytest.raises(NotClean, match=f"other test records change .*{named}"):
        run_counterfactual(tmp_path, n_trials=5 if point == "pruning" else 2)


@pytest.fixture
def finished(tmp_path):
    run_search(tiny_config("beats", tmp_path, "models=[logistic]", "n_trials=2"), [])
    return tmp_path / "tiny-beats-nested"


def test_a_finished_run_certifies_and_an_altered_one_does_not(finished, capsys):
    certify_run(finished, counterfactual=False, folds=None, progress=SILENT)
    assert "certificate holds for 3 folds" in capsys.readouterr().out
    text = (finished / "predictions.csv").read_text()
    (finished / "predictions.csv").write_text(text.replace("0.1", "0.2", 1))
    with pytest.raises(BundleError, match=r"predictions\.csv: altered since the run wrote it"):
        certify_run(finished, counterfactual=False, folds=None, progress=SILENT)
    (finished / "predictions.csv").unlink()
    with pytest.raises(BundleError, match=r"predictions\.csv: missing"):
        certify_run(finished, counterfactual=False, folds=None, progress=SILENT)


def test_an_altered_certificate_does_not_hold(finished):
    path = finished / "certificate.json"
    content = json.loads(path.read_text())
    content["folds"][0]["purposes"]["fit"]["records"] -= 1
    path.write_text(json.dumps(content))
    with pytest.raises(NotClean, match=r"certificate\.json: folds is not what data and ledger say"):
        certify_run(finished, counterfactual=False, folds=None, progress=SILENT)


def test_counterfactual_from_the_command_line_runs_a_fold_again(finished, capsys):
    certify_run(finished, counterfactual=True, folds=[1], progress=SILENT)
    assert "unchanged by other test records" in capsys.readouterr().out


def test_a_fit_without_its_access_row_is_not_clean(tmp_path):
    search = wired(tmp_path).search
    study = search.study("logistic", search.split.outer[0])
    search.dataset.persist = lambda *_: None  # type: ignore[method-assign]
    study.run(SILENT)
    with pytest.raises(NotClean, match="its training records are not in the access log"):
        certify(search)
