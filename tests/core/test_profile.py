"""The profile of training records: bins that a monitor can count into, and in which nobody can be found."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ehrbench.core.errors import BundleError
from ehrbench.core.profile import ABSENT, FEWEST, UNKNOWN, Bins, Profile, bins, profile
from ehrbench.core.target import Target
from ehrbench.core.views import Table


def alone(n: int) -> np.ndarray:
    return np.array([f"g{i}" for i in range(n)])


def test_a_number_is_told_by_its_deciles() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1000.0))
    made = bins(values, alone(1000))
    assert made.counts == (100,) * 10
    assert made.edges == tuple(np.arange(99.5, 900, 100))


def test_codes_are_not_cut_apart() -> None:
    values = np.repeat([0.0, 1.0, 7.0], [500, 300, 200])
    made = bins(values, alone(1000))
    assert (made.edges, made.counts) == ((0.5, 4.0), (500, 300, 200))


def test_a_rare_code_is_merged_with_its_smaller_neighbour() -> None:
    values = np.repeat([0.0, 1.0, 2.0], [500, 5, 200])
    assert bins(values, alone(705)).counts == (500, 205)


def test_rare_categories_are_others_and_so_is_what_was_never_seen() -> None:
    levels = ("a", "b", "c", "d")
    values = np.repeat([0.0, 1.0, 2.0, 3.0], [50, 30, 3, 2])
    made = bins(values, alone(85), levels)
    assert (made.levels, made.counts) == (("a",), (50, 35))  # five others alone would stand out: b joins them
    counts, missing = made.count(np.array([0.0, 1.0, np.nan, 0.0]), ("new", "a"))
    assert (counts.tolist(), missing) == ([1, 2], 1)


def test_few_missing_or_few_known_values_are_not_told() -> None:
    values = np.arange(100.0)
    values[:3] = np.nan
    made = bins(values, alone(100))
    assert (sum(made.counts), made.missing) == (100, 0)
    values[5:] = np.nan
    assert bins(values, alone(100)) == Bins((), (), (0,), 100)
    values = np.repeat([np.nan, 1.0], 50)
    assert bins(values, alone(100)).missing == 50


def test_a_patient_with_many_records_fills_no_bin_alone() -> None:
    values = np.concatenate([np.zeros(100), np.full(100, 9.0)])
    whose = np.concatenate([alone(100), np.full(100, "one")])
    assert bins(values, whose).counts == (200,)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_bin_holds_enough_groups_or_none(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 120))
    category = data.draw(st.booleans())
    number = st.floats(-1e3, 1e3, width=32)
    cell = st.integers(0, 5).map(float) if category else number
    values = data.draw(hnp.arrays(np.float64, n, elements=st.one_of(st.just(np.nan), cell)))
    groups = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, 60))).astype(str)
    levels = tuple("abcdef") if category else ()
    made = bins(values, groups, levels)
    assert sum(made.counts) + made.missing == n
    assert list(made.edges) == sorted(set(made.edges))
    known = ~np.isnan(values)
    if made.missing:
        assert made.missing == n or len(set(groups[~known])) >= FEWEST
    place = made._place(values[known], levels)
    for k, count in enumerate(made.counts):
        if count and made.missing != n:
            assert len(set(groups[known][place == k])) >= FEWEST


def test_read_back_and_refused_when_it_is_none() -> None:
    rng = np.random.default_rng(0)
    table = Table(rng.normal(size=(200, 2)).astype(np.float32), ("age, years", "weight, kg"))
    made = profile(table, alone(200), rng.random((200, 1)), alone(200), Target("binary", ("death",)))
    assert Profile.from_json(made.to_json()) == made
    assert set(made.variables) == {"age, years", "weight, kg"}
    assert sum(made.probabilities["death"].counts) == 200
    raw = json.loads(made.to_json())
    for broken in ({**raw, "format": 2}, {**raw, "variables": {"a": {"edges": [1.0]}}}, []):
        with pytest.raises(BundleError, match="profile"):
            Profile.from_json(json.dumps(broken))


def test_the_places_of_records_are_the_bins_that_are_counted() -> None:
    rng = np.random.default_rng(3)
    values = np.c_[rng.normal(size=300), rng.integers(0, 3, 300), rng.normal(size=300), rng.normal(size=300)]
    values[rng.random(values.shape) < 0.2] = np.nan
    levels = {"ward": ("a", "b", "c")}
    names = ("age", "ward", "gone", "rate")
    made = profile(
        Table(values, names, levels), alone(300), rng.random((300, 1)), alone(300), Target("binary", ("y",))
    )
    values[0, 0] = np.inf
    later = Table(values[:, [3, 1, 0]], ("rate", "ward", "age"), {"ward": ("new", "c", "a")})
    places = made.places(later)
    for k, name in enumerate(names):
        if name == "gone":
            assert (places[:, k] == ABSENT).all()
            continue
        counts, missing = made.variables[name].count(values[:, k], later.levels.get(name, ()))
        known = places[:, k][places[:, k] != UNKNOWN]
        assert np.bincount(known, minlength=len(counts)).tolist() == counts.tolist()
        assert (places[:, k] == UNKNOWN).sum() == missing
