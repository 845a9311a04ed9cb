"""What every metric promises; a new file under ``ehrbench/metrics`` is covered without being named here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics import roc_auc_score

from ehrbench import metrics
from ehrbench.core.errors import ConfigError, UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.target import Target
from tests.metrics.examples import BINARY, MULTICLASS, MULTILABEL, TARGETS, binary, sample

THRESHOLD = {"binary": np.array([0.3]), "multilabel": np.full(3, 0.3), "multiclass": np.full(3, 0.34)}
every_metric = pytest.mark.parametrize("name", metrics.names())
every_target = pytest.mark.parametrize("kind", TARGETS)


def value_or_reason(metric: Metric, y, p, target: Target = BINARY, **arguments) -> float | None:
    try:
        return metric(y, p, target=target, threshold=THRESHOLD[target.kind], **arguments)
    except UndefinedMetric:
        return None


def test_the_issue_s_metrics_are_all_there():
    wanted = "auroc auprc event1 event2 f1 balanced_accuracy sensitivity specificity ppv brier log_loss ece"
    assert {*wanted.split(), "calibration_slope", "calibration_intercept", "net_benefit"} <= {
        *metrics.names()
    }


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"metric: there is no metric 'auc' — choose one of .*auroc"):
        metrics.load("auc")
    with pytest.raises(ConfigError):
        metrics.load("_column")


@every_metric
def test_it_is_named_as_its_file_and_has_a_title(name):
    metric = metrics.load(name)
    assert metric.name == name
    assert metric.title
    assert 30 < len(metric.meaning) < 200
    assert metric.meaning.strip(" .") == metric.meaning, "a phrase: the page ends it"


@every_metric
def test_it_says_whether_the_share_of_positives_moves_it(name):
    """Negatives counted twice: the same ranks, the same shares of either class, other prevalence."""
    metric, (y, p) = metrics.load(name), sample(BINARY)
    once, twice = (metric(y, p, target=BINARY, threshold=THRESHOLD["binary"], weight=w)
                   for w in (np.ones(len(y)), np.where(y[:, 0] == 0, 2.0, 1.0)))  # fmt: skip
    if metric.depends_on_mix:
        assert twice != pytest.approx(once, rel=1e-6)
    elif metric.greater_is_better and metric.ideal is None:  # calibration's are off once the risks are
        assert twice == pytest.approx(once, rel=1e-9)


@every_metric
def test_a_class_that_is_not_scored_moves_nothing_and_needs_no_value(name):
    metric, (y, p) = metrics.load(name), sample(MULTILABEL)
    scored = MULTILABEL.without([1])
    before = value_or_reason(metric, y, p, scored)
    if metric.pooled:  # of all classes together, whatever is scored
        assert before == value_or_reason(metric, y, p, MULTILABEL) is not None
        return
    y[:, 1], p[:, 1] = 0, 0.5  # one label only: of most metrics it has no value
    assert before is not None
    assert value_or_reason(metric, y, p, scored) == before
    if metric.by_class:
        each = [
            metric(y[:, [c]], p[:, [c]], target=MULTILABEL.alone(c), threshold=THRESHOLD["multilabel"][[c]])
            for c in scored.scored
        ]
        assert before == pytest.approx(np.mean(each), rel=1e-12)


@every_metric
@given(case=binary(least=12))
@settings(max_examples=25, deadline=None)
def test_an_integer_weight_counts_a_unit_so_often(name, case):
    y, p, weight = case
    metric, times = metrics.load(name), weight.astype(int)
    weighted = value_or_reason(metric, y, p, weight=weight)
    repeated = value_or_reason(metric, np.repeat(y, times, axis=0), np.repeat(p, times, axis=0))
    assert (weighted is None) == (repeated is None)
    if weighted is not None:
        assert weighted == pytest.approx(repeated, rel=1e-9, abs=1e-10)


@every_metric
@given(case=binary(least=12))
@settings(max_examples=15, deadline=None)
def test_many_weights_at_once_agree_with_one_by_one(name, case):
    y, p, weight = case
    metric = metrics.load(name)
    weights = np.stack([weight, np.ones_like(weight), np.roll(weight, 3), np.zeros_like(weight)])
    many = metric.weighted(y, p, target=BINARY, threshold=THRESHOLD["binary"])(weights)
    for value, one in zip(many, weights, strict=True):
        alone = value_or_reason(metric, y, p, weight=one)
        assert np.isnan(value) == (alone is None)
        if alone is not None:
            assert value == pytest.approx(alone, rel=1e-8, abs=1e-9)


@every_metric
@every_target
def test_unknown_labels_count_nothing_and_order_does_not_matter(name, kind):
    target, metric = TARGETS[kind], metrics.load(name)
    y, p = sample(target)
    value = metric(y, p, target=target, threshold=THRESHOLD[kind])
    assert np.isfinite(value)
    extra = np.vstack([y, np.full((5, target.n_classes), np.nan)])
    more = metric(extra, np.vstack([p, p[:5]]), target=target, threshold=THRESHOLD[kind])
    assert more == pytest.approx(value, abs=1e-12)
    order = np.random.default_rng(1).permutation(len(y))
    again = metric(y[order], p[order], target=target, threshold=THRESHOLD[kind])
    assert again == pytest.approx(value, abs=1e-10)


@every_metric
@every_target
def test_its_values_lie_within_its_bounds(name, kind):
    target, metric = TARGETS[kind], metrics.load(name)
    low, high = metric.bounds(target)
    y, p = sample(target)
    wrong = np.roll(y, 1, axis=1) if kind == "multiclass" else 1 - y
    for risks in (p, y, wrong, (p + 2 * wrong) / 3):
        if (value := value_or_reason(metric, y, risks, target)) is not None:
            assert low <= value <= high


@every_metric
@every_target
def test_many_weights_of_every_target_kind(name, kind):
    target, metric = TARGETS[kind], metrics.load(name)
    y, p = sample(target)
    if kind == "multilabel":
        y[::7, 1] = np.nan
    weights = np.random.default_rng(2).integers(0, 3, (3, len(y))).astype(float)
    many = metric.weighted(y, p, target=target, threshold=THRESHOLD[kind])(weights)
    alone = [metric(y, p, target=target, weight=w, threshold=THRESHOLD[kind]) for w in weights]
    np.testing.assert_allclose(many, alone, rtol=1e-9, atol=1e-10)


@every_metric
def test_predictions_that_are_not_finite_are_counted_and_refused(name):
    y, p = sample(BINARY)
    p[[3, 5]] = np.nan
    with pytest.raises(UndefinedMetric, match=f"{name}: 2 predictions are not finite"):
        metrics.load(name)(y, p, target=BINARY, threshold=THRESHOLD["binary"])


@every_metric
def test_no_known_label_is_said(name):
    _, p = sample(BINARY)
    with pytest.raises(UndefinedMetric, match=r"known label|do not fill ten bins"):
        metrics.load(name)(np.full_like(p, np.nan), p, target=BINARY, threshold=THRESHOLD["binary"])


@pytest.mark.parametrize("name", ["auroc", "auprc", "calibration_slope", "calibration_intercept"])
@pytest.mark.parametrize(("label", "word"), [(0.0, "negative"), (1.0, "positive")])
def test_one_class_only_is_said(name, label, word):
    p = np.linspace(0.1, 0.9, 7)[:, None]
    with pytest.raises(UndefinedMetric, match=f"all 7 units are {word}"):
        metrics.load(name)(np.full((7, 1), label), p, target=BINARY)


def test_a_class_without_a_value_is_named_and_not_left_out_of_the_mean():
    y, p = sample(MULTILABEL)
    y[:, 2] = 0
    with pytest.raises(UndefinedMetric, match="auroc of mass: all 200 units are negative"):
        metrics.load("auroc")(y, p, target=MULTILABEL)


@pytest.mark.parametrize("name", [n for n in metrics.names() if metrics.load(n).needs_threshold])
def test_a_missing_threshold_is_said(name):
    y, p = sample(BINARY)
    with pytest.raises(UndefinedMetric, match="needs a decision threshold"):
        metrics.load(name)(y, p, target=BINARY)


@every_metric
def test_what_is_searched_has_its_best_at_an_end(name):
    y, p = sample(BINARY)
    metric = metrics.load(name)
    searched, value = metric.searched, metric(y, p, target=BINARY, threshold=THRESHOLD["binary"])
    assert searched.ideal is None
    found = searched(y, p, target=BINARY, threshold=THRESHOLD["binary"])
    assert found == (value if metric.ideal is None else abs(value - metric.ideal))
    assert searched.gain(found) == metric.gain(value)
    low, high = searched.bounds(BINARY)
    assert low <= found <= high
    assert metric.ideal is None or (searched.name, searched.title) != (metric.name, metric.title)


def test_a_search_prefers_what_is_better_by_every_metric():
    gain = {name: metrics.load(name).gain for name in metrics.names()}
    assert gain["auroc"](0.9) > gain["auroc"](0.8)
    assert gain["log_loss"](0.2) > gain["log_loss"](0.3)
    assert gain["calibration_slope"](1.1) > gain["calibration_slope"](0.8) > gain["calibration_slope"](1.3)
    assert gain["calibration_intercept"](-0.1) > gain["calibration_intercept"](0.2)


def test_macro_auroc_is_scikit_learn_s():
    for target in (MULTILABEL, MULTICLASS):
        y, p = sample(target)
        arguments = {"multi_class": "ovr"} if target.kind == "multiclass" else {}
        labels = y.argmax(axis=1) if target.kind == "multiclass" else y
        expected = roc_auc_score(labels, p, average="macro", **arguments)
        assert metrics.load("auroc")(y, p, target=target) == pytest.approx(expected, abs=1e-12)
