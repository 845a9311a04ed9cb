from __future__ import annotations

from typing import ClassVar

from ehrbench.features.irregular import Irregular
from tests.features.conformance import FeaturizerContract
from tests.features.payloads import PARAMETERS, events_of, random_events, records_of

HR, GCS = PARAMETERS.index("HR"), PARAMETERS.index("GCS")


class TestIrregular(FeaturizerContract):
    kind = Irregular
    variants: ClassVar = [{}, {"steps": 1}, {"steps": 40, "scaling": "quantile"}, {"hours": 12, "steps": 16}]

    def payload(self, n, seed):
        return random_events(n, seed)


def test_steps_are_distinct_minutes_padded_at_the_front():
    events = events_of([(0, "HR", 30, 80), (0, "GCS", 30, 9), (0, "HR", 90, 70)], n=2)
    view = Irregular(steps=4).rows(records_of(events))
    assert view.time_hours[0].tolist() == [0.5, 0.5, 0.5, 1.5]
    assert view.mask[0].sum(axis=1).tolist() == [0, 0, 2, 1]
    assert view.values[0, 2, [HR, GCS]].tolist() == [80, 9]
    assert not view.mask[1].any()


def test_too_many_times_are_coarsened_not_forgotten():
    events = events_of([(0, "HR", m, m) for m in range(100)], n=1)
    view = Irregular(steps=30).rows(records_of(events))
    used = view.mask[0].any(axis=1)
    assert 20 <= used.sum() <= 30
    assert view.time_hours[0, used][0] <= 0.1, "the beginning is still there"
    assert view.values[0, -1, HR] == 99
    assert (view.values[0, used, HR] <= view.time_hours[0, used] * 60).all(), (
        "nothing is told before it happened"
    )


def test_a_course_of_years_is_coarsened_too():
    events = events_of([(0, "HR", 60 * 24 * day, day) for day in range(3650)], n=1)
    view = Irregular(hours=24 * 3650, steps=64).rows(records_of(events))
    used = view.mask[0].any(axis=1)
    assert 40 <= used.sum() <= 64
    assert 24 * 3649 <= view.time_hours[0, -1] <= 24 * 3650
    assert view.values[0, -1, HR] == 3649
