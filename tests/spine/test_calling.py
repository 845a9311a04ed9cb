"""Calls mended along a record: levels stand for every threshold, and the choice is made as a threshold is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehrbench import metrics
from ehrbench.core.calling import Calling
from ehrbench.core.target import Target
from ehrbench.core.types import BoolArray
from ehrbench.spine.thresholds import CALLINGS, ThresholdRule
from ehrbench.statistics.fold_data import FoldData

TARGET = Target("binary", ("anomaly",))


def mended(called: BoolArray, calling: Calling) -> BoolArray:
    """One record's calls (n,), as a person would do it."""
    called, on = called.copy(), np.flatnonzero(called)
    for a, b in pairwise(on):
        if b - a - 1 <= calling.longest_gap:
            called[a:b] = True
    edges = np.flatnonzero(np.diff(np.r_[0, called.astype(int), 0]))
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        if end - first < calling.shortest_run:
            called[first:end] = False
    return called


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    gap=st.integers(0, 4),
    run=st.integers(1, 5),
    seed=st.integers(0, 10**6),
)
def test_levels_are_the_mended_calls_at_every_threshold(
    lengths: list[int], gap: int, run: int, seed: int
) -> None:
    n_units, calling = np.array(lengths), Calling(gap, run)
    p = np.random.default_rng(seed).choice([0.1, 0.3, 0.5, 0.7, 0.9], size=(sum(lengths), 2))
    levels, ends = calling.levels(p, n_units), np.cumsum(n_units)[:-1]
    for threshold in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        for c in range(2):
            parts = [mended(part, calling) for part in np.split(p[:, c] >= threshold, ends)]
            np.testing.assert_array_equal(levels[:, c] >= threshold, np.concatenate(parts))


def test_plain_calls_are_the_probabilities_themselves() -> None:
    p = np.array([[0.2], [0.7]])
    assert Calling().levels(p, np.array([2])) is p
    assert Calling(3, 4).levels(p[:0], np.array([0])).shape == (0, 1)
    for wrong in ((-1, 1), (0, 0)):
        with pytest.raises(ValueError, match="gaps of"):
            Calling(*wrong)


def runs_with_noise(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of eight records of 200 units with runs of 12, and probabilities that flicker."""
    rng = np.random.default_rng(seed)
    y = np.zeros((8, 200))
    for row in y:
        for start in rng.choice(15, 3, replace=False) * 12:
            row[start : start + 12] = 1
    p = TARGET.probabilities(1.6 * (2 * y - 1) + rng.normal(0, 1.6, y.shape))
    return y.reshape(-1, 1), p.reshape(-1, 1), np.full(8, 200)


def test_the_choice_mends_calls_where_units_come_in_runs() -> None:
    rule, f1 = ThresholdRule("f1"), metrics.load("f1")
    y, p, n_units = runs_with_noise(0)
    calling, threshold = rule.choose_calling(y, p, TARGET, n_units)
    assert not calling.plain
    y, p, n_units = runs_with_noise(1)  # judged on others
    plain = f1(y, p, target=TARGET, threshold=rule.choose(y, p, TARGET))
    assert f1(y, calling.levels(p, n_units), target=TARGET, threshold=threshold) > plain + 0.03


def test_units_that_do_not_come_in_runs_keep_their_calls() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random((400, 1)) < 0.3).astype(float)
    p = TARGET.probabilities(3 * (2 * y - 1) + rng.normal(0, 1, y.shape))
    calling, threshold = ThresholdRule("f1").choose_calling(y, p, TARGET, np.full(4, 100))
    assert calling.plain
    assert threshold == ThresholdRule("f1").choose(y, p, TARGET)
    assert ThresholdRule("fixed", 0.4).choose_calling(*runs_with_noise(0)[:2], TARGET, np.full(8, 200)) == (
        Calling(),
        0.4,
    )
    assert CALLINGS[0].plain


def test_metrics_of_decisions_see_levels_and_others_probabilities() -> None:
    y = np.array([[0.0], [1], [1], [1], [0], [0], [0]])
    p = np.array([[0.1], [0.9], [0.2], [0.8], [0.1], [0.1], [0.7]])
    levels, owner = Calling(1, 2).levels(p, np.array([7])), np.zeros(7, dtype=np.int64)
    fold = FoldData(y, p, owner, np.array([0.5]), record=owner, levels=levels)
    assert fold.value(metrics.load("f1"), TARGET) == 1
    assert fold.value(metrics.load("event_f1"), TARGET) == 1
    assert fold.value(metrics.load("auroc"), TARGET) == metrics.load("auroc")(y, p, target=TARGET)
    weights = np.ones((1, 7))
    for name in ("f1", "event_f1", "run_end_error", "auroc"):
        metric = metrics.load(name)
        assert fold.weighted(metric, TARGET)(weights)[0] == pytest.approx(fold.value(metric, TARGET))
