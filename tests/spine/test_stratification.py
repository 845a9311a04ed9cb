"""Groups dealt by class: as even as whole groups allow, the rarest class first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrbench.spine.stratification import parts
from tests.spine.test_scored import labelled


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(2, 6), st.integers(12, 200))
def test_of_one_class_each_every_part_has_its_share_to_within_one(seed, k, n):
    rng = np.random.default_rng(seed)
    y = np.eye(5)[rng.choice(5, n, p=[0.5, 0.3, 0.1, 0.07, 0.03])]
    found = parts(labelled(y), np.arange(n), np.arange(n), k, seed)
    for column in y.T:
        assert np.ptp(np.bincount(found[column == 1], minlength=k)) <= 1
    assert set(found) <= set(range(k))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(2, 6), st.integers(30, 200))
def test_the_rarest_of_several_labels_is_dealt_as_evenly_as_can_be_and_sizes_stay_close(seed, k, n):
    rng = np.random.default_rng(seed)
    y = (rng.random((n, 8)) < np.geomspace(0.05, 0.5, 8)).astype(float)
    found = parts(labelled(y), np.arange(n), np.arange(n), k, seed)
    has = [c for c in range(8) if y[:, c].sum() > 0]
    rarest = min(has, key=lambda c: (y[:, c].sum(), c))
    assert np.ptp(np.bincount(found[y[:, rarest] == 1], minlength=k)) <= 1
    assert np.ptp(np.bincount(found, minlength=k)) <= max(4, 0.25 * n / k)


def test_groups_stay_whole_and_equal_seeds_give_equal_parts():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 60, 300)
    records = labelled((rng.random((300, 6)) < 0.1).astype(float))
    one, other = (parts(records, np.arange(300), group, 4, seed) for seed in (1, 2))
    assert np.array_equal(one, parts(records, np.arange(300), group, 4, 1))
    assert not np.array_equal(one, other)
    assert len(set(zip(group, one, strict=True))) == len(np.unique(group))


def test_a_class_that_nearly_all_have_is_spread_by_those_who_have_it_not():
    y = np.ones((200, 2))
    y[:8, 0] = 0
    y[::2, 1] = 0
    found = parts(labelled(y), np.arange(200), np.arange(200), 4, 0)
    assert np.bincount(found[:8], minlength=4).tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("n", [10, 23])
def test_a_rare_class_of_many_units_in_few_groups_is_spread_by_groups(n):
    """One patient with half of a class's images must not stand for a fold's share of patients."""
    rng = np.random.default_rng(n)
    group = np.repeat(np.arange(100), 6)
    y = (rng.random((600, 3)) < 0.3).astype(float)
    y[:, 0] = 0
    y[: 6 * 2, 0] = 1  # two groups with all of theirs
    y[12 : 6 * n : 6, 0] = 1  # and others with one each
    found = parts(labelled(y), np.arange(600), group, 3, 0)
    owners = [len(np.unique(group[(found == i) & (y[:, 0] == 1)])) for i in range(3)]
    assert max(owners) - min(owners) <= 1
