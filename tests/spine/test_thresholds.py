"""Threshold rules: each finds the best cut there is, and says what it cannot do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrbench import metrics
from ehrbench.core.errors import ConfigError, FitError, UndefinedMetric
from ehrbench.core.target import Target
from ehrbench.spine.thresholds import RULES, ThresholdRule
from tests.statistics.judging import BINARY


@st.composite
def labelled(draw: st.DrawFn):
    n = draw(st.integers(2, 25))
    p = draw(
        st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.300001, 0.6, 0.95, 1.0]), min_size=n, max_size=n)
    )
    y = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n - 2, max_size=n - 2))
    return np.array([0.0, 1.0, *y])[:, None], np.array(p)[:, None]


def merit(rule, value, y, called):
    tp, fp = (y * called).sum(), ((1 - y) * called).sum()
    fn, tn = y.sum() - tp, (1 - y).sum() - fp
    if rule == "f1":
        return 2 * tp / (2 * tp + fp + fn)
    if rule == "event1":
        return min(tp / (tp + fn), tp / (tp + fp)) if tp else 0.0
    if rule == "youden":
        return tp / (tp + fn) + tn / (tn + fp)
    if rule == "cost":
        return -(value * fn + fp)
    return -(tp + fp) if tp / (tp + fn) >= value - 1e-12 else -np.inf


@pytest.mark.parametrize(
    ("rule", "value"), [("f1", None), ("event1", None), ("youden", None), ("cost", 4.0), ("sensitivity", 0.8)]
)
@given(case=labelled())
@settings(max_examples=50, deadline=None)
def test_no_other_cut_is_better(rule, value, case):
    y, p = case
    cut = ThresholdRule(rule, value).choose(y, p, BINARY)[0]
    got = merit(rule, value, y, p >= cut)
    others = [merit(rule, value, y, p >= c) for c in [*np.unique(p), 2.0]]
    assert got == pytest.approx(max(others), abs=1e-12)


def test_a_cut_lies_half_way_between_its_neighbours():
    y = np.array([[0.0], [0.0], [1.0], [1.0]])
    p = np.array([[0.1], [0.2], [0.6], [0.8]])
    assert ThresholdRule("f1").choose(y, p, BINARY)[0] == pytest.approx(0.4)
    assert ThresholdRule("sensitivity", 0.5).choose(y, p, BINARY)[0] == pytest.approx(0.7)
    assert ThresholdRule("sensitivity", 0.51).choose(y, p, BINARY)[0] == pytest.approx(0.4)


def test_a_dearer_miss_lowers_the_cut():
    rng = np.random.default_rng(0)
    p = rng.random((3000, 1))
    y = (rng.random((3000, 1)) < p).astype(float)
    cuts = [ThresholdRule("cost", ratio).choose(y, p, BINARY)[0] for ratio in (1, 4, 19)]
    # for calibrated probabilities the best cut is 1 / (1 + ratio)
    np.testing.assert_allclose(cuts, [0.5, 0.2, 0.05], atol=0.06)


def test_event1_at_its_threshold_is_what_the_metric_says():
    rng = np.random.default_rng(1)
    p = rng.random((500, 1))
    y = (rng.random((500, 1)) < p**2).astype(float)
    cut = ThresholdRule("event1").choose(y, p, BINARY)
    event1 = metrics.load("event1")
    best = max(event1(y, p, target=BINARY, threshold=np.array([c])) for c in np.unique(p))
    assert event1(y, p, target=BINARY, threshold=cut) == pytest.approx(best)


def test_each_class_has_its_own_cut_and_unknown_labels_count_nothing():
    target = Target("multilabel", ("a", "b"))
    y = np.array([[0, np.nan], [0, 0], [1, np.nan], [1, 1.0]])
    p = np.array([[0.1, 0.9], [0.2, 0.3], [0.6, 0.1], [0.8, 0.5]])
    np.testing.assert_allclose(ThresholdRule("f1").choose(y, p, target), [0.4, 0.4])
    np.testing.assert_allclose(ThresholdRule("fixed", 0.25).choose(y, p, target), [0.25, 0.25])


def test_nobody_called_is_a_cut_too_even_where_a_prediction_is_1():
    y = np.array([[0.0]] * 9 + [[1.0]])
    p = np.array([[1.0]] * 9 + [[0.5]])
    cut = ThresholdRule("cost", 0.1).choose(y, p, BINARY)[0]
    assert not (p >= cut).any()


@pytest.mark.parametrize(
    ("rule", "value", "key"),
    [
        ("g-mean", None, "threshold.rule"),
        ("f1", 0.5, "threshold.value"),
        ("cost", None, "threshold.value"),
        ("cost", -1, "threshold.value"),
        ("sensitivity", 1.2, "threshold.value"),
        ("sensitivity", 0, "threshold.value"),
        ("fixed", True, "threshold.value"),
        ("fixed", "0.5", "threshold.value"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_by_its_key(rule, value, key):
    with pytest.raises(ConfigError) as error:
        ThresholdRule(rule, value)
    assert error.value.key == key


def test_one_class_and_spoilt_probabilities_are_said():
    p = np.linspace(0, 1, 5)[:, None]
    with pytest.raises(FitError, match="class death has 0 positives among 5"):
        ThresholdRule("f1").choose(np.zeros((5, 1)), p, BINARY)
    with pytest.raises(UndefinedMetric, match="not finite"):
        ThresholdRule("youden").choose(np.eye(5)[:, :1], p * np.nan, BINARY)


def test_every_rule_says_what_it_is():
    for rule, (what, meaning) in RULES.items():
        assert what
        assert rule in str(ThresholdRule(rule, 0.5 if meaning else None))
