from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from ehrbench.core.errors import ConfigError
from ehrbench.features.grid import Grid
from tests.features.conformance import FeaturizerContract
from tests.features.payloads import PARAMETERS, events_of, random_events, records_of

HR, URINE = PARAMETERS.index("HR"), PARAMETERS.index("Urine")


class TestGrid(FeaturizerContract):
    kind = Grid
    variants: ClassVar = [
        {},
        {"fill": "zero", "delta": True},
        {"statistics": ["mean", "last", "min", "max", "count"], "step_hours": 2, "scaling": "quantile"},
        {"hours": 24, "step_hours": 0.5, "scaling": "robust", "delta": True},
        {"hours": 10, "step_hours": 3},
    ]

    def payload(self, n, seed):
        return random_events(n, seed)


def by_hand():
    return events_of(
        [(0, "HR", 0, 80), (0, "HR", 59, 90), (0, "HR", 180, 60), (0, "HR", 2880, 50), (0, "Urine", 5, 30),
         (0, "Urine", 6, 40)], n=2,
    )  # fmt: skip


def test_bins_by_hand():
    view = Grid(fill="zero", statistics=["mean", "last", "count"]).rows(records_of(by_hand()))
    p = len(PARAMETERS)
    assert view.values.shape == (2, 48, 3 * p)
    assert view.values[0, 0, HR] == 85
    assert view.values[0, 0, p + HR] == 90
    assert view.values[0, 0, 2 * p + HR] == 2
    assert view.values[0, 3, HR] == 60
    assert view.values[0, 47, HR] == 50, "48:00 falls in the last step"
    assert view.values[0, 0, URINE] == 70, "volumes add up"
    assert np.flatnonzero(view.mask[0, :, HR]).tolist() == [0, 3, 47]
    assert not view.mask[1].any()
    assert np.isnan(view.values[1]).all()
    assert view.time_hours[0, [0, 47]].tolist() == [1, 48]
    assert view.channels[0] == "HR.mean"


def test_forward_fill_carries_values_but_not_the_mask():
    view = Grid().rows(records_of(by_hand()))
    assert view.values[0, [0, 1, 2, 3, 46, 47], HR].tolist() == [85, 85, 85, 60, 60, 50]
    assert view.mask[0, :, HR].sum() == 3


def test_delta_counts_from_the_last_step_measured():
    view = Grid(delta=True).rows(records_of(by_hand()))
    hours = np.expm1(view.values[0, :5, len(PARAMETERS) + HR] * np.log1p(48))
    np.testing.assert_allclose(hours, [0, 1, 2, 0, 1], atol=1e-5)
    never = np.expm1(view.values[1, [0, 47], len(PARAMETERS) + HR] * np.log1p(48))
    np.testing.assert_allclose(never, [1, 48], rtol=1e-5)
    assert view.channels[len(PARAMETERS)] == "HR.delta"


def test_scales_come_from_measured_cells():
    records = records_of(random_events(200, 1))
    grid = Grid(fill="forward").fit(records)
    finished = grid.transform(records)
    measured = finished.mask[:, :, HR] == 1
    assert abs(finished.values[:, :, HR][measured].mean()) < 1e-3
    assert finished.values[:, :, HR][measured].std() == pytest.approx(1, abs=1e-3)
    never = PARAMETERS.index("Never")
    assert (finished.values[:, :, never] == 0).all()


def test_a_value_unseen_in_training_counts_as_its_end():
    train = records_of(events_of([(i, "HR", 5, 60 + i) for i in range(50)], n=50))
    odd = records_of(events_of([(0, "HR", 5, 1e6), (1, "HR", 5, 109)], n=2))
    view = Grid().fit(train).transform(odd)
    assert view.values[0, 0, HR] == pytest.approx(view.values[1, 0, HR], abs=0.02)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"statistics": ["mode"]}, "statistics"),
        ({"fill": "back"}, "fill"),
        ({"step_hours": 0}, "step_hours"),
        ({"scaling": None}, "scaling"),
    ],
)
def test_wrong_settings_name_their_key(settings, key):
    with pytest.raises(ConfigError, match=key):
        Grid(**settings)
