"""Attributions: they add up to the score, and tell missingness from value."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ehrbench.core.model import Model
from ehrbench.explain.attribution import Unexplained, attribute, by_source, mean, tree_shap
from ehrbench.explain.gradients import integrated_gradients
from ehrbench.explain.payloads import Steps
from ehrbench.explain.sources import Source, sources
from ehrbench.features.grid import Grid
from ehrbench.features.irregular import Irregular
from ehrbench.features.statistics import Statistics
from ehrbench.features.tabular import Tabular
from ehrbench.models.lightgbm import LightGBM, raw_scores
from ehrbench.models.logistic import Logistic
from ehrbench.models.lstm import LSTM
from ehrbench.models.mlp import MLP
from ehrbench.models.ssm import SSM
from tests.features.payloads import random_events, random_rows, records_of
from tests.models.toy import TARGETS, records

HOURS = 48


def labelled(payload, kind="binary"):
    """Labels that follow what the payload shows, and its holes."""
    found = records_of(payload)
    rng, n = np.random.default_rng(0), len(payload)
    size = payload.n_events if hasattr(payload, "n_events") else np.nansum(payload.values, axis=1)
    y = np.stack([size + rng.normal(size=n) * size.std() > np.quantile(size, q) for q in (0.5, 0.4, 0.6)], 1)
    if kind == "multiclass":
        y = np.eye(3)[y.sum(axis=1).clip(1, 3) - 1]
    return replace(found, target=y[:, : TARGETS[kind].n_classes].astype(float))


@pytest.mark.parametrize("kind", ["binary", "multilabel", "multiclass"])
def test_shapley_values_add_up_to_the_raw_score(kind):
    train = labelled(random_events(80, 0), kind)
    model = LightGBM(
        target=TARGETS[kind],
        featurizer=Statistics(),
        n_estimators=15,
        min_data_in_leaf=3,
        feature_fraction=0.5,
    )
    model.fit(train, None, seed=0, steps=15)
    values = model.featurizer.transform(train).arrays()["values"]
    parts, gap = tree_shap(model, values)
    raw = raw_scores(model._boosters, values, 1)
    assert parts.shape == (80, TARGETS[kind].n_classes, values.shape[1])
    assert gap < 1e-9
    assert np.ptp(raw - parts.sum(axis=2), axis=0).max() < 1e-9  # what is left is one base a class
    found = attribute(model, train, Steps(HOURS, 1))
    np.testing.assert_allclose(sum(found.parts.values()), parts.sum(axis=2), atol=1e-12)
    assert not found.by_hour


def test_a_missing_cell_is_missingness_and_a_count_always_is():
    names = (Source("HR", "value"), Source("HR", "missingness"), Source("Age", "value"))
    values = np.array([[80.0, 3.0, 60.0], [np.nan, 0.0, 60.0]])
    parts = np.array([[[1.0, 0.5, 0.25]], [[-2.0, 0.5, 0.25]]])
    found = by_source(parts, values, names)
    assert found[Source("HR", "value")].tolist() == [[1.0], [0.0]]
    assert found[Source("HR", "missingness")].tolist() == [[0.5], [-1.5]]
    assert found[Source("Age", "value")].tolist() == [[0.25], [0.25]]
    assert Source("Age", "missingness") not in found


class Products(nn.Module):
    """Σ w v m + Σ u m: the value's and the mask's shares are known by hand."""

    def forward(self, values, mask):
        w, u = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
        return (w * values * mask + u * mask).sum(dim=(1, 2), keepdim=True)[:, 0]


def test_a_product_of_value_and_mask_is_credited_to_the_value():
    rng = np.random.default_rng(0)
    mask = (rng.random((4, 5, 2)) < 0.5).astype(np.float32)
    arrays = {"values": rng.normal(size=(4, 5, 2)).astype(np.float32), "mask": mask}
    named = {
        "values": (Source("a", "value"), Source("b", "value")),
        "mask": (Source("a", "missingness"), Source("b", "missingness")),
    }
    found, gap = integrated_gradients(Products(), arrays, named)
    expected = arrays["values"] * mask * [1.0, -2.0]
    np.testing.assert_allclose(found["values"][:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(found["mask"][:, 0], mask * [0.5, 3.0], atol=1e-5)
    np.testing.assert_allclose(gap, 0, atol=1e-5)


PLAIN = {"block": "plain", "embedding": "none", "n_layers": 2, "dropout": 0.4, "input_dropout": 0.1}
PLAIN |= {"learning_rate": 1e-3, "weight_decay": 0.01, "batch_size": 64}
NETWORKS = {
    "lstm": (LSTM, Grid(), {}),
    "lstm-delta": (LSTM, Grid(statistics=("mean", "count"), delta=True), {"pooling": "attention"}),
    "ssm": (SSM, Grid(), {"n_pairs": 4}),
    "ssm-irregular": (SSM, Irregular(steps=24), {"n_pairs": 4, "irregular": True}),
    "mlp": (MLP, Statistics(scaling="quantile"), PLAIN),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_integrated_gradients_are_complete(name):
    kind, featurizer, settings = NETWORKS[name]
    train = labelled(random_events(40, 1))
    target = TARGETS["binary"]
    model = kind(target=target, featurizer=featurizer, width=8, max_epochs=3, accelerator="cpu", **settings)
    model.fit(train, None, seed=0, steps=3)
    few = train.take(np.arange(12)).without_labels()
    found = attribute(model, few, Steps(HOURS, 1))
    whole = sum(found.parts.values())
    assert found.gap <= 0.005 * np.abs(whole).max() * 1.01
    score = target.scores(model.predict(few))
    base = score - whole
    assert np.ptp(base) < 0.05 * np.ptp(score) + 2 * found.gap or name == "ssm-irregular"  # one baseline
    for one, by_hour in found.by_hour.items():
        if one.parameter not in few.payload.descriptor_names:
            np.testing.assert_allclose(by_hour.sum(axis=2), found.parts[one], atol=1e-5)
    if name in ("lstm", "ssm", "ssm-irregular"):  # the others say of every hour that there was nothing
        never = found.parts[Source("Never", "missingness")]
        assert np.abs(never).max() == 0  # nobody measured it, so nothing is its doing
        nothing = {one: parts[0, 0] for one, parts in found.parts.items() if one.parameter == "HR"}
        assert few.payload.n_events[0] == 0
        assert set(nothing.values()) == {0.0}


def test_linear_parts_add_up_to_the_score():
    train = labelled(random_rows(60, 0), "multiclass")
    model = Logistic(target=TARGETS["multiclass"], featurizer=Tabular(scaling="quantile", one_hot=["Age"]))
    model.fit(train, None, seed=0)
    found = attribute(model, train, Steps(0, 1))
    left = TARGETS["multiclass"].scores(model.predict(train)) - sum(found.parts.values())
    left -= left.mean(axis=1, keepdims=True)  # scores of several classes are known up to a constant
    assert np.ptp(left, axis=0).max() < 1e-5
    assert {one.parameter for one in found.parts} == {"Age", "Income", "HighBP", "BMI"}
    both = mean([found, replace(found, parts={}, gap=1.0)])
    np.testing.assert_allclose(both.parts[Source("BMI", "value")], found.parts[Source("BMI", "value")] / 2)
    assert both.gap == 1.0


def test_what_cannot_be_attributed_says_why():
    class Other(Model):
        fit = predict = save = restore = export = None

    with pytest.raises(Unexplained, match="no attribution for a Other"):
        attribute(Other(), records("binary", 4), Steps(0, 1))
    train = labelled(random_events(30, 1))
    raw = MLP(target=TARGETS["binary"], featurizer=Statistics(), width=8, max_epochs=1, accelerator="cpu")
    raw.fit(train, None, seed=0, steps=1)
    with pytest.raises(Unexplained, match="missing values"):
        attribute(raw, train, Steps(0, 1))
    assert sources(raw.featurizer.transform(train))
