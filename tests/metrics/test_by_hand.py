"""Values worked by hand: the challenge's two scores, calibration, net benefit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from ehrbench import metrics
from ehrbench.core.errors import UndefinedMetric
from ehrbench.metrics.ece import ECE
from tests.metrics.examples import BINARY


def value(name, y, p, threshold=None, **arguments):
    y, p = np.array(y, dtype=float)[:, None], np.array(p, dtype=float)[:, None]
    cut = None if threshold is None else np.array([threshold])
    return metrics.load(name)(y, p, target=BINARY, threshold=cut, **arguments)


Y = [1, 1, 1, 0, 0, 0, 0, 0]
P = [0.9, 0.6, 0.2, 0.7, 0.6, 0.3, 0.1, 0.1]


def test_event1_is_the_lesser_of_sensitivity_and_ppv():
    # at 0.6: called 0.9 0.6 | 0.7 0.6, so Se = 2/3 and PPV = 2/4
    assert value("event1", Y, P, 0.6) == pytest.approx(1 / 2, abs=1e-15)
    # at 0.8: one called, rightly, so PPV = 1 and Se = 1/3
    assert value("event1", Y, P, 0.8) == pytest.approx(1 / 3, abs=1e-15)
    assert value("event1", Y, P, 0.95) == 0
    with pytest.raises(UndefinedMetric, match="0 of 3 positive"):
        value("event1", [0, 0, 0], [0.1, 0.2, 0.3], 0.15)


def event2_by_hand(bins):
    """bins: ten lists of (y, p as Fraction)."""
    h, means = Fraction(0), []
    for b in bins:
        m, observed = len(b), sum(y for y, _ in b)
        mean = sum((p for _, p in b), Fraction(0)) / m
        means.append(mean)
        h += (observed - m * mean) ** 2 / (m * mean * (1 - mean) + Fraction(1, 1000))
    return float(h / (means[-1] - means[0]))


def test_event2_of_twenty_units_in_ten_bins():
    risks = [Fraction(k, 40) for k in range(20)]
    y = [0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 1, 0, 1, 1]
    bins = [[(y[k], risks[k]), (y[k + 1], risks[k + 1])] for k in range(0, 20, 2)]
    shuffled = np.random.default_rng(0).permutation(20)
    got = value("event2", np.array(y)[shuffled], np.array([float(r) for r in risks])[shuffled])
    assert got == pytest.approx(event2_by_hand(bins), rel=1e-12)


def test_event2_of_one_unit_a_bin_worked_to_the_end():
    # p = 0, 0.1 … 0.9, y = 1 for the last five. Bin k: (y − p)² / (p (1 − p) + 0.001), over 0.9 − 0
    p = [k / 10 for k in range(10)]
    h = 2 * (0.01 / 0.091 + 0.04 / 0.161 + 0.09 / 0.211 + 0.16 / 0.241) + 0.25 / 0.251
    assert value("event2", [0] * 5 + [1] * 5, p) == pytest.approx(h / 0.9, rel=1e-12)


def test_event2_leaves_the_highest_risks_out_where_ten_does_not_divide():
    p = [k / 10 for k in range(10)]
    whole = value("event2", [0] * 5 + [1] * 5, p)
    assert value("event2", [0] * 5 + [1] * 5 + [0, 0, 0], [*p, 0.95, 0.97, 0.99]) == pytest.approx(whole)


def test_event2_shares_a_tie_that_straddles_bins():
    # twenty units, ten of them at one risk: five bins' worth of a tie with 4 events, 0.8 a bin
    p = [0.1] * 10 + [0.5 + k / 40 for k in range(10)]
    y = [1, 1, 1, 1] + [0] * 6 + [1] * 10
    tied = 5 * (0.8 - 0.2) ** 2 / (2 * 0.1 * 0.9 + 0.001)
    rest = 0.0
    for k in range(0, 10, 2):
        mean = (p[10 + k] + p[11 + k]) / 2
        rest += (2 - 2 * mean) ** 2 / (2 * mean * (1 - mean) + 0.001)
    expected = (tied + rest) / ((p[18] + p[19]) / 2 - 0.1)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(20)
        assert value("event2", np.array(y)[order], np.array(p)[order]) == pytest.approx(expected, rel=1e-12)


def test_event2_says_why_it_cannot_be_had():
    with pytest.raises(UndefinedMetric, match="9 units do not fill ten bins"):
        value("event2", [0, 1, 0, 0, 0, 0, 0, 0, 1], np.linspace(0.1, 0.9, 9))
    with pytest.raises(UndefinedMetric, match="all 30 units have the same risk"):
        value("event2", [0, 1, 0] * 10, [0.2] * 30)


def test_ece_names_its_bins_and_is_worked_by_hand():
    assert "15 equal-width bins" in ECE.title
    # bins [0, 1/15): 0.01 0.05 with y 0 1; [1/15, 2/15): 0.1 with 0; last one: 1.0 and 0.95 with 1 0
    got = value("ece", [0, 1, 0, 1, 0], [0.01, 0.05, 0.1, 1.0, 0.95])
    assert got == pytest.approx((abs(1 - 0.06) + 0.1 + abs(1 - 1.95)) / 5, abs=1e-15)


def test_calibration_of_logits_that_are_twice_too_far_out():
    # 2 x 2: risk 1/4 said as odds (1/3)², 3/4 as 3²; then logit(true) = 0.5 · logit(said)
    said = [0.1] * 4 + [0.9] * 4
    y = [1, 0, 0, 0, 1, 1, 1, 0]
    assert value("calibration_slope", y, said) == pytest.approx(0.5, abs=1e-12)
    assert value("calibration_intercept", y, said) == pytest.approx(0, abs=1e-12)


def test_calibration_intercept_of_one_risk_for_all_is_the_log_odds_ratio():
    assert value("calibration_intercept", [1, 0, 0, 0, 0], [0.5] * 5) == pytest.approx(
        np.log(1 / 4), abs=1e-12
    )
    with pytest.raises(UndefinedMetric, match="same prediction"):
        value("calibration_slope", [1, 0, 0, 0, 0], [0.5] * 5)


def test_calibration_slope_is_infinite_where_a_cut_parts_the_outcomes():
    with pytest.raises(UndefinedMetric, match="slope is infinite"):
        value("calibration_slope", [0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4])


def test_an_undefined_calibration_slope_says_why():
    """Risks that differ only beyond 1e-7 are one risk, and part no outcomes."""
    with pytest.raises(UndefinedMetric, match="all 4 units have the same prediction, as near as 1e-7"):
        value("calibration_slope", [0, 1, 0, 1], [1e-9, 1e-8, 2e-9, 1e-10])


def test_calibration_slope_agrees_with_an_unpenalised_logistic_regression():
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = (rng.random(400) < 1 / (1 + np.exp(0.3 - 0.7 * x))).astype(float)
    fit = linear.LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky", max_iter=1000)
    expected = fit.fit(x[:, None], y).coef_[0, 0]
    assert value("calibration_slope", y, 1 / (1 + np.exp(-x))) == pytest.approx(expected, abs=1e-8)


def test_net_benefit():
    # at 0.25: called 0.9 0.6 | 0.7 0.6 0.3: 2/8 − 3/8 · (1/3)
    assert value("net_benefit", Y, P, 0.25) == pytest.approx(2 / 8 - 1 / 8, abs=1e-15)
    with pytest.raises(UndefinedMetric, match="not a risk"):
        value("net_benefit", Y, P, 1.0)
