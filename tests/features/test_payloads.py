"""Events and Rows: taking, joining, digests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrbench.core.records import Divisible, Payload
from ehrbench.features.events import concatenate, event_order
from ehrbench.features.rows import Rows
from tests.features.payloads import events_of, random_events, random_rows


@pytest.mark.parametrize("make", [random_events, random_rows])
def test_payloads_keep_the_contract(make):
    payload = make(30, 1)
    assert isinstance(payload, Payload)
    digests = payload.digests()
    assert len(digests) == 30
    index = np.array([7, 0, 29, 7])
    assert payload.take(index).digests().tolist() == digests[index].tolist()
    assert len(payload.take(np.array([], dtype=int))) == 0


def test_digests_tell_any_change_apart():
    base = [(0, "HR", 5, 80.0), (0, "GCS", 6, 9.0)]
    changed = [
        [(0, "HR", 5, 81.0), base[1]],
        [(0, "HR", 4, 80.0), base[1]],
        [(0, "MAP", 5, 80.0), base[1]],
        [base[0]],
    ]
    digests = {str(events_of(cells, 1).digests()[0]) for cells in [base, *changed]}
    described = events_of(base, 1, np.array([[1, 2, 3, 4, 5]])).digests()[0]
    assert len(digests | {str(described)}) == 6
    assert events_of(base[::-1], 1).digests() == events_of(base, 1).digests(), (
        "the file's order does not count"
    )


def test_rows_digests_are_equal_for_equal_rows_only():
    values = np.array([[0.0, np.nan], [-0.0, np.nan], [0, 1], [1, 0]], dtype=np.float32)
    digests = Rows(values, ("a", "b")).digests()
    assert digests[0] == digests[1]
    assert len(set(digests.tolist())) == 3


def test_concatenate_is_the_inverse_of_take():
    events = random_events(20, 3)
    parts = [events.take(np.arange(0, 7)), events.take(np.arange(7, 20))]
    assert concatenate(parts).digests().tolist() == events.digests().tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 36), st.integers(0, 2880)), max_size=60),
)
def test_event_order_is_a_stable_sort(rows):
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3)
    order = event_order(columns[:, 0], columns[:, 1], columns[:, 2])
    assert order.tolist() == sorted(range(len(rows)), key=lambda i: rows[i])


@pytest.mark.parametrize("most", [100, 3])
def test_a_patient_is_taken_apart_by_variable_then_by_time(most):
    events = random_events(30, 2).take(np.array([int(np.diff(random_events(30, 2).starts).argmax())]))
    assert isinstance(events, Divisible)
    names, shown = events.evidence(), events.shown()
    pieces = events.pieces(most)
    assert len(pieces) <= most
    covered = {name for start, stop in pieces for name in names[start:stop]}
    assert {name for name, value in zip(names, shown["values"], strict=True) if value is not None} <= covered
    together = events.without(pieces)
    for k, (start, stop) in enumerate(pieces):
        one = together.take(np.array([k]))
        gone = set(names[start:stop])
        assert not gone & {one.parameters[p] for p in one.parameter}
        kept = [
            (m, p, v)
            for m, p, v in zip(events.minute, events.parameter, events.value, strict=True)
            if events.parameters[p] not in gone
        ]
        assert [*zip(one.minute, one.parameter, one.value, strict=True)] == kept
        parts = [one for one in events.pieces(16, (start, stop)) if len(one) == 4]
        for part in parts:
            lacks = events.without([part])
            assert (
                0
                < len(events.minute) - len(lacks.minute)
                < (events.parameter == events.parameters.index(names[start])).sum()
            )
