"""The ensemble: better than its members, honest about itself, at home in JSON, and hard to break."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from ehrbench import metrics
from ehrbench.core.errors import BundleError, ConfigError, FitError
from ehrbench.ensemble import CALIBRATORS, COMBINERS, Ensemble
from ehrbench.ensemble._base import unit_loss
from ehrbench.ensemble._choice import compare
from ehrbench.ensemble._crossfit import cross_fit
from ehrbench.ensemble.linear_stack import LinearStack
from ehrbench.ensemble.platt import Platt
from tests.ensemble.simulated import BINARY, TARGETS, members

every_target = pytest.mark.parametrize("kind", TARGETS)


@every_target
def test_it_beats_its_best_member_on_fresh_units(kind):
    target = TARGETS[kind]
    scores, y, fold = members(target, n=3000)
    ensemble = Ensemble().fit(scores, y, target=target, fold=fold, seed=0)
    fresh, truth, _ = members(target, n=20_000, seed=1)
    p = ensemble.predict(fresh)
    for name in ("auroc", "auprc", "log_loss", "brier"):
        metric = metrics.load(name)
        best = max(metric.gain(metric(truth, target.probabilities(z), target=target)) for z in fresh.values())
        assert metric.gain(metric(truth, p, target=target)) > best, name


@every_target
def test_json_gives_back_the_same_predictions_to_the_last_bit(kind):
    target = TARGETS[kind]
    scores, y, fold = members(target, n=400)
    ensemble = Ensemble().fit(scores, y, target=target, fold=fold, seed=0)
    again = Ensemble.from_json(ensemble.to_json())
    assert np.array_equal(again.predict(scores), ensemble.predict(scores))
    assert again.to_json() == ensemble.to_json()
    assert again.choices() == ensemble.choices()


def test_one_member_is_only_calibrated():
    scores, y, fold = members()
    one = {"lstm": scores["lstm"]}
    ensemble = Ensemble().fit(one, y, target=BINARY, fold=fold, seed=0)
    assert ensemble.combiner.name == "mean"
    assert ensemble.calibrator.name != "identity"  # it is off by a shift
    auroc = metrics.load("auroc")
    raw = auroc(y, BINARY.probabilities(scores["lstm"]), target=BINARY)
    assert auroc(y, ensemble.predict(one), target=BINARY) == pytest.approx(raw, abs=1e-12)


def test_useless_and_constant_members_do_no_harm():
    scores, y, fold = members(n=3000)
    scores["constant"] = np.full_like(y, -16.0)
    scores["useless"] = np.random.default_rng(9).normal(size=y.shape) * 4
    ensemble = Ensemble().fit(scores, y, target=BINARY, fold=fold, seed=0)
    auroc = metrics.load("auroc")
    best = max(auroc(y, BINARY.probabilities(z), target=BINARY) for z in scores.values())
    assert auroc(y, ensemble.out_of_fold, target=BINARY) > best


def test_one_fold_learns_nothing_and_says_so():
    scores, y, _ = members(n=300)
    ensemble = Ensemble().fit(scores, y, target=BINARY, fold=np.zeros(300, dtype=int))
    assert (ensemble.combiner.name, ensemble.calibrator.name) == ("mean", "identity")
    assert "one inner fold" in ensemble.choices()["reason"]
    assert np.array_equal(ensemble.out_of_fold, ensemble.predict(scores))


def test_two_folds_and_few_units_work():
    scores, y, _ = members(n=30)
    ensemble = Ensemble().fit(scores, y, target=BINARY, fold=np.arange(30) % 2)
    assert np.isfinite(ensemble.out_of_fold).all()


def test_an_out_of_fold_prediction_does_not_move_with_its_own_fold_s_labels():
    scores, y, fold = members(n=600)
    changed = y.copy()
    changed[fold == 2] = 1 - changed[fold == 2]

    def held(labels):
        fit = cross_fit(LinearStack, scores, labels, target=BINARY, fold=fold, seed=0)
        return fit.calibrated(Platt)

    before, after = held(y), held(changed)
    assert np.array_equal(before[fold == 2], after[fold == 2])
    assert not np.array_equal(before[fold != 2], after[fold != 2])


def test_out_of_fold_loss_is_no_better_than_on_fresh_units():
    gaps = []
    for seed in range(6):
        scores, y, fold = members(n=300, seed=seed)
        ensemble = Ensemble().fit(scores, y, target=BINARY, fold=fold, seed=0)
        fresh, truth, _ = members(n=4000, seed=100 + seed)
        inner = np.mean(unit_loss(y, ensemble.out_of_fold, BINARY))
        gaps.append(np.mean(unit_loss(truth, ensemble.predict(fresh), BINARY)) - inner)
    assert abs(np.mean(gaps)) < 2.5 * np.std(gaps) / np.sqrt(len(gaps)) + 0.005


@pytest.mark.parametrize("kind", TARGETS)
def test_each_combiner_is_judged_after_the_calibrator_it_does_best_with(kind):
    """Identity among them: before, Platt stood for all, which spoils what is calibrated already."""
    target, chosen = TARGETS[kind], set()
    for seed in range(4):
        scores, y, fold = members(target, n=150, seed=seed)
        ensemble = Ensemble().fit(scores, y, target=target, fold=fold, seed=0)
        said = ensemble.choices()["combiners"]
        for name, combiner in COMBINERS.items():
            fit = cross_fit(combiner, scores, y, target=target, fold=fold, seed=0)
            losses = {c: unit_loss(y, fit.calibrated(new), target).mean() for c, new in CALIBRATORS.items()}
            assert said[name]["log_loss"] == pytest.approx(min(losses.values()), rel=1e-12)
            assert losses[said[name]["calibrator"]] == min(losses.values())
            chosen.add(said[name]["calibrator"])
        assert ensemble.combiner.name == min(said, key=lambda name: said[name]["log_loss"])
    assert chosen - {"platt"}


def test_the_simplest_candidate_within_noise_is_taken():
    rng = np.random.default_rng(0)
    base = rng.random(1000)
    alike, alone = np.stack([base, base + 0.01 * rng.normal(size=1000) - 1e-4]), np.arange(1000)
    assert compare(alike, alone).simplest == 0
    assert compare(alike, alone).lowest == 1
    better = np.stack([base, base - 0.01])
    assert compare(better, alone).simplest == compare(better, alone).lowest == 1
    unknown = np.where(np.arange(1000) < 10, np.nan, better)
    assert compare(unknown, alone).simplest == 1


def test_what_cannot_be_combined_is_refused_by_name():
    scores, y, fold = members(n=60)
    fit = Ensemble().fit
    with pytest.raises(FitError, match="no member"):
        fit({}, y, target=BINARY, fold=fold)
    spoilt = scores["lstm"].copy()
    spoilt[3] = np.nan
    with pytest.raises(FitError, match="1 of 60 scores of lstm are not finite"):
        fit(scores | {"lstm": spoilt}, y, target=BINARY, fold=fold)
    with pytest.raises(FitError, match="scores of ssm are"):
        fit(scores | {"ssm": scores["ssm"][:-1]}, y, target=BINARY, fold=fold)
    with pytest.raises(FitError, match="no unit has a known label"):
        fit(scores, np.full_like(y, np.nan), target=BINARY, fold=fold)
    with pytest.raises(ConfigError, match=r"ensemble.combiners: there is no 'median' — choose from mean"):
        Ensemble(combiners=["median"])
    with pytest.raises(ConfigError, match=r"ensemble\.calibrators"):
        Ensemble(calibrators=[])


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"combiner": {"name": "pickle", "state": {}}}, {"target": None}]
)
def test_a_spoilt_file_is_refused(change):
    scores, y, fold = members(n=60)
    state = json.loads(Ensemble().fit(scores, y, target=BINARY, fold=fold).to_json())
    with pytest.raises(BundleError, match=r"ensemble\.json"):
        Ensemble.from_json(json.dumps(state | change))
    with pytest.raises(BundleError, match=r"ensemble\.json"):
        Ensemble.from_json("{")


def test_serving_needs_neither_scikit_learn_nor_torch():
    code = (
        "import sys, ehrbench.ensemble as e; "
        "print([m for m in ('sklearn', 'torch', 'lightgbm', 'pandas') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
