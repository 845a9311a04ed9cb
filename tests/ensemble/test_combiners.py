"""What every combiner promises, and what each of them is for."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ehrbench import metrics
from ehrbench.core.errors import BundleError
from ehrbench.ensemble import COMBINERS
from ehrbench.ensemble._base import unit_loss
from ehrbench.ensemble.greedy_selection import GreedySelection
from ehrbench.ensemble.linear_stack import LinearStack
from tests.ensemble.simulated import BINARY, MULTILABEL, TARGETS, members

every_combiner = pytest.mark.parametrize("name", COMBINERS)
every_target = pytest.mark.parametrize("kind", TARGETS)


def fitted(name, target=BINARY, **sizes):
    scores, y, fold = members(target, **sizes)
    return COMBINERS[name]().fit(scores, y, target=target, fold=fold, seed=3), scores, y


@every_combiner
@every_target
def test_it_predicts_finite_probabilities_and_survives_json_to_the_last_bit(name, kind):
    target = TARGETS[kind]
    combiner, scores, y = fitted(name, target, n=400)
    p = combiner.predict(scores)
    assert p.shape == y.shape
    assert ((p > 0) & (p < 1)).all()
    if kind == "multiclass":
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)
    state = json.loads(json.dumps(combiner.to_json()))
    again = COMBINERS[name].from_json(state, target)
    assert np.array_equal(again.predict(scores), p)


@every_combiner
def test_equal_arguments_give_equal_bits_and_the_order_of_models_is_kept(name):
    first, scores, _ = fitted(name, n=400)
    second, _, _ = fitted(name, n=400)
    assert first.to_json() == second.to_json()
    backwards = dict(reversed(scores.items()))
    assert np.array_equal(first.predict(backwards), first.predict(scores))


@every_combiner
def test_each_unit_is_predicted_by_itself(name):
    combiner, scores, _ = fitted(name, n=400)
    some = {k: z[[7, 2]] for k, z in scores.items()}
    np.testing.assert_allclose(combiner.predict(some), combiner.predict(scores)[[7, 2]], rtol=1e-14)


@every_combiner
def test_a_missing_member_is_named(name):
    combiner, scores, _ = fitted(name, n=400)
    del scores["lstm"]
    with pytest.raises(BundleError, match="no scores of its member 'lstm'"):
        combiner.predict(scores)


@every_combiner
def test_constant_members_one_class_and_unknown_labels_are_coped_with(name):
    scores, y, fold = members(MULTILABEL, n=300)
    scores["constant"] = np.full_like(y, -2.0)
    y[:, 1] = 0
    y[::3, 0] = np.nan
    y[::5] = np.nan
    combiner = COMBINERS[name]().fit(scores, y, target=MULTILABEL, fold=fold, seed=0)
    assert np.isfinite(combiner.predict(scores)).all()


def test_best_member_looks_through_a_shift():
    scores, y, fold = members()
    best = COMBINERS["best_member"]().fit(scores, y, target=BINARY, fold=fold, seed=0).best
    scores[best] = scores[best] + 5  # its raw log loss is then by far the worst
    assert COMBINERS["best_member"]().fit(scores, y, target=BINARY, fold=fold, seed=0).best == best


def test_linear_stack_finds_the_weights_that_made_the_labels():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3, 40_000, 1)) * 1.5
    y = (rng.random((40_000, 1)) < BINARY.probabilities(0.9 * z[0] + 0.4 * z[1] - 1)).astype(float)
    scores = {"a": z[0], "b": z[1], "noise": z[2]}
    stack = LinearStack().fit(scores, y, target=BINARY, fold=np.arange(40_000) % 5, seed=0)
    np.testing.assert_allclose(stack.weights[:, 0], [0.9, 0.4, 0], atol=0.06)
    np.testing.assert_allclose(stack.bias, [-1], atol=0.06)
    assert (stack.weights >= 0).all()


def test_linear_stack_gives_no_negative_weight_where_plain_regression_would():
    rng = np.random.default_rng(1)
    good = rng.normal(size=(4000, 1))
    y = (rng.random((4000, 1)) < BINARY.probabilities(good)).astype(float)
    scores = {"good": good, "reversed": -good + rng.normal(size=good.shape)}
    stack = LinearStack().fit(scores, y, target=BINARY, fold=np.arange(4000) % 5, seed=0)
    assert stack.weights[1, 0] == 0
    assert stack.weights[0, 0] > 0.8


def test_linear_stack_of_one_fold_does_without_a_choice():
    scores, y, _ = members(n=200)
    stack = LinearStack().fit(scores, y, target=BINARY, fold=np.zeros(200, dtype=int), seed=0)
    assert np.isfinite(stack.predict(scores)).all()


def test_greedy_selection_leaves_a_useless_member_out_and_can_climb_any_metric():
    scores, y, fold = members()
    scores["useless"] = np.random.default_rng(5).normal(size=y.shape) * 3
    for metric in (None, metrics.load("auroc"), metrics.load("brier")):
        greedy = GreedySelection(metric).fit(scores, y, target=BINARY, fold=fold, seed=0)
        assert greedy.weights.sum() == pytest.approx(1)
        assert greedy.weights[3] < 0.02
        best = min(
            np.nanmean(unit_loss(y, BINARY.probabilities(scores[m]), BINARY)) for m in ("ssm", "lightgbm")
        )
        if metric is None:
            assert np.nanmean(unit_loss(y, greedy.predict(scores), BINARY)) < best
    with pytest.raises(ValueError, match="threshold"):
        GreedySelection(metrics.load("f1"))
