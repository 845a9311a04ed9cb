"""Auxiliary labels: learned from, never predicted; and two boosters folded into one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest
from scipy.special import expit

from ehrbench.core.records import Records
from ehrbench.core.target import Kind
from ehrbench.models.folding import folded
from tests.models.configured import small
from tests.models.test_contract import KINDS
from tests.models.toy import TARGETS, records

NETWORKS = ("lstm", "ssm", "dssm", "mlp")


def with_auxiliary(kind: Kind, n: int = 120, seed: int = 0, known: float = 0.9) -> Records:
    """A wider event (it rises earlier than the target's), and one that has nothing to do with it."""
    toy = records(kind, n, seed)
    rng = np.random.default_rng(seed + 1)
    rise = np.concatenate(toy.payload.blocks)[:, -1, 0]  # type: ignore[attr-defined]
    positive = toy.labels[:, 0] == 1
    labels = {
        "wider": ((rise > 0) | positive).astype(float),
        "unrelated": rng.integers(0, 2, len(rise)) * 1.0,
    }
    for label in labels.values():
        label[rng.random(len(label)) > known] = np.nan
    return replace(toy, auxiliary=labels)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_learns_from_them_and_keeps_no_score_of_them(name: str, kind: Kind, tmp_path: Path) -> None:
    train, valid = with_auxiliary(kind), with_auxiliary(kind, 50, 1)
    plain, joint = (small(name, kind, auxiliary_weight=weight) for weight in (0.0, 1.0))
    for model in (plain, joint):
        model.fit(train, valid, seed=1)
    assert joint.predict(valid).shape == (valid.total_units, TARGETS[kind].n_classes)
    assert not np.array_equal(joint.predict(valid), plain.predict(valid))
    joint.save(tmp_path)
    again = small(name, kind)  # without the setting: what was learned beside is gone
    again.restore(tmp_path)
    np.testing.assert_array_equal(again.predict(valid), joint.predict(valid))


@pytest.mark.parametrize("name", [*NETWORKS, "lightgbm"])
def test_without_any_the_settings_change_nothing(name: str) -> None:
    train, valid = records("binary"), records("binary", 50, seed=1)
    setting = "auxiliary_share" if name == "lightgbm" else "auxiliary_weight"
    with_it, without = (small(name, "binary", **{setting: value}) for value in (0.5, 0.0))
    for model in (with_it, without):
        model.fit(train, valid, seed=1)
    np.testing.assert_array_equal(with_it.predict(valid), without.predict(valid))


def test_trees_learn_from_outcomes_that_the_target_implies_only() -> None:
    train, valid = with_auxiliary("binary", known=1.0), with_auxiliary("binary", 50, 1)
    plain, mixed, unrelated = (
        small("lightgbm", "binary", auxiliary_share=share) for share in (0.0, 0.5, 0.5)
    )
    plain.fit(train, valid, seed=1)
    mixed.fit(train, valid, seed=1)
    other = replace(train, auxiliary={"unrelated": train.auxiliary["unrelated"]})
    unrelated.fit(other, valid, seed=1)
    np.testing.assert_array_equal(unrelated.predict(valid), plain.predict(valid))
    assert not np.array_equal(mixed.predict(valid), plain.predict(valid))
    assert abs(mixed.predict(train).mean() - train.labels.mean()) < 1e-6  # more frequent, but not the risk


@pytest.mark.parametrize("early", [False, True])
def test_a_folded_booster_is_the_mix_of_two(early: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 5))
    y = (x[:, 0] + 0.5 * rng.normal(size=400) > 1).astype(float)
    share = np.clip(y + 0.5 * (x[:, 1] > 0), 0, 1)
    params = {"verbosity": -1, "num_leaves": 6, "num_threads": 1}
    callbacks = [lgb.early_stopping(3, verbose=False)] if early else []
    data = lgb.Dataset(x[:300], y[:300])
    check = lgb.Dataset(x[300:], y[300:], reference=data)
    main = lgb.train(params | {"objective": "binary"}, data, 60, valid_sets=[check], callbacks=callbacks)
    other = lgb.train(params | {"objective": "cross_entropy"}, lgb.Dataset(x, share), 30)
    assert not early or main.best_iteration < 60
    a, b = (booster.predict(x, raw_score=True) for booster in (main, other))
    one = folded(main, other, 0.3, x, y)
    score = np.asarray(one.predict(x, raw_score=True))
    shift = score - (0.7 * a + 0.3 * b)
    np.testing.assert_allclose(shift, shift[0], atol=1e-12)
    np.testing.assert_allclose(expit(score).mean(), y.mean(), atol=1e-9)
    assert one.num_trees() == (main.best_iteration if early else 60) + 30
