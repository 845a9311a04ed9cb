"""Paired tests: against R's pROC, brute force, hand-worked values, and their own size under no difference."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ehrbench import metrics
from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.target import Target
from ehrbench.statistics.comparison import (
    compare,
    delong,
    holm,
    minimum_detectable_difference,
    paired_bootstrap,
    resampled_t_difference,
)
from ehrbench.statistics.fold_data import FoldData
from ehrbench.statistics.placements import mean_placed, placed
from tests.statistics.judging import BINARY, folds

Y = [0] * 12 + [1] * 8
A = [
    0.1,
    0.2,
    0.15,
    0.4,
    0.35,
    0.5,
    0.05,
    0.3,
    0.25,
    0.6,
    0.45,
    0.2,
    0.9,
    0.4,
    0.7,
    0.55,
    0.65,
    0.3,
    0.8,
    0.6,
]
B = [0.3, 0.1, 0.4, 0.2, 0.5, 0.45, 0.25, 0.6, 0.15, 0.35, 0.2, 0.7, 0.5, 0.6, 0.8, 0.3, 0.9, 0.45, 0.4, 0.7]


def fold(p, y=Y, group=None):
    y = np.array(y, dtype=float)[:, None]
    return FoldData(y, np.array(p)[:, None], np.arange(len(y)) if group is None else np.array(group))


def test_delong_is_what_r_s_proc_says():
    """pROC 1.18.0 under R 4.2.2 (Debian's ``r-cran-proc``), with Y, A and B as y, a and b::

    options(digits = 17); library(pROC)
    ra <- roc(y, a, direction = "<", levels = c(0, 1)); rb <- roc(y, b, direction = "<", levels = c(0, 1))
    auc(ra); auc(rb); var(ra); var(rb); cov(ra, rb); roc.test(ra, rb, method = "delong", paired = TRUE)
    """
    y, p = np.array(Y, dtype=float)[:, None], np.array([A, B])[:, :, None]
    values, covariance = mean_placed([placed(y, p, np.arange(20))])
    np.testing.assert_allclose(values, [0.890625, 0.80208333333333337], rtol=1e-14)
    expected = [
        [0.005440143623737374, 0.00050166847041847049],
        [0.00050166847041847049, 0.0097797168109668119],
    ]
    np.testing.assert_allclose(covariance, expected, rtol=1e-12)
    got = delong([fold(A)], [fold(B)])
    assert got.value / got.standard_error == pytest.approx(0.74259323608462369, rel=1e-12)
    assert got.p_value == pytest.approx(0.45772798483706389, rel=1e-12)
    assert (got.low, got.high) == pytest.approx((-0.14515084407152873, 0.32223417740486199), rel=1e-12)


@given(
    data=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=30)
)
@settings(max_examples=60, deadline=None)
def test_delong_is_the_brute_force_over_all_pairs(data):
    y = np.array([0, 0, 1, 1, *[d[0] for d in data]], dtype=float)
    p = np.array([[1, 2, 2, 5, *[d[i] for d in data]] for i in (1, 2)]) / 7
    values, covariance = mean_placed([placed(y[:, None], p[:, :, None], np.arange(len(y)))])
    positive, negative = p[:, y == 1], p[:, y == 0]
    psi = (positive[:, :, None] > negative[:, None, :]) + 0.5 * (positive[:, :, None] == negative[:, None, :])
    np.testing.assert_allclose(values, psi.mean(axis=(1, 2)), atol=1e-14)
    s10, s01 = np.cov(psi.mean(axis=2)), np.cov(psi.mean(axis=1))
    expected = s10 / positive.shape[1] + s01 / negative.shape[1]
    np.testing.assert_allclose(covariance, expected, atol=1e-14)


def test_repeated_units_of_a_group_bring_no_certainty():
    single = delong([fold(A)], [fold(B)])
    thrice = [np.repeat(x, 3) for x in (A, B, Y, np.arange(20))]
    naive = delong([fold(thrice[0], thrice[2])], [fold(thrice[1], thrice[2])])
    clustered = delong([fold(thrice[0], thrice[2], thrice[3])], [fold(thrice[1], thrice[2], thrice[3])])
    assert clustered.standard_error == pytest.approx(single.standard_error, rel=1e-12)
    assert naive.standard_error < 0.62 * single.standard_error


def test_folds_add_their_variances_and_classes_are_averaged():
    one = delong([fold(A)], [fold(B)])
    others = np.arange(100, 120)
    two = delong([fold(A), fold(A, group=others)], [fold(B), fold(B, group=others)])
    assert two.value == pytest.approx(one.value)
    assert two.standard_error == pytest.approx(one.standard_error / np.sqrt(2))
    y = np.array(Y, dtype=float)
    both = FoldData(np.stack([y, y], 1), np.stack([A, A], 1), np.arange(20))
    other = FoldData(both.y, np.stack([B, B], 1), np.arange(20))
    macro = delong([both], [other])  # the same column twice: wholly correlated
    assert (macro.value, macro.standard_error) == pytest.approx((one.value, one.standard_error))


def test_patients_who_are_tested_in_several_folds_bring_no_certainty():
    once = delong([fold(A)], [fold(B)])
    twice = delong([fold(A), fold(A)], [fold(B), fold(B)])
    assert (twice.value, twice.standard_error) == pytest.approx((once.value, once.standard_error))
    half = np.r_[np.arange(10), np.arange(110, 120)]  # some in both, some in one
    some = delong([fold(A), fold(A, group=half)], [fold(B), fold(B, group=half)])
    assert once.standard_error / np.sqrt(2) < some.standard_error < once.standard_error


def test_models_that_order_alike_do_not_differ():
    same = delong([fold(A)], [fold(np.array(A) ** 2)])
    assert (same.value, same.p_value) == (0, 1)
    assert "order the units alike" in same.reason
    brier = metrics.load("brier")
    equal = paired_bootstrap(folds(), folds(), brier, BINARY, seed=0, n_replicates=100)
    assert (equal.value, equal.p_value) == (0, 1)


def test_a_difference_in_the_last_digit_is_none():
    """As between a model and the ensemble of it alone, whose probabilities went to scores and back."""
    again = [FoldData(f.y, BINARY.probabilities(BINARY.scores(f.p)), f.group) for f in folds()]
    brier = metrics.load("brier")
    assert any((one.p != other.p).any() for one, other in zip(folds(), again, strict=True))
    fitted = paired_bootstrap(folds(), again, brier, BINARY, seed=0, n_replicates=100)
    assert (fitted.low, fitted.p_value) == (None, 1)
    by_fold = [[brier(f.y, f.p, target=BINARY) for f in each] for each in (folds(), again)]
    assert resampled_t_difference(*by_fold, 0.25).p_value == 1
    once_more = resampled_t_difference([0.5, 0.8, 0.3], [0.4, 0.7, 0.2], 0.5)  # one hit in ten, in each fold
    assert (once_more.low, once_more.p_value) == (None, None)


def test_what_cannot_be_compared_says_why():
    with pytest.raises(UndefinedMetric, match="1 positives of 1 groups and 4 negatives of 4"):
        delong([fold([0.1, 0.2, 0.3, 0.4, 0.5], [0, 0, 0, 0, 1])], [fold([0.1] * 5, [0, 0, 0, 0, 1])])
    owner = [
        *range(12),
        *[12] * 8,
    ]  # all positives are one patient's: their spread between patients is unknown
    with pytest.raises(UndefinedMetric, match="8 positives of 1 groups and 12 negatives of 12"):
        delong([fold(A, group=owner)], [fold(B, group=owner)])
    with pytest.raises(ValueError, match="fold 0 holds other units"):
        delong([fold(A)], [fold(B, Y[::-1])])
    with pytest.raises(ValueError, match="cannot be paired"):
        delong([fold(A)], [fold(B)] * 2)
    models = {"a": [fold(A, [0] * 20)], "b": [fold(B, [0] * 20)]}
    for name in ("auroc", "auprc"):
        difference = compare(models, metrics.load(name), BINARY, seed=0, n_replicates=50)["a", "b"]
        assert (difference.value, difference.p_holm) == (None, None)
        assert difference.reason


def test_the_paired_bootstrap_of_auroc_agrees_with_delong():
    a, b = folds(noise=0.4), folds(noise=1.2)
    exact = delong(a, b)
    got = paired_bootstrap(a, b, metrics.load("auroc"), BINARY, seed=0, n_replicates=3000)
    assert got.value == pytest.approx(exact.value)
    assert got.standard_error == pytest.approx(exact.standard_error, rel=0.06)
    assert (got.low, got.high) == pytest.approx((exact.low, exact.high), abs=0.15 * exact.standard_error)


@pytest.mark.parametrize("seed", range(8))
def test_interval_and_p_value_never_disagree(seed):
    a, b = folds(n=300, k=1, noise=0.4, seed=seed), folds(n=300, k=1, noise=0.9, seed=seed)
    for name in ("auprc", "log_loss", "ece", "event2"):
        got = paired_bootstrap(a, b, metrics.load(name), BINARY, seed=seed, n_replicates=600)
        excludes = not got.low <= 0 <= got.high
        assert excludes == (got.p_value < 0.05) or got.p_value == pytest.approx(0.05, abs=0.006)


def test_ties_at_zero_do_not_part_interval_and_p_value():
    """Of a share's differences many are exactly 0, and the interval may end there."""
    touched = 0
    for seed in (5, 17, 21, 30, 32, 39):
        a, b = folds(n=120, k=1, noise=0.4, seed=seed), folds(n=120, k=1, noise=0.8, seed=seed)
        for name in ("sensitivity", "specificity"):
            metric = metrics.load(name)
            got = paired_bootstrap(a, b, metric, BINARY, seed=seed, n_replicates=400)
            assert (not got.low <= 0 <= got.high) == (got.p_value < 0.05), (name, seed)
            touched += 0 in (got.low, got.high)
    assert touched > 3


def test_a_difference_turned_round_is_its_mirror_image():
    """Seeds at which resampling moves the ECE itself, so that the interval is a centred one."""
    methods = set()
    for seed in (5, 8):
        a, b = folds(n=300, k=1, noise=0.3, seed=seed), folds(n=300, k=1, noise=0.9, seed=seed)
        ece = metrics.load("ece")
        one = paired_bootstrap(a, b, ece, BINARY, seed=seed, n_replicates=500)
        other = paired_bootstrap(b, a, ece, BINARY, seed=seed, n_replicates=500)
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-12)
        assert one.p_value == pytest.approx(other.p_value)
        methods.add(one.method)
    assert methods == {"paired_bootstrap (centred_percentile)"}


def test_delong_has_the_size_it_says_under_no_difference():
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(400):
        y = (rng.random(200) < 0.3).astype(float)
        shared = y + rng.normal(size=200)
        a, b = (shared + rng.normal(size=200) for _ in range(2))
        p_values.append(delong([fold(a, y)], [fold(b, y)]).p_value)
    assert stats.kstest(p_values, "uniform").pvalue > 0.001
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.035)


def test_resampled_t_difference_worked_by_hand():
    # differences 0.01 0.03 0.02: mean 0.02, s² = 0.0001; t = 0.02 / sqrt((1/3 + 1/2) · 0.0001)
    got = resampled_t_difference([0.81, 0.83, 0.85], [0.8, 0.8, 0.83], 0.5)
    t = 0.02 / np.sqrt((1 / 3 + 1 / 2) * 0.0001)
    assert got.value == pytest.approx(0.02)
    assert got.p_value == pytest.approx(2 * stats.t.sf(t, 2), rel=1e-9)
    assert got.low == pytest.approx(0.02 - stats.t.ppf(0.975, 2) * 0.02 / t)
    assert resampled_t_difference([0.8, 0.9], [0.8, 0.9], 0.25).p_value == 1
    assert "one fold" in resampled_t_difference([0.8], [0.7], 0.25).reason


def test_holm_worked_by_hand():
    # Holm 1979: sorted 0.01 0.03 0.04 by 3 2 1, then made monotone
    assert holm([0.04, 0.01, None, 0.03]) == pytest.approx([0.06, 0.03, None, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_compare_gives_every_pair_with_corrected_p_values():
    models = {f"noise{s}": folds(n=400, k=2, noise=s) for s in (0.2, 1.0, 3.0)}
    for name in ("auroc", "brier"):
        pairs = compare(models, metrics.load(name), BINARY, seed=0, n_replicates=300)
        assert list(pairs) == [("noise0.2", "noise1.0"), ("noise0.2", "noise3.0"), ("noise1.0", "noise3.0")]
        for difference in pairs.values():
            assert difference.p_holm >= difference.p_value
            json.dumps(difference.to_dict(), allow_nan=False)
    assert pairs["noise0.2", "noise3.0"].value < 0  # Brier: lower for the better


def test_classes_that_are_not_scored_are_not_compared():
    rng = np.random.default_rng(0)
    y = np.c_[(rng.random((300, 2)) < 0.3), np.zeros(300)].astype(float)  # nobody has the third
    a, b = rng.random((2, 300, 3))
    models = {"a": [FoldData(y, a, np.arange(300))], "b": [FoldData(y, b, np.arange(300))]}
    target, auroc = Target("multilabel", ("a", "b", "c")), metrics.load("auroc")
    assert compare(models, auroc, target, seed=0)["a", "b"].value is None
    found = compare(models, auroc, target.without([2]), seed=0)["a", "b"]
    expected = auroc(y, a, target=target.without([2])) - auroc(y, b, target=target.without([2]))
    assert found.value == pytest.approx(expected, abs=1e-12)


def test_minimum_detectable_difference():
    # z(0.975) + z(0.8) = 1.959964 + 0.841621
    assert minimum_detectable_difference(0.01) == pytest.approx(0.0280158522, rel=1e-8)
    assert minimum_detectable_difference(0.01, n=1000, n_planned=4000) == pytest.approx(
        0.0140079261, rel=1e-8
    )
    assert minimum_detectable_difference(0.01, n_tests=3) > 0.03
    with pytest.raises(ValueError, match="both"):
        minimum_detectable_difference(0.01, n=1000)


def test_several_labels_against_the_metric():
    target = Target("multilabel", ("a", "b"))
    rng = np.random.default_rng(0)
    y = (rng.random((300, 2)) < 0.3).astype(float)
    y[::9, 1] = np.nan
    p = rng.random((2, 300, 2))
    values, _ = mean_placed([placed(y, p, np.arange(300))])
    expected = [metrics.load("auroc")(y, q, target=target) for q in p]
    np.testing.assert_allclose(values, expected, atol=1e-14)


def test_groups_of_both_labels_are_crossed_by_obuchowski_s_factor():
    """Her S11 has I/(I − 1) of all groups, and not the factors of those with a positive or a negative."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(12), 4)
    y = (rng.random(48) < 0.3).astype(float)
    p = rng.random(48) + 0.3 * y + 0.2 * rng.random(12)[group]
    positive, negative = y == 1, y == 0
    wins = (p[positive][:, None] > p[negative]).astype(float)
    m, n, area = positive.sum(), negative.sum(), wins.mean()
    v10 = np.bincount(group[positive], wins.mean(axis=1) - area, 12)
    v01 = np.bincount(group[negative], wins.mean(axis=0) - area, 12)
    of_m, of_n = len(set(group[positive])), len(set(group[negative]))
    assert of_m < 12
    expected = (
        of_m / (of_m - 1) * (v10 @ v10) / m**2
        + of_n / (of_n - 1) * (v01 @ v01) / n**2
        + 2 * 12 / 11 * (v10 @ v01) / (m * n)
    )
    _, covariance = mean_placed([placed(y[:, None], p[None, :, None], group)])
    assert covariance[0, 0] == pytest.approx(expected, rel=1e-12)
