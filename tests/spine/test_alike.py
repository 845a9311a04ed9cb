"""Near duplicates under two ids: found in every kind of payload, counted by what the split does, joined."""

from __future__ import annotations

import numpy as np
import pytest

from ehrbench.core.records import Likened, Payload, Records
from ehrbench.features.beats import Beats
from ehrbench.features.events import Events, event_order
from ehrbench.features.pictures import Pictures
from ehrbench.features.rows import Rows
from ehrbench.features.texts import Texts
from ehrbench.spine.alike import Alike, alike_groups, count, joined
from ehrbench.spine.folds import holdout, nested

N = 60


def rows(rng: np.random.Generator) -> Payload:
    """Eight measurements; the copy is what another export rounded."""
    values = rng.lognormal(3, 1, size=(N, 8))
    digits = 10 ** np.floor(np.log10(values[0]) - 1)
    values[0] = np.rint(values[0] / digits) * digits
    values[1] = values[0] * 1.001
    return Rows(values.astype(np.float32), tuple("abcdefgh"))


def events(rng: np.random.Generator) -> Payload:
    """300 measurements; the copy lacks a few, and counts minutes from a little later."""
    minute, parameter = rng.integers(0, 2880, (N, 300)), rng.integers(0, 6, (N, 300))
    value = rng.normal(100, 20, (N, 300))
    minute[1], parameter[1], value[1] = minute[0] + (minute[0] % 60 < 58), parameter[0], value[0]
    minute[1, :5], value[1, :5] = 7, 1.0
    owner = np.repeat(np.arange(N), 300)
    order = event_order(owner, parameter.ravel(), minute.ravel())
    return Events(
        np.arange(N + 1) * 300,
        minute.ravel()[order].astype(np.int32),
        parameter.ravel()[order].astype(np.uint16),
        value.ravel()[order].astype(np.float32),
        np.zeros((N, 1), dtype=np.float32),
        tuple("abcdef"),
        ("age",),
    )


def beats(rng: np.random.Generator) -> Payload:
    """400 beats; the copy begins a few later, and its clock rounds otherwise."""
    rr = np.rint(rng.normal(800, 60, (N, 400)) / 10) * 10
    rr[1, :-7] = rr[0, 7:] + 3
    return Beats(np.arange(N + 1) * 400, rr.ravel().astype(np.float32), np.zeros(N * 400, dtype=np.float32))


def texts(rng: np.random.Generator) -> Payload:
    """150 words; the copy has another name and date."""
    words = np.array([f"w{i}" for i in range(400)])
    found = rng.choice(words, (N, 150))
    found[1] = found[0]
    found[1, [3, 90]] = "other", "name"
    return Texts(tuple(" ".join(one) for one in found))


def pictures(rng: np.random.Generator) -> Payload:
    """The copy is brighter, and noisier by a level."""
    coarse = rng.uniform(40, 200, (N, 9, 9))
    coarse[1] = coarse[0] + 20
    fine = np.kron(coarse, np.ones((8, 8))) + rng.integers(0, 2, (N, 72, 72))
    return Pictures.single(fine.astype(np.uint8))


def cohort(make) -> Records:
    payload = make(np.random.default_rng(3))
    ids = np.array([f"r{i}" for i in range(N)])
    y = (np.arange(N) % 3 == 0).astype(float)[:, None]
    return Records(ids, ids, payload, np.ones(N, dtype=np.int64), y)


every_payload = pytest.mark.parametrize("make", [rows, events, beats, texts, pictures])


@every_payload
def test_the_same_patient_under_two_ids_is_found_and_nobody_else(make):
    records = cohort(make)
    assert isinstance(records.payload, Likened)
    groups = alike_groups(records)
    assert groups[0] == groups[1]
    assert len(np.unique(groups)) == N - 1
    assert joined(records).groups.tolist() == ["r0", "r0", *records.groups[2:]]


@every_payload
def test_what_a_split_tests_on_its_like_is_counted_and_is_none_once_joined(make):
    records = cohort(make)
    apart = holdout(records, np.arange(1, N), np.array([0, *range(2, N, 3)]), 2, 0, "x", "drop")
    assert count(records, apart).n_records == 2
    assert count(records, apart).n_tested == 1
    split = nested(joined(records), 3, 2, seed=0)
    assert count(joined(records), split) == Alike(0, 0)


def test_what_is_too_small_to_be_told_apart_is_not_compared():
    """Everybody of one age and sex would be one patient."""
    few = Rows(np.full((20, 3), 7, dtype=np.float32), tuple("abc"))
    short = Texts(("no complaints today",) * 20)
    assert not few.likenesses().any()
    assert not short.likenesses().any()
