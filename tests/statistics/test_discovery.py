"""Slices by measured values: a planted one is found and holds on other patients, luck does not."""

from __future__ import annotations

import numpy as np
import pytest

from ehrbench.core.views import Table
from ehrbench.statistics.discovery import Calls, Condition, discover

NAMES = (*(f"noise{i}.mean" for i in range(30)), "lactate.max", "age.descriptor", "sex")


def units(n: int = 3000, seed: int = 0, *, planted: bool = True) -> Calls:
    """Calls wrong for one in ten; and, planted, for six in ten of old patients of high lactate."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, len(NAMES))).astype(np.float32)
    x[:, -1] = rng.random(n) < 0.5
    x[rng.random(n) < 0.3, 0] = np.nan
    here = planted & (x[:, -3] > 0.84) & (x[:, -2] > 0.84)  # each the highest fifth
    positive, wrong = rng.random(n) < 0.3, rng.random(n) < np.where(here, 0.6, 0.1)
    return Calls(Table(x, NAMES), wrong, positive, positive ^ wrong, np.arange(n))


def test_a_planted_slice_is_found_and_holds_on_other_patients():
    found = discover(units(), seed=0)["found"]
    first = found[0]
    assert {c.split(" ")[0] for c in first["conditions"]} == {"lactate.max", "age.descriptor"}
    assert all("≥" in c for c in first["conditions"])
    assert first["low"] < 0.6 < first["high"]
    assert first["rest"] == pytest.approx(0.1, abs=0.03)
    assert first["excess_low"] > 0.3
    assert first["p_holm"] < 1e-6


def test_what_luck_found_looks_bad_only_where_it_was_found():
    found = [
        one for seed in range(100, 125) for one in discover(units(1500, seed, planted=False), seed)["found"]
    ]
    assert len(found) > 100
    searched = np.mean([one["searched_wrong"] - one["rest"] for one in found])
    judged = np.array([one["excess"] for one in found])
    assert searched > 0.05  # the choice flatters
    assert abs(judged.mean()) < 0.01  # and the other half does not
    assert np.mean([one["p_value"] < 0.05 for one in found]) < 0.12
    assert np.mean([one["excess_low"] <= 0 <= one["excess_high"] for one in found]) > 0.88


def test_units_of_a_patient_are_counted_together():
    data = units()
    once, twice = (discover(Calls.joined([data] * k), 0)["found"][0] for k in (1, 2))
    assert twice["n"] == 2 * once["n"]
    for end in ("low", "high", "excess_low", "excess_high", "p_value"):  # twice the rows, no more patients
        assert twice[end] == pytest.approx(once[end], rel=1e-6)


def test_equal_seeds_give_equal_slices_and_no_two_are_nearly_the_same():
    data = units()
    twice = Calls(Table(np.hstack([data.table.values] * 2), (*NAMES, *(f"{n}.again" for n in NAMES))),
                   data.wrong, data.positive, data.called, data.group)  # fmt: skip
    found = discover(twice, seed=3)
    assert found == discover(twice, seed=3)
    shown = [tuple(c.replace(".again", "") for c in one["conditions"]) for one in found["found"]]
    assert len({tuple(sorted(set(one))) for one in shown}) == len(shown)


@pytest.mark.parametrize("wrong", [0.0, 1.0])
def test_always_right_and_always_wrong_have_no_slices(wrong):
    data = units()
    data = Calls(data.table, np.full(3000, wrong > 0), data.positive, data.called, data.group)
    assert discover(data, seed=0)["found"] == []


def test_conditions_cut_as_they_say():
    table = Table(np.array([[1, 0], [2, np.nan], [3, 1]], dtype=np.float32), ("a", "b"))
    for condition, inside, said in [
        (Condition("a", "≤", 2.0), [1, 1, 0], "a ≤ 2"),
        (Condition("a", "≥", 2.0), [0, 1, 1], "a ≥ 2"),
        (Condition("b", "=", 1.0), [0, 0, 1], "b = 1"),
        (Condition("b", "missing", None), [0, 1, 0], "b missing"),
    ]:
        assert condition.of(table).tolist() == [bool(i) for i in inside]
        assert condition.words({}, lambda column: "") == said


def test_amounts_are_said_with_their_unit_and_categories_by_name():
    unit_of = {"lactate.max": "mmol/L"}.get
    for condition, said in [
        (Condition("lactate.max", "≥", 4.0), "lactate.max ≥ 4 mmol/L"),
        (Condition("lactate.max", "missing", None), "lactate.max missing"),
        (Condition("HR.slope@24-48", "≤", -2.0), "HR.slope@24-48 ≤ −2"),
        (Condition("count", "=", 1.0), "count = 1"),
        (Condition("ward", "=", 2.0), "ward = surgical ward"),
    ]:
        words = condition.words({"ward": ("burns", "medical", "surgical ward")}, lambda c: unit_of(c, ""))
        assert words == said


def test_a_planted_level_of_a_category_is_found_by_its_name():
    rng = np.random.default_rng(0)
    levels = tuple(f"ward {k}" for k in range(12))  # more than are cut at each value of a number
    ward = rng.integers(0, 12, 4000)
    wrong = rng.random(4000) < np.where(ward == 5, 0.6, 0.1)
    table = Table(ward[:, None].astype(np.float32), ("ward",), {"ward": levels})
    data = Calls(table, wrong, wrong, ~wrong, np.arange(4000))
    assert discover(data, seed=0)["found"][0]["conditions"] == ["ward = ward 5"]
