"""Agreement with scikit-learn and scipy to 1e-12."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from scipy.stats import mannwhitneyu

from ehrbench import metrics
from ehrbench.core.errors import UndefinedMetric
from tests.metrics.examples import BINARY, MULTICLASS, MULTILABEL, binary, sample

close = {"rel": 1e-12, "abs": 1e-12}


@given(case=binary())
@settings(max_examples=40, deadline=None)
def test_ranking_and_losses(case):
    y, p, weight = case
    known = {
        "auroc": sk.roc_auc_score,
        "auprc": sk.average_precision_score,
        "brier": sk.brier_score_loss,
        "log_loss": lambda y, p, sample_weight: sk.log_loss(y, p, sample_weight=sample_weight, labels=[0, 1]),
    }
    for name, reference in known.items():
        expected = reference(y[:, 0], p[:, 0], sample_weight=weight)
        assert metrics.load(name)(y, p, target=BINARY, weight=weight) == pytest.approx(expected, **close), (
            name
        )


@given(case=binary())
@settings(max_examples=40, deadline=None)
def test_decisions(case):
    y, p, weight = case
    called = p[:, 0] >= 0.25
    known = {
        "f1": sk.f1_score,
        "sensitivity": sk.recall_score,
        "specificity": lambda y, d, **k: sk.recall_score(1 - y, ~d, **k),
        "balanced_accuracy": sk.balanced_accuracy_score,
        "ppv": sk.precision_score,
    }
    for name, reference in known.items():
        if name == "ppv" and weight[called].sum() == 0:
            with pytest.raises(UndefinedMetric, match=r"ppv: 0/0 .* 0 reach 0.25"):
                metrics.load(name)(y, p, target=BINARY, weight=weight, threshold=np.array([0.25]))
            continue
        expected = reference(y[:, 0], called, sample_weight=weight)
        value = metrics.load(name)(y, p, target=BINARY, weight=weight, threshold=np.array([0.25]))
        assert value == pytest.approx(expected, **close), name


def test_auroc_is_mann_whitney_s_u():
    y, p = sample(BINARY, 500)
    positive, negative = p[y == 1], p[y == 0]
    u = mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative))
    assert metrics.load("auroc")(y, p, target=BINARY) == pytest.approx(u, **close)


def test_several_classes():
    y, p = sample(MULTICLASS)
    labels = y.argmax(axis=1)
    assert metrics.load("log_loss")(y, p, target=MULTICLASS) == pytest.approx(sk.log_loss(labels, p), **close)
    expected = sk.brier_score_loss(labels, p, labels=[0, 1, 2])
    assert metrics.load("brier")(y, p, target=MULTICLASS) == pytest.approx(expected, **close)
    y, p = sample(MULTILABEL)
    expected = sk.average_precision_score(y, p, average="macro")
    assert metrics.load("auprc")(y, p, target=MULTILABEL) == pytest.approx(expected, **close)
    cuts = np.array([0.2, 0.3, 0.4])
    expected = sk.f1_score(y, p >= cuts, average="macro")
    assert metrics.load("f1")(y, p, target=MULTILABEL, threshold=cuts) == pytest.approx(expected, **close)


def test_certain_and_wrong_costs_36_nats_and_not_everything():
    y, p = np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]])
    assert metrics.load("log_loss")(y, p, target=BINARY) == pytest.approx(-np.log(np.finfo(float).eps))
