"""Drift: nothing is flagged that is not there, however often one looks; what is planted is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ehrbench.core.profile import Profile, profile
from ehrbench.core.target import Target
from ehrbench.core.views import Table
from ehrbench.monitor.drift import ALPHA, Drift, drift
from ehrbench.monitor.observed import Observed

NAMES = ("age", "ward", "lactate", "rate")
LEVELS = {"ward": ("a", "b", "c", "d")}
N_TRAINING = 600


def patients(rng: np.random.Generator, n: int, older: float = 0.0, unmeasured: float = 0.3) -> Table:
    values = rng.normal(size=(n, 4))
    values[:, 0] += older
    values[:, 1] = rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05])
    values[rng.random(n) < unmeasured, 2] = np.nan
    return Table(values, NAMES, LEVELS)


def trained(rng: np.random.Generator) -> Profile:
    named = np.arange(N_TRAINING).astype(str)
    return profile(
        patients(rng, N_TRAINING), named, rng.random((N_TRAINING, 1)), named, Target("binary", ("death",))
    )


def observed(of: Profile, *parts: Table) -> Observed:
    places = np.concatenate([of.places(part) for part in parts])
    n = len(places)
    p = np.full((n, 1), 0.5)
    return Observed(
        number=np.arange(1, n + 1),
        first=1,
        last=n,
        patient=np.arange(n).astype(str),
        made_at=np.datetime64("2026-01-01T00:00:00") + np.arange(n).astype("timedelta64[m]"),
        places=places,
        record=np.arange(n),
        p=p,
        called=p > 0.5,
        y=np.full((n, 1), np.nan),
        told=np.full(n, -1),
    )


def test_an_undisturbed_replay_is_flagged_seldom_however_often_one_looks() -> None:
    """More in ``benchmarks/monitoring.py``: here 200 replays of 11 looks each."""
    flagged = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        made = trained(rng)
        found = drift(made, observed(made, patients(rng, 700)), N_TRAINING)
        assert found.looks == 7 + 3 + 1
        flagged += bool(found.shifts)
    assert flagged <= 200 * ALPHA


def test_older_patients_are_flagged_and_named() -> None:
    rng = np.random.default_rng(1)
    made = trained(rng)
    found = drift(made, observed(made, patients(rng, 400), patients(rng, 400, older=1.0)), N_TRAINING)
    (shift,) = found.active
    assert (shift.column, shift.missing) == ("age", False)
    assert shift.now > shift.then + 0.2
    assert shift.until == "2026-01-01T13:19:00"
    assert shift.p <= shift.level < ALPHA


def test_a_laboratory_that_stops_is_flagged_as_missing() -> None:
    rng = np.random.default_rng(2)
    made = trained(rng)
    found = drift(made, observed(made, patients(rng, 300), patients(rng, 300, unmeasured=0.8)), N_TRAINING)
    assert [(shift.column, shift.missing, shift.what) for shift in found.active] == [
        ("lactate", True, "not known")
    ]


def test_what_has_passed_is_remembered_and_no_alarm() -> None:
    rng = np.random.default_rng(3)
    made = trained(rng)
    back = observed(made, patients(rng, 100, older=2.0), patients(rng, 3000))
    found = drift(made, back, N_TRAINING)
    assert [(shift.column, shift.n) for shift in found.shifts] == [("age", 100)]
    assert found.active == ()


def test_looks_stay_where_they_are_when_records_are_deleted() -> None:
    rng = np.random.default_rng(4)
    made = trained(rng)
    whole = observed(made, patients(rng, 500), patients(rng, 300, older=1.0))
    kept = np.flatnonzero(rng.random(800) > 0.02)
    fewer = replace(
        whole,
        number=whole.number[kept],
        patient=whole.patient[kept],
        made_at=whole.made_at[kept],
        places=whole.places[kept],
        first=int(whole.number[kept][0]),
    )
    # a block of 100 with fewer left is no look any more; all longer ones are
    assert drift(made, whole, N_TRAINING).looks == 15
    assert 4 + 2 + 1 <= drift(made, fewer, N_TRAINING).looks < 15
    assert [shift.column for shift in drift(made, fewer, N_TRAINING).active] == ["age"]
    old = replace(whole, first=301)  # swept: what began long before is not looked at again
    assert drift(made, old, N_TRAINING).looks == 5 + 2 + 1


def test_one_patient_many_times_is_no_drift() -> None:
    rng = np.random.default_rng(5)
    made = trained(rng)
    few = patients(rng, 20)
    often = Table(np.repeat(few.values, 40, axis=0), NAMES, LEVELS)
    whole = observed(made, often)
    assert drift(made, whole, N_TRAINING).shifts
    theirs = replace(whole, patient=np.repeat(np.arange(20).astype(str), 40))
    assert drift(made, theirs, N_TRAINING).shifts == ()


@pytest.mark.parametrize("n", [0, 99])
def test_a_few_records_are_not_looked_at(n: int) -> None:
    rng = np.random.default_rng(6)
    made = trained(rng)
    assert drift(made, observed(made, patients(rng, n, older=5.0)), N_TRAINING) == Drift((), 0)


def test_a_column_that_is_not_described_any_more_is_left_out() -> None:
    rng = np.random.default_rng(7)
    made = trained(rng)
    later = patients(rng, 200)
    fewer = Table(later.values[:, [0, 1, 3]], ("age", "ward", "rate"), LEVELS)
    assert drift(made, observed(made, fewer), N_TRAINING).shifts == ()
