"""What every featurizer must do; a new one inherits ``FeaturizerContract`` and says what it is made of."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import pytest

from ehrbench.core.featurizer import Featurizer
from ehrbench.core.model import load_arrays, save_arrays
from ehrbench.core.records import Payload, Records
from ehrbench.core.views import Bag, Sequence, View
from tests.features.payloads import records_of


def assert_same(one: Any, two: Any) -> None:
    """Equal views to the last bit, NaN equal to NaN."""
    assert type(one) is type(two)
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, two.arrays()[name], err_msg=name)


def n_items(view: View, records: Records) -> int:
    return len(records) if view.per == "record" else records.total_units


class FeaturizerContract(ABC):
    """Subclasses give ``kind``, ``variants`` (settings) and ``payload(n, seed)``."""

    kind: type[Featurizer]
    variants: list[dict[str, Any]]

    @abstractmethod
    def payload(self, n: int, seed: int) -> Payload: ...

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "settings" in metafunc.fixturenames:
            metafunc.parametrize("settings", self.variants, ids=lambda s: json.dumps(s)[:60])

    def test_rows_are_the_same_in_any_company(self, settings: dict[str, Any]) -> None:
        records, featurizer = records_of(self.payload(40, 3)), self.kind(**settings)
        whole = featurizer.rows(records)
        assert len(whole) == n_items(whole, records)
        for index in map(np.array, ([0], [1], [17], [39, 5, 5, 0], list(range(39, -1, -1)))):
            items = index if whole.per == "record" else records.units_of(index)
            assert_same(featurizer.rows(records_of(records.payload.take(index))), whole.take(items))

    def test_state_survives_a_file_to_the_last_bit(self, settings: dict[str, Any], tmp_path: Any) -> None:
        train, other = records_of(self.payload(60, 1)), records_of(self.payload(20, 2))
        featurizer = self.kind(**settings).fit(train)
        save_arrays(tmp_path / "featurizer.npz", featurizer.state())
        again = self.kind(**json.loads(json.dumps(featurizer.settings())))
        again.restore(load_arrays(tmp_path / "featurizer.npz"))
        assert_same(again.transform(other), featurizer.transform(other))

    def test_settings_make_an_equal(self, settings: dict[str, Any]) -> None:
        featurizer = self.kind(**settings)
        assert type(featurizer)(**featurizer.settings()).settings() == featurizer.settings()
        assert type(featurizer)(**featurizer.settings()).key == featurizer.key

    def test_equal_keys_mean_equal_rows(self) -> None:
        records = records_of(self.payload(30, 4))
        by_key: dict[str, Any] = {}
        for settings in self.variants:
            featurizer = self.kind(**settings)
            view = featurizer.rows(records)
            assert_same(by_key.setdefault(featurizer.key, view), view)

    def test_transform_depends_on_training_records_only(self, settings: dict[str, Any]) -> None:
        train, one, two = (records_of(self.payload(30, seed)) for seed in (5, 6, 7))
        featurizer = self.kind(**settings).fit(train)
        before = featurizer.transform(one)
        featurizer.transform(two)
        assert_same(featurizer.transform(one), before)

    def test_what_is_known_of_like_records_changes_no_bit(self, settings: dict[str, Any]) -> None:
        train, records, others = (records_of(self.payload(30, seed)) for seed in (5, 6, 7))
        featurizer = self.kind(**settings).fit(train)
        before, changed = featurizer.rows(records), featurizer.rows(others)
        if before.per == "record" or records.total_units != others.total_units:
            return  # never known
        with featurizer.knowing(before, featurizer.apply(before)):
            again = featurizer.transform(others)
            assert_same(featurizer.transform(records), featurizer.apply(before))
        assert_same(again, featurizer.apply(changed))

    def test_finished_values_are_of_their_ports_and_finite_where_they_must_be(
        self, settings: dict[str, Any]
    ) -> None:
        featurizer = self.kind(**settings).fit(records_of(self.payload(60, 8)))
        records = records_of(self.payload(25, 9))
        view = featurizer.transform(records)
        for name, array in view.arrays().items():
            assert array.dtype == view.ports()[name].dtype, name
            assert len(view) == n_items(view, records)
            assert isinstance(view, Bag) or len(array) == len(view)
            if isinstance(view, Sequence) or settings.get("scaling") is not None:
                assert np.isfinite(array).all(), name
        if isinstance(view, Sequence):
            assert set(np.unique(view.mask)) <= {0.0, 1.0}
            assert (np.diff(view.time_hours, axis=1) >= 0).all()
            assert view.values.shape == view.mask.shape == (25, view.time_hours.shape[1], len(view.channels))
            assert view.static.shape == (25, len(view.descriptors))

    def test_fits_on_a_single_record(self, settings: dict[str, Any]) -> None:
        records = records_of(self.payload(3, 10).take(np.array([2])))
        view = self.kind(**settings).fit(records).transform(records)
        assert len(view) == n_items(view, records)
