"""What is no series of a person's own is refused in one line that names file, row and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.task import RawInput
from tests.tasks.small_series import LONG, OUTCOMES, PATIENTS, read


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"long": [""]}, r"long.csv: is empty —"),
        ({"long": [LONG[0]]}, r"long.csv: holds no rows —"),
        (
            {"long": ["id,time,variable"]},
            r"task.measurements.value: long.csv has no column 'value' — it has id",
        ),
        ({"labels": ["pid,died", "a,1"]}, r"task.id: labels.csv has no column 'id' — it has pid, died"),
        ({"labels": ["id,alive", "a,1"]}, r"task.label: labels.csv has no column 'died' — it has alive"),
        (
            {"labels": ["id,died", "x,1", "y,0"]},
            r"labels.csv, record line 2, field id: no id of it is among long",
        ),
        (
            {"labels": [*OUTCOMES, "a,no"]},
            r"labels.csv, record a, line 6: stands there twice, in line 2 too —",
        ),
        (
            {"patients": [*PATIENTS, "b,1,eye"]},
            r"patients.csv, record b, line 6: stands there twice, in line 3",
        ),
        ({"labels": [*OUTCOMES, ",no"]}, r"labels.csv, record line 6, field id: is empty —"),
        ({"long": [*LONG, "a,soon,HR,80"]}, r"record line 18, field time: 'soon' is no number of hours"),
        ({"long": [*LONG, "a,-3,HR,80"]}, r"line 18, field time: '-3' is before the record's start; faulty"),
        ({"long": [*LONG, "a,1,HR,fast"]}, r"long.csv, record line 18, field value: 'fast' is no number"),
        ({"long": [*LONG, ",1,HR,80"]}, r"long.csv, record line 18, field id: is empty"),
        ({"long": [*LONG, "a,,HR,80"]}, r"long.csv, record line 18, field time: is empty"),
        ({"long": [*LONG, "a,9e18,HR,80"]}, r"line 18, field time: '9e18' hours are thousands of years"),
        (
            {"long": ["id,time,variable,value", "a,now,HR,1"]},
            r"line 2, field time: 'now' is no time: neither",
        ),
        ({"variables": "HR"}, r"task.variables: 'HR' is no list and no number — write task"),
        ({"variables": ["HR", "pH"]}, r"task.variables: long.csv has no variable 'pH' — it has HR, K"),
        ({"variables": 0}, r"task.variables: 0 variables —"),
        ({"ranges": {"HR": [9, 1]}}, r"task.ranges.HR: \[9, 1\] is no \[low, high\]"),
        ({"horizon_hours": 0}, r"task.horizon_hours: 0 is no number of hours above 0"),
        ({"time_unit": "weeks"}, r"task.time_unit: 'weeks' is no unit —"),
        ({"auxiliary": ["age"]}, r"task.auxiliary: labels.csv has no column 'age' —"),
        ({"group": "family"}, r"task.group: no table has a column 'family' —"),
        ({"long": ["id,time,variable,value", "a,2020-01-01,HR,1"]}, r"task.reference: time holds dates"),
        (
            {"long": ["id,time,variable,value", 'a,1,"HR,1', "b,2,HR,3"]},
            r"long.csv, record line 2: quotes never",
        ),
        ({"long": [*LONG, "a,1,HR\0,3"]}, r"long.csv, record line 18: holds NUL bytes"),
        ({"long": [*LONG, "a,1,HR"]}, r"long.csv, record line 18: has 3 cells where the header names 4"),
    ],
)
def test_what_is_no_series_ends_in_one_line(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises((DataError, ConfigError), match=said) as found:
        read(tmp_path, **given)
    assert "\n" not in str(found.value)
    assert " — " in str(found.value)


def test_dates_of_several_forms_are_told_by_their_row(tmp_path: Path) -> None:
    dates = [*(["2021-03-01 09:00"] * 15), "01.03.2021 09:00"]
    long = [LONG[0], *(f"a,{date},HR,80" for date in dates)]
    patients = ["id,admitted", *(f"{who},2021-03-01 08:00" for who in "abcd")]
    said = (
        r"long.csv, record line 17, field time: .01.03.2021 09:00. is no date %Y-%m-%d %H:%M, as the others"
    )
    with pytest.raises(DataError, match=said):
        read(tmp_path, long, None, patients, reference="admitted")
    long[-1] = "b,2021-03-01 09:00,HR,80"
    with pytest.raises(
        DataError, match=r"line 17, field time: the record has no date that .* could count from"
    ):
        read(tmp_path, long, None, patients[:2], reference="admitted")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"events": []}, "field descriptors: is missing or not an object"),
        ({"descriptors": {"age": 1}, "events": []}, "field descriptors.ward: is missing"),
        ({"descriptors": {"age": "old", "ward": None}, "events": []}, "field age: 'old' is no number"),
        (
            {"descriptors": {"age": 1, "ward": None, "x": 1}, "events": []},
            r"field descriptors.x: is not a known",
        ),
        ({"events": {}, "descriptors": {"age": 1, "ward": None}}, "field events: is missing or not a list"),
        ({"event": {"time": 1, "variable": "HR"}}, r"field events\[0\].value: is missing"),
        (
            {"event": {"time": 1, "variable": "pH", "value": 7}},
            r"events\[0\].variable: 'pH' is not a known variable",
        ),
        (
            {"event": {"time": -1, "variable": "HR", "value": 7}},
            r"events\[0\].time: -1 is no time — hours since",
        ),
        ({"event": {"time": "9", "variable": "HR", "value": 7}}, r"events\[0\].time: '9' is no time"),
        ({"event": {"time": 1, "variable": "HR", "value": None}}, r"events\[0\].value: None is not a number"),
        (
            {"event": {"time": 1, "variable": "HR", "value": 7, "unit": "x"}},
            r"events\[0\].unit: is not a field",
        ),
    ],
)
def test_what_is_no_record_is_refused_naming_its_field(
    body: dict[str, Any], said: str, tmp_path: Path
) -> None:
    task, _ = read(tmp_path)
    if "event" in body:
        body = {"descriptors": {"age": 1, "ward": None}, "events": [body["event"]]}
    with pytest.raises(DataError, match=said):
        task.parse([RawInput("r", body)], strict=True)
