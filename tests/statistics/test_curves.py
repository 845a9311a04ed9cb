"""Curves agree with scikit-learn on the data, and their bands with a bootstrap done by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from ehrbench.metrics.net_benefit import NetBenefit
from ehrbench.statistics import curves
from ehrbench.statistics.fold_data import FoldPredictions
from ehrbench.statistics.score_counts import MOST_BINS, score_counts
from tests.report.folders import TARGETS

CUTS = np.arange(1, 60) / 100


def fold(y, p, group=None, name="0"):
    y, p = np.asarray(y, dtype=float).reshape(-1, 1), np.asarray(p, dtype=float).reshape(-1, 1)
    group = np.arange(len(y)) if group is None else np.asarray(group)
    return FoldPredictions(name, group, np.zeros(len(y)), group, y, {"m": p}, {}, 10, len(np.unique(group)))


def counted(*folds, n_replicates=0, seed=0):
    return score_counts(folds, ["m"], 0, CUTS, seed=seed, n_replicates=n_replicates)["m"]


def drawn(n=300, seed=0, digits=6):
    rng = np.random.default_rng(seed)
    p = rng.random(n)
    return (rng.random(n) < p).astype(float), np.round(p, digits)


@pytest.mark.parametrize("digits", [6, 1])  # 1: ties everywhere
def test_roc_is_that_of_scikit_learn(digits):
    y, p = drawn(digits=digits)
    fpr, tpr, _ = roc_curve(y, p, drop_intermediate=False)
    found = curves.roc(counted(fold(y, p)))
    assert found is not None
    np.testing.assert_allclose(found.y, np.interp(curves.FPR, fpr, tpr), atol=1e-12)


def test_roc_of_many_rows_is_close():
    y, p = drawn(20_000)
    assert len(np.unique(p)) > MOST_BINS
    fpr, tpr, _ = roc_curve(y, p, drop_intermediate=False)
    found = curves.roc(counted(fold(y, p)))
    assert found is not None
    np.testing.assert_allclose(found.y, np.interp(curves.FPR, fpr, tpr), atol=0.01)


def test_precision_at_each_recall_by_definition():
    y, p = drawn(200)
    found = curves.precision_recall(counted(fold(y, p)))
    assert found is not None
    for recall, precision in zip(found.x, found.y, strict=True):
        reached = [t for t in np.unique(p) if y[p >= t].sum() >= recall * y.sum() - 1e-9]
        assert precision == pytest.approx(y[p >= max(reached)].mean())


def test_net_benefit_is_the_metric():
    y, p = drawn(500)
    found, treat_all = curves.net_benefit(counted(fold(y, p)), CUTS)
    for t, value, everyone in zip(CUTS, found.y, treat_all, strict=True):
        metric = NetBenefit()
        of = {"target": TARGETS["binary"], "threshold": np.array([t])}
        assert value == pytest.approx(metric(y[:, None], p[:, None], **of), abs=1e-12)
        assert everyone == pytest.approx(metric(y[:, None], np.ones((len(y), 1)), **of), abs=1e-12)


def test_a_calibrated_score_lies_on_the_diagonal():
    y, p = drawn(40_000)
    found = curves.calibration(counted(fold(y, p), n_replicates=50))
    assert found is not None
    np.testing.assert_allclose(found.smooth.y, found.smooth.x, atol=0.03)
    np.testing.assert_allclose(found.groups.y, found.groups.x, atol=0.03)
    assert found.size.sum() == 40_000
    assert (found.smooth.low <= found.smooth.y).mean() > 0.9


def test_bands_resample_groups_and_not_units():
    y, p = drawn(100)
    single = curves.roc(counted(fold(y, p), n_replicates=300))
    tenfold = curves.roc(counted(fold(np.repeat(y, 10), np.repeat(p, 10), np.repeat(np.arange(100), 10)),
                                 n_replicates=300))  # fmt: skip
    np.testing.assert_allclose(single.y, tenfold.y, atol=1e-12)
    np.testing.assert_allclose(single.high - single.low, tenfold.high - tenfold.low, atol=1e-12)


def test_folds_are_averaged_and_those_with_one_class_left_out():
    a, b = drawn(200, 1), drawn(200, 2)
    alone = fold(np.zeros(50), np.linspace(0, 1, 50), name="2")
    both = curves.roc(counted(fold(*a), fold(*b, name="1"), alone))
    each = [curves.roc(counted(fold(*one))).y for one in (a, b)]
    np.testing.assert_allclose(both.y, np.mean(each, axis=0), atol=0.02)
    assert both.left_out == 1


def test_one_class_has_no_curve():
    counts = counted(fold(np.zeros(50), np.linspace(0, 1, 50)))
    assert curves.roc(counts) is None
    assert curves.precision_recall(counts) is None
    assert curves.calibration(counts) is not None


def test_probabilities_of_exactly_0_and_1():
    y = np.array([0, 0, 1, 1, 0, 1])
    found = curves.roc(counted(fold(y, y), n_replicates=20))
    np.testing.assert_array_equal(found.y, 1)
    assert np.isfinite(curves.calibration(counted(fold(y, y), n_replicates=20)).groups.y).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.integers(0, 5)), min_size=1, max_size=60))
def test_every_replicate_counts_as_many_groups_as_there_are(rows):
    y, p, group = (np.array(column) for column in zip(*rows, strict=True))
    alone = np.unique(group, return_index=True)[1]  # one unit a group
    one = fold(y[alone], p[alone], group[alone])
    counts = counted(one, n_replicates=7)
    total = (counts.positives + counts.negatives).sum(axis=(0, 2))
    np.testing.assert_array_equal(total, len(alone))
    assert counts.positives[0, 0].sum() == y[alone].sum()


def test_a_model_with_nan_is_left_out():
    y, p = drawn(50)
    p[3] = np.nan
    assert score_counts([fold(y, p)], ["m"], 0, CUTS, seed=0, n_replicates=1) == {}
