"""What every calibrator promises: order kept, no steps, JSON; and that each mends what it is for."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrbench import metrics
from ehrbench.ensemble import CALIBRATORS
from ehrbench.ensemble.isotonic import MAX_SLOPE, Isotonic
from ehrbench.ensemble.platt import Platt
from ehrbench.ensemble.temperature import Temperature
from tests.ensemble.simulated import BINARY, TARGETS, members

every_calibrator = pytest.mark.parametrize("name", CALIBRATORS)
every_target = pytest.mark.parametrize("kind", TARGETS)


@every_calibrator
@every_target
def test_it_gives_probabilities_and_survives_json_to_the_last_bit(name, kind):
    target = TARGETS[kind]
    scores, y, _ = members(target, n=500)
    p = target.probabilities(2 * scores["ssm"])
    y[::4] = np.nan
    calibrator = CALIBRATORS[name]().fit(p, y, target=target)
    q = calibrator.apply(p)
    assert q.shape == p.shape
    assert ((q > 0) & (q < 1)).all()
    if kind == "multiclass":
        np.testing.assert_allclose(q.sum(axis=1), 1, atol=1e-12)
    again = CALIBRATORS[name].from_json(json.loads(json.dumps(calibrator.to_json())), target)
    assert np.array_equal(again.apply(p), q)


@every_calibrator
@given(
    p=st.lists(st.sampled_from([0.0, 1e-9, 0.1, 0.1 + 1e-9, 0.2, 0.5, 0.8, 1.0]), min_size=2, max_size=30),
    data=st.data(),
)
@settings(max_examples=30, deadline=None)
def test_order_is_kept_and_a_small_step_stays_small(name, p, data):
    y = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=len(p), max_size=len(p))))
    calibrator = CALIBRATORS[name]().fit(np.array(p)[:, None], y[:, None], target=BINARY)
    grid = np.linspace(0, 1, 2001)[:, None]
    q = calibrator.apply(grid)[:, 0]
    assert (np.diff(q) >= 0).all()
    assert np.isfinite(q).all()
    if name == "isotonic":
        assert (np.diff(q) > 0).all()
        step = np.abs(calibrator.apply(grid + 1e-5) - calibrator.apply(grid)).max()
        assert step <= MAX_SLOPE * 1e-5 * 1.001


def test_temperature_and_platt_undo_what_was_done_to_true_logits():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(60_000, 1)) - 1
    y = (rng.random(z.shape) < BINARY.probabilities(z)).astype(float)
    hot = Temperature().fit(BINARY.probabilities(2.5 * z), y, target=BINARY)
    assert hot.slope[0] == pytest.approx(1 / 2.5, rel=0.03)
    off = Platt().fit(BINARY.probabilities(2.5 * z + 1), y, target=BINARY)
    assert off.slope[0] == pytest.approx(1 / 2.5, rel=0.03)
    assert off.bias[0] == pytest.approx(-1 / 2.5, abs=0.04)


@pytest.mark.parametrize("name", ["platt", "isotonic"])
def test_a_shifted_model_comes_out_calibrated(name):
    scores, y, _ = members(n=8000)
    p = BINARY.probabilities(scores["lstm"])
    ece, auroc = metrics.load("ece"), metrics.load("auroc")
    q = CALIBRATORS[name]().fit(p[::2], y[::2], target=BINARY).apply(p[1::2])
    assert ece(y[1::2], p[1::2], target=BINARY) > 0.15
    assert ece(y[1::2], q, target=BINARY) < 0.04
    assert auroc(y[1::2], q, target=BINARY) == pytest.approx(
        auroc(y[1::2], p[1::2], target=BINARY), abs=1e-12
    )


def test_platt_of_one_class_stays_finite_and_does_not_turn_the_order_round():
    p = np.linspace(0.1, 0.9, 20)[:, None]
    none_died = Platt().fit(p, np.zeros_like(p), target=BINARY).apply(p)
    assert (none_died < p).all()
    reversed_labels = Platt().fit(p, (p < 0.5).astype(float), target=BINARY).apply(p)
    assert (np.diff(reversed_labels[:, 0]) > 0).all()


def test_isotonic_joins_the_middles_of_its_blocks():
    p = np.repeat([0.2, 0.4, 0.6, 0.8], 100)[:, None]
    y = np.concatenate([np.r_[np.ones(k), np.zeros(100 - k)] for k in (10, 30, 20, 70)])[:, None]
    calibrator = Isotonic().fit(p, y, target=BINARY)
    got = calibrator.apply(np.array([[0.2], [0.35], [0.5], [0.8]]))[:, 0]
    np.testing.assert_allclose(got, [0.1, 0.1 + 0.15 * (0.15 / 0.3), 0.25, 0.7], atol=1e-12)


def test_isotonic_goes_no_further_than_its_blocks_support():
    """60 patients at 2 % without an event do not speak for 0.075 %, however many lie above them."""
    p = np.r_[np.linspace(0.015, 0.031, 60), np.linspace(0.05, 0.9, 600)]
    y = np.r_[np.zeros(60), np.arange(600) % 3 == 0]
    below = np.array([[0.015], [0.023], [0.031]])
    got = Isotonic().fit(p[:, None], y[:, None], target=BINARY).apply(below)[:, 0]
    assert (got >= 0.5 * 0.5 / 61).all()
    assert got[1] == pytest.approx(0.5 / 61, rel=0.05)
    owner = np.r_[np.zeros(60, int), np.arange(1, 601)]  # all of one recording: no evidence to leave 2.3 %
    one = Isotonic().fit(p[:, None], y[:, None], target=BINARY, group=owner).apply(below)[:, 0]
    assert one[1] == pytest.approx(0.023, rel=0.05)
    ends = Isotonic().fit(1 - p[:, None], 1 - y[:, None], target=BINARY).apply(1 - below)[:, 0]
    np.testing.assert_allclose(1 - ends, got, rtol=1e-9)


def test_an_end_block_smaller_than_its_neighbour_keeps_the_order():
    p, y = np.r_[0.3, np.full(1000, 0.31), np.full(1000, 0.6)], np.zeros(2001)
    y[1:11], y[1001:1301] = 1, 1
    got = Isotonic().fit(p[:, None], y[:, None], target=BINARY).apply(np.array([[0.3], [0.31], [0.6]]))[:, 0]
    np.testing.assert_allclose(got, [0.01, 0.0103, 0.3], atol=0.001)
    assert (np.diff(got) > 0).all()
