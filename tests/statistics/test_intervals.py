"""Intervals: right against known answers, repeatable, covering, and honest where they cannot be had."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr

from ehrbench import metrics
from ehrbench.core.target import Target
from ehrbench.statistics.evaluation import evaluate
from ehrbench.statistics.fold_data import FoldData
from ehrbench.statistics.intervals import (
    bca,
    group_bootstrap,
    group_bootstraps,
    interval_of,
    logit_t,
    resampled_t,
)
from ehrbench.statistics.placements import few_variance, mean_placed, placed
from ehrbench.statistics.resampling import Resampled, resample
from tests.statistics.judging import BINARY, folds


def bootstrap(data, name, **arguments):
    return group_bootstrap(data, metrics.load(name), BINARY, **({"seed": 1, "n_replicates": 800} | arguments))


def test_equal_seeds_give_equal_bits_and_others_do_not():
    data = folds()
    assert bootstrap(data, "auroc") == bootstrap(data, "auroc")
    assert bootstrap(data, "auroc") != bootstrap(data, "auroc", seed=2)


def test_several_metrics_at_once_are_the_same_as_one_by_one():
    data = folds()
    names = ("auroc", "auprc", "event1", "brier", "calibration_slope")
    together = group_bootstraps(data, [metrics.load(n) for n in names], BINARY, seed=1, n_replicates=800)
    assert together == {n: bootstrap(data, n) for n in names}


def test_bca_agrees_with_scipy_on_a_single_fold():
    (fold,) = folds(k=1)
    loss = (fold.p - fold.y)[:, 0] ** 2
    ours = bootstrap([fold], "brier", n_replicates=8000)
    scipy = stats.bootstrap((loss,), np.mean, n_resamples=8000, method="BCa", rng=np.random.default_rng(0))
    width = scipy.confidence_interval.high - scipy.confidence_interval.low
    assert ours.method == "bca"
    assert ours.low == pytest.approx(scipy.confidence_interval.low, abs=0.06 * width)
    assert ours.high == pytest.approx(scipy.confidence_interval.high, abs=0.06 * width)


def test_acceleration_of_a_mean_is_its_skewness_over_six_root_n():
    (fold,) = folds(n=400, k=1)
    resampled = resample([fold], [metrics.load("brier")], BINARY, seed=0, n_replicates=200)["brier"]
    loss = (fold.p - fold.y)[:, 0] ** 2
    assert bca(resampled)[1] == pytest.approx(stats.skew(loss) / (6 * np.sqrt(400)), rel=0.01)


def test_blocks_of_groups_give_about_the_same_acceleration():
    (fold,) = folds(n=4000, k=1)
    brier = [metrics.load("brier")]
    fine = bca(resample([fold], brier, BINARY, seed=0, n_replicates=300)["brier"])[1]
    loss = (fold.p - fold.y)[:, 0] ** 2
    assert fine == pytest.approx(stats.skew(loss) / (6 * np.sqrt(4000)), abs=0.004)
    assert len(resample([fold], brier, BINARY, seed=0, n_replicates=2)["brier"].jackknife[0]) == 1000


def test_folds_are_averaged_and_not_pooled():
    apart = folds(n=300, k=2)
    auroc = metrics.load("auroc")
    mean = np.mean([auroc(f.y, f.p, target=BINARY) for f in apart])
    got = resample(apart, [auroc], BINARY, seed=0, n_replicates=400)["auroc"]
    assert got.value == pytest.approx(mean)
    shifted = [apart[0], FoldData(apart[1].y, apart[1].p / 50, apart[1].group)]  # pooled ranks would suffer
    again = resample(shifted, [auroc], BINARY, seed=0, n_replicates=400)["auroc"]
    np.testing.assert_allclose(again.replicates, got.replicates)


def test_units_of_a_group_are_resampled_together():
    data = folds(n=1500, k=2, units_a_group=5)
    alone = [FoldData(f.y, f.p, np.arange(len(f.y)), f.threshold) for f in data]
    for f in data:
        f.y[:] = np.repeat(f.y[::5], 5, axis=0)  # one outcome a patient, five predictions of it
        f.p[:] = np.repeat(f.p[::5], 5, axis=0)
    together, apart = bootstrap(data, "brier"), bootstrap(alone, "brier")
    ratio = (together.high - together.low) / (apart.high - apart.low)
    assert ratio == pytest.approx(np.sqrt(5), rel=0.12)


def test_patients_who_are_tested_in_several_folds_bring_no_certainty():
    (fold,) = folds(n=800, k=1)
    again = FoldData(fold.y, fold.p, fold.group + 10_000)
    for name in ("auroc", "brier"):
        metric, spread = metrics.load(name), {}
        for how, data in {"once": [fold], "twice": [fold, fold], "others": [fold, again]}.items():
            found = resample(data, [metric], BINARY, seed=0, n_replicates=400)[name]
            spread[how] = found.replicates.std()
            assert len(found.jackknife) == (2 if how == "others" else 1)
        assert spread["twice"] == pytest.approx(spread["once"], rel=0.1)
        assert spread["others"] == pytest.approx(spread["once"] / np.sqrt(2), rel=0.15)


def test_the_spread_of_auroc_is_delong_s():
    (fold,) = folds(n=1500, k=1)
    resampled = resample([fold], [metrics.load("auroc")], BINARY, seed=0, n_replicates=3000)["auroc"]
    _, covariance = mean_placed([placed(fold.y, fold.p[None], fold.group)])
    assert resampled.replicates.std() == pytest.approx(np.sqrt(covariance[0, 0]), rel=0.05)


def test_intervals_cover():
    """At small size: three standard errors of 200 draws of 95 %; ``docs/statistics.md`` has the large one."""
    names, n = ("auroc", "auprc", "brier"), 700
    chosen = [metrics.load(name) for name in names]
    samples = [folds(n=n, k=1, seed=5000 + s)[0] for s in range(300)]
    truth = {  # the expectation at this size: average precision differs a little from its limit
        m.name: np.mean([m(f.y, f.p, target=BINARY) for f in samples]) for m in chosen
    }
    inside = dict.fromkeys(names, 0)
    for seed in range(200):
        intervals = group_bootstraps(folds(n=n, k=1, seed=seed), chosen, BINARY, seed=seed, n_replicates=400)
        for name, interval in intervals.items():
            inside[name] += interval.low <= truth[name] <= interval.high
    for name, count in inside.items():
        assert count / 200 >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 200), name


@pytest.mark.parametrize(("area", "spread"), [(0.7, 1.0), (0.85, 1.0), (0.85, 2.0), (0.95, 1.0)])
def test_auroc_of_seven_positives_is_covered(area, spread):
    """Normal scores, those of positives as wide or twice as wide; the bootstrap held it in 75 to 90 %."""
    rng = np.random.default_rng(0)
    d = stats.norm.ppf(area) * np.sqrt(1 + spread**2)
    y, inside, tried = np.r_[np.ones(7), np.zeros(53)][:, None], 0, 0
    for _ in range(300):
        score = np.r_[rng.normal(d, spread, 7), rng.normal(size=53)][:, None]
        fold = FoldData(y, ndtr(score), np.arange(60))
        if 0 < (value := fold.value(metrics.load("auroc"), BINARY)) < 1:
            low, high = logit_t(value, few_variance([fold], BINARY), 6)
            inside, tried = inside + (low <= area <= high), tried + 1
    assert tried > 280  # the others part positives from negatives, and have no interval
    assert inside / tried >= 0.93


@pytest.mark.parametrize("n_folds", [1, 3])
@pytest.mark.parametrize(("apart", "spread"), [(1.2, 1.0), (2.2, 1.0)])
def test_auprc_of_few_positives_is_covered(n_folds, apart, spread):
    """Seven positives of 63 a fold, normal scores; the bootstrap's interval held it in 91 to 92 %."""
    auprc, y = metrics.load("auprc"), np.r_[np.ones(7), np.zeros(56)][:, None]

    def cohort(seed):
        rng = np.random.default_rng(seed)
        drawn = [np.r_[rng.normal(apart, spread, 7), rng.normal(size=56)] for _ in range(n_folds)]
        return [FoldData(y, ndtr(s)[:, None], np.arange(63) + 100 * k) for k, s in enumerate(drawn)]

    truth = np.mean([np.mean([f.value(auprc, BINARY) for f in cohort(10_000 + s)]) for s in range(2000)])
    found = [bootstrap(cohort(s), "auprc", n_replicates=300) for s in range(200)]
    had = [interval for interval in found if interval.low is not None]
    assert {interval.method for interval in had} == {"logit_t"}
    assert len(had) >= 190
    assert np.mean([interval.low <= truth <= interval.high for interval in had]) >= 0.935


def test_auroc_and_auprc_of_few_positives_have_an_interval_of_their_own_and_say_so():
    (fold,) = folds(n=40, k=1, seed=3)
    assert 5 <= fold.y.sum() < 20
    for name, few in (("auroc", 30), ("auprc", 40)):
        interval = bootstrap([fold], name)
        assert interval.method == "logit_t"
        assert 0 < interval.low < interval.high < 1
        assert f"fewer than {few} groups" in interval.reason
    assert bootstrap([fold], "brier").method == "bca"
    assert bootstrap(folds(n=600, k=1), "auroc").method == "bca"  # of hundreds nothing moves


def test_statistics_that_resampling_pushes_to_one_side_get_a_centred_interval():
    rng = np.random.default_rng(0)
    p = rng.random((500, 1))
    y = (rng.random((500, 1)) < p).astype(float)  # calibrated, so ECE is all noise
    interval = bootstrap([FoldData(y, p, np.arange(500))], "ece")
    value = metrics.load("ece")(y, p, target=BINARY)
    assert interval.method == "centred_percentile"
    assert interval.low < value < interval.high


def test_a_value_beyond_all_its_resamples_is_inside_its_interval():
    values = np.random.default_rng(0).uniform(20, 40, 500)
    for value, replicates in ((12.0, values), (-12.0, -values), (-50.0, values)):
        found = interval_of(Resampled(value, replicates, (), ()))
        assert found.method == "centred_percentile"
        assert found.low < value < found.high


def test_what_cannot_be_had_says_why():
    p = np.linspace(0.1, 0.9, 20)[:, None]
    one_class = FoldData(np.zeros((20, 1)), p, np.arange(20))
    assert "all 20 units are negative" in bootstrap([one_class], "auroc").reason
    y = np.zeros((20, 1))
    y[11] = 1
    rare = bootstrap([FoldData(y, p, np.arange(20))], "auroc")
    assert rare.low is None
    assert "undefined in" in rare.reason
    assert "one group" in bootstrap([FoldData(y, p, np.zeros(20))], "brier").reason
    perfect = FoldData((p > 0.5).astype(float), p, np.arange(20))
    assert "the same in all" in bootstrap([perfect], "auroc").reason
    spoilt = FoldData(y, p * np.nan, np.arange(20))
    assert "not finite" in bootstrap([spoilt], "brier").reason
    assert "threshold" in bootstrap([perfect], "f1").reason
    json.dumps(rare.to_dict(), allow_nan=False)


def rare_folds(seed=0, n=200, prevalences=(0.012, 0.015, 0.02, 0.05, 0.1, 0.2)):
    """Five folds of several classes, each with two positives or more of the rarest."""
    rng, out = np.random.default_rng(seed), []
    for k in range(5):
        y = np.zeros((n, len(prevalences)))
        while (y.sum(axis=0) < 2).any():
            y = (rng.random(y.shape) < prevalences).astype(float)
        z = rng.normal(size=y.shape) + y * np.linspace(0.6, 1.6, len(prevalences))
        out.append(FoldData(y, 1 / (1 + np.exp(-z)), np.arange(n) + n * k))
    return out


def test_a_rare_class_that_a_resample_lacks_costs_no_interval():
    target = Target("multilabel", tuple("abcdef"))
    data = rare_folds()
    auroc = metrics.load("auroc")
    found = resample(data, [auroc], target, seed=0, n_replicates=300)["auroc"]
    assert np.isfinite(found.replicates).all()
    interval = group_bootstrap(data, auroc, target, seed=0, n_replicates=300)
    assert interval.low < found.value < interval.high
    alone = group_bootstrap([FoldData(f.y[:, :1], f.p[:, :1], f.group) for f in data], auroc, BINARY, seed=0)
    assert "undefined in" in alone.reason  # of the rarest by itself too little is known


def test_classes_that_are_not_scored_move_nothing():
    target = Target("multilabel", tuple("abcdef"))
    chosen = [metrics.load(name) for name in ("auroc", "auprc", "brier", "log_loss", "ece")]
    data = rare_folds()
    few = [FoldData(f.y[:, 3:], f.p[:, 3:], f.group) for f in data]
    scored = group_bootstraps(data, chosen, target.without([0, 1, 2]), seed=0, n_replicates=200)
    apart = group_bootstraps(few, chosen, Target("multilabel", tuple("def")), seed=0, n_replicates=200)
    for name, interval in apart.items():
        assert (scored[name].low, scored[name].high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_percentile_stands_in_where_the_jackknife_has_no_value():
    y = np.zeros((300, 1))
    y[:8] = 1
    group = np.r_[np.zeros(8, dtype=int), np.arange(1, 293)]
    p = np.random.default_rng(0).random((300, 1))
    # all positives are one patient's: a third of the resamples are without them
    assert "undefined in" in bootstrap([FoldData(y, p, group)], "auroc").reason
    values = np.random.default_rng(0).normal(size=500)
    fallback = interval_of(Resampled(0.0, values, (np.array([np.nan, 0.0, 0.1]),), ()))
    assert fallback.method == "percentile"
    assert "acceleration" in fallback.reason
    assert (fallback.low, fallback.high) == tuple(np.quantile(values, [0.025, 0.975]))


def test_resampled_t_worked_by_hand():
    # mean 0.8, s² = 0.001, K = 5, ratio 1/4: half = t(0.975; 4) · sqrt((1/5 + 1/4) · 0.001)
    by_fold = [0.76, 0.78, 0.8, 0.82, 0.84]
    interval = resampled_t(by_fold, 0.25)
    half = 2.7764451051977987 * np.sqrt(0.45 * 0.001)
    assert (interval.low, interval.high) == pytest.approx((0.8 - half, 0.8 + half), abs=1e-12)
    assert resampled_t(by_fold, 0.0).low > interval.low
    assert "one fold" in resampled_t([0.8], 0.25).reason
    assert "same in all" in resampled_t([0.8, 0.8], 0.25).reason


def test_no_interval_passes_what_its_metric_can_reach():
    wide = resampled_t([0.8, 0.99], 0.25)
    assert wide.low < 0 < 1 < wide.high
    held = wide.within(metrics.load("auroc").bounds(BINARY))
    assert (held.low, held.high, held.method) == (0.0, 1.0, "resampled_t")
    slope = wide.within(metrics.load("calibration_slope").bounds(BINARY))
    assert slope == wide
    assert resampled_t([0.9], 0.25).within((0.0, 1.0)).reason

    few = [FoldData(f.y, f.p, f.group, f.threshold, n_train=60) for f in folds(n=30, k=2, noise=0.1, seed=3)]
    found = evaluate(few, [metrics.load(n) for n in ("auroc", "brier", "ece")], BINARY, 0, n_replicates=50)
    for result in found.values():
        assert 0 <= result["interval_procedure"]["low"] < result["interval_procedure"]["high"] <= 1
    assert resampled_t(found["auroc"]["folds"], 0.5).high > 1
