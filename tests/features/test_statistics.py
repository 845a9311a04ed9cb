from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from ehrbench.core.errors import ConfigError
from ehrbench.features.clinical import CLINICAL
from ehrbench.features.events import Events, event_order
from ehrbench.features.segments import STATISTICS
from ehrbench.features.statistics import Statistics
from ehrbench.tasks.mortality import Mortality
from tests.features.conformance import FeaturizerContract
from tests.features.payloads import events_of, random_events, records_of


class TestStatistics(FeaturizerContract):
    kind = Statistics
    variants: ClassVar = [
        {},
        {"scaling": "standard"},
        {"scaling": "quantile", "clinical": False},
        {"scaling": "robust", "windows": []},
        {"statistics": list(STATISTICS), "windows": [[0, 6], [40, 48]], "windowed": ["median", "slope"]},
    ]

    def payload(self, n, seed):
        return random_events(n, seed)


def table(featurizer, events):
    view = featurizer.rows(records_of(events))
    return {name: view.values[:, i] for i, name in enumerate(view.names)}


def test_statistics_by_hand():
    events = events_of(
        [(0, "HR", 0, 80), (0, "HR", 60, 100), (0, "HR", 180, 60), (0, "GCS", 30, 9), (1, "HR", 2880, 70)],
        n=2,
    )
    columns = table(
        Statistics(statistics=list(STATISTICS), windows=[[0, 2], [2, 48]], clinical=False), events
    )
    expected = {
        "count": 3, "mean": 80, "min": 60, "max": 100, "std": np.sqrt(800 / 3), "median": 80, "first": 80,
        "last": 60, "change": -20, "slope": -60 / 7, "first_hour": 0, "last_hour": 3, "min_hour": 3,
        "max_hour": 1, "sum": 240, "range": 40, "step": 30, "q10": 60, "q90": 100,
    }  # fmt: skip
    for name, value in expected.items():
        assert columns[f"HR.{name}"][0] == pytest.approx(value, rel=1e-6), name
    assert columns["HR.count@0-2"].tolist() == [2, 0]
    assert columns["HR.mean@2-48"].tolist() == [60, 70], "48:00 belongs to the last window"
    assert columns["GCS.std"][0] == 0
    assert np.isnan(columns["GCS.slope"][0])
    assert columns["Never.count"].tolist() == [0, 0]
    assert np.isnan(columns["Never.mean"]).all()


@pytest.mark.parametrize("seed", range(3))
def test_statistics_agree_with_numpy_patient_by_patient(seed):
    events = random_events(25, seed)
    columns = table(Statistics(statistics=list(STATISTICS)), events)
    for i in range(len(events)):
        mine = slice(int(events.starts[i]), int(events.starts[i + 1]))
        for p, name in enumerate(events.parameters):
            x = events.value[mine][events.parameter[mine] == p].astype(float)
            t = events.minute[mine][events.parameter[mine] == p] / 60
            assert columns[f"{name}.count"][i] == len(x)
            if not len(x):
                continue
            got = {s: columns[f"{name}.{s}"][i] for s in STATISTICS}
            assert got["mean"] == pytest.approx(x.mean(), rel=1e-5, abs=1e-5)
            assert got["std"] == pytest.approx(x.std(), rel=1e-4, abs=1e-4)
            assert got["median"] == pytest.approx(np.median(x), rel=1e-6)
            assert (got["min"], got["max"]) == (np.float32(x.min()), np.float32(x.max()))
            assert got["q10"] == np.float32(np.sort(x)[round((len(x) - 1) * 0.1)])
            assert got["min_hour"] == pytest.approx(t[x.argmin()], rel=1e-6)
            if len(x) > 1:
                assert got["slope"] == pytest.approx(np.polyfit(t, x, 1)[0], rel=1e-3, abs=1e-3)
                assert got["step"] == pytest.approx(np.abs(np.diff(x)).mean(), rel=1e-5, abs=1e-5)


def test_every_clinical_column_is_there_and_says_why():
    columns = table(Statistics(), random_events(30, 0))
    for name, (_, reason, _) in CLINICAL.items():
        assert name in columns
        assert reason
    assert np.isfinite(columns["shock_index.mean"]).any()


def test_every_column_has_the_unit_that_its_arithmetic_gives():
    units, of = Mortality().units, Statistics().unit
    said = {
        "Creatinine.min": "mg/dL", "Creatinine.last@36-48": "mg/dL", "HR.slope": "1/min/h",
        "HR.count@0-24": "", "HR.first_hour": "h", "GCS.min": "", "FiO2.max": "", "Age.descriptor": "years",
        "Gender.descriptor": "", "shock_index.last": "1/min/mmHg", "pulse_pressure.last": "mmHg",
        "pf_ratio.worst": "mmHg", "bun_creatinine.last": "", "ast_alt.max": "", "urine_ml_per_kg": "mL/kg",
        "bmi": "kg/m²", "age_gcs": "years", "bicarbonate_lactate.last": "mmol/L", "mean_pressure.min": "mmHg",
    }  # fmt: skip
    assert {column: of(column, units) for column in said} == said
    assert all(isinstance(of(column, {}), str) for column in CLINICAL)
    assert of("a.b@c.std@0-24", {"a.b@c": "mg"}) == "mg", "names may hold any mark"
    assert Statistics(clinical=False).unit("bmi.mean", {"bmi": "kg/m²"}) == "kg/m²"


def test_clinical_columns_by_hand():
    described = np.array([[70, 1, 200, 3, np.nan]])
    events = events_of(
        [(0, "HR", 5, 120), (0, "NISysABP", 5, 80), (0, "PaO2", 9, 60), (0, "FiO2", 9, 0.5),
         (0, "Weight", 9, 80), (0, "Urine", 9, 100), (0, "Urine", 99, 60)], n=1, descriptors=described,
    )  # fmt: skip
    columns = table(Statistics(), events)
    assert columns["shock_index.mean"][0] == 1.5, "the cuff's pressure where there is no line"
    assert columns["pf_ratio.worst"][0] == 120
    assert columns["urine_ml_per_kg"][0] == 2
    assert columns["bmi"][0] == 20
    assert np.isnan(columns["bun_creatinine.last"][0])


def test_a_vocabulary_without_the_names_gives_no_clinical_columns():
    events = random_events(5, 0)
    other = type(events)(
        *(getattr(events, n) for n in ("starts", "minute", "parameter", "value", "descriptors")),
        tuple(f"p{i}" for i in range(len(events.parameters))),
        events.descriptor_names,
    )
    names = Statistics().rows(records_of(other)).names
    assert not set(names) & set(CLINICAL)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"statistics": ["mode"]}, "statistics"),
        ({"windows": [[5, 5]]}, "windows"),
        ({"scaling": "x"}, "scaling"),
    ],
)
def test_wrong_settings_name_their_key(settings, key):
    with pytest.raises(ConfigError, match=key):
        Statistics(**settings)


@pytest.mark.parametrize("hour", [700, 24 * 365 * 100])
def test_no_time_is_another_for_being_long(hour):
    """A minute of 16 bits made hour 700 the minute -23,536."""
    events = events_of([(0, "HR", 0, 80), (0, "HR", 60 * hour, 100), (1, "HR", 60 * hour - 60, 70)], n=2)
    assert events.minute.tolist() == [0, 60 * hour, 60 * hour - 60]
    assert events.n_hours() == hour
    columns = table(Statistics(hours=hour), events)
    assert columns["HR.last_hour"].tolist() == [hour, hour - 1]
    assert columns[f"HR.count@0-{hour / 2:g}"].tolist() == [1, 0]
    assert columns[f"HR.last@{hour / 2:g}-{hour:g}"].tolist() == [100, 70]
    with pytest.raises(TypeError, match="minute is int16"):
        replace(events, minute=events.minute.astype(np.int16))


def test_more_parameters_than_a_byte_can_count():
    names = tuple(f"p{i}" for i in range(1000))
    code = np.arange(999, -1, -1)
    order = event_order(np.zeros(1000, dtype=np.int64), code, np.zeros(1000, dtype=np.int64))
    assert order.tolist() == code.tolist()
    events = Events(
        *(np.array([0, 1000]), np.zeros(1000, np.int32), np.arange(1000, dtype=np.uint16)),
        *(np.arange(1000, dtype=np.float32), np.zeros((1, 0), np.float32), names, ()),
    )
    columns = table(Statistics(clinical=False), events)
    assert [columns[f"p{i}.last"][0] for i in (0, 255, 256, 999)] == [0, 255, 256, 999]


def test_times_and_places_too_many_for_one_number_are_ordered_all_the_same():
    patient, parameter, minute = (
        np.array(x, dtype=np.int64) for x in ([1 << 40, 0, 0], [3, 9, 9], [5, 1 << 30, 2])
    )
    assert event_order(patient, parameter, minute).tolist() == [2, 1, 0]
