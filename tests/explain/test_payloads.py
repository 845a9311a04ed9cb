"""Payloads taken apart: what is cut off or exchanged, and that nothing else is."""

from dataclasses import replace

import numpy as np
import pytest

from ehrbench.explain.payloads import Steps, exchanged, parameters, until
from ehrbench.features.grid import Grid
from ehrbench.features.statistics import Statistics
from tests.features.payloads import DESCRIPTORS, PARAMETERS, events_of, random_events, random_rows, records_of
from tests.models.toy import Series


def test_until_an_hour_what_was_measured_later_changes_nothing():
    events = random_events(30, 0)
    later = events.minute > 60 * 20
    other = replace(events, value=np.where(later, events.value + 1000, events.value))
    assert later.any()
    for featurizer in (Statistics(), Grid()):
        one, two = (featurizer.rows(until(records_of(e), 20)).arrays() for e in (events, other))
        for name, array in one.items():
            np.testing.assert_array_equal(array, two[name])
    assert (
        until(records_of(other), 21).payload.digests() != until(records_of(events), 21).payload.digests()
    ).any()


def test_until_the_last_hour_is_everything():
    events = random_events(30, 1)
    assert Steps.of(events) == Steps(48, 1)
    assert (until(records_of(events), 48).payload.digests() == events.digests()).all()
    counts = Steps.of(events).measured(events)
    assert (counts.sum(axis=1) == events.n_events).all()
    assert (counts.cumsum(axis=1)[:, 9] == until(records_of(events), 10).payload.n_events).all()


@pytest.mark.parametrize("parameter", ["HR", "Age", "Weight", "Never"])
def test_one_parameter_of_events_is_exchanged_and_no_other(parameter):
    whole, donors = random_events(25, 2), np.random.default_rng(0).permutation(25)
    index, records = exchanged(records_of(whole), parameter, donors)
    found, events, given = records.payload, whole.take(index), whole.take(donors[index])
    assert (records.ids == records_of(whole).ids[index]).all()
    assert (found.digests() != events.digests()).any() or parameter == "Never"
    for name in PARAMETERS:
        source = given if name == parameter else events
        of = [
            (part.cell[hit], part.minute[hit], part.value[hit])
            for part in (found, source)
            for hit in [part.parameter == PARAMETERS.index(name)]
        ]
        for one, two in zip(*of, strict=True):
            np.testing.assert_array_equal(one, two)
    for place, name in enumerate(DESCRIPTORS):
        source = given if name == parameter else events
        np.testing.assert_array_equal(found.descriptors[:, place], source.descriptors[:, place])


@pytest.mark.parametrize("parameter", ["HR", "Age", "Weight", "Never"])
def test_records_that_an_exchange_leaves_as_they_are_are_left_out(parameter):
    events, donors = random_events(200, 3), np.random.default_rng(0).permutation(200)
    given = events.take(donors)
    index, records = exchanged(records_of(events), parameter, donors)
    assert len(records) == len(index) == len(np.unique(index))
    assert (len(index) == 0) == (parameter == "Never")
    for i in np.setdiff1d(np.arange(200), index):
        for part in (events, given):
            of = part.parameter[part.starts[i] : part.starts[i + 1]]
            assert parameter not in np.array(PARAMETERS)[of]
        if parameter in DESCRIPTORS:
            place = DESCRIPTORS.index(parameter)
            np.testing.assert_array_equal(events.descriptors[i, place], given.descriptors[i, place])


def test_one_column_of_rows_is_exchanged_and_no_other():
    rows, donors = random_rows(20, 0), np.random.default_rng(0).permutation(20)
    index, found = exchanged(records_of(rows), "Income", donors)
    expected = rows.values.copy()
    expected[:, 1] = rows.values[donors, 1]
    np.testing.assert_array_equal(found.payload.values, expected[index])
    left = np.setdiff1d(np.arange(20), index)
    np.testing.assert_array_equal(rows.values[left], expected[left])
    assert 0 < len(index) < 20
    assert Steps.of(rows).n == 0


def test_a_payload_of_another_kind_has_neither_parameters_nor_hours():
    other = Series((np.zeros((1, 2, 3)),))
    assert parameters(other) == ()
    assert Steps.of(other).n == 0
    with pytest.raises(TypeError, match="Series has no parameters"):
        exchanged(records_of(other), "HR", np.zeros(1, dtype=np.int64))


def test_a_long_course_is_told_in_steps_of_several_hours():
    events = events_of([(0, "HR", 5, 80), (0, "HR", 60 * 700, 90), (0, "GCS", 60 * 8, 9)], n=1)
    steps = Steps.of(events)
    assert (steps.n, steps.hours) == (88, 8)
    assert steps.ends()[-1] >= 700
    counts = steps.measured(events)
    assert counts.shape == (1, 88)
    assert counts[0, 0] == 2
    assert counts[0, -1] == counts.sum() - 2 == 1
