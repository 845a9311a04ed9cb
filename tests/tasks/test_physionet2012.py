"""Reading PhysioNet 2012 records: the format, its quirks, and every fault by name."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrbench.core.errors import DataError
from ehrbench.core.task import RawInput
from ehrbench.tasks.mortality import Mortality
from ehrbench.tasks.physionet2012.record_text import DESCRIPTOR_NAMES, SERIES_NAMES
from tests.tasks.texts import HEAD, record_text

TASK = Mortality()

#: The publisher's own format, with its quirks; what it must become stands in the test below.
GOLDEN = record_text(
    132539,
    "00:00,Weight,71.5",
    "00:07,GCS,15",
    "00:07,HR,73",
    "00:07,Temp,35.1",
    "00:07,Urine,900",
    "00:07,Urine,60",
    "01:37,pH,735",
    "02:37,Temp,0",
    "02:37,Temp,37.1",
    "03:00,MAP,80",
    "03:00,MAP,90",
    "10:00,NISysABP,0",
    "10:00,WBC,12500",
    "12:00,Weight,-1",
    "48:00,AST,1.843e+04",
)


def parse(*bodies, strict=True, task=TASK):
    names = [f"{i}.txt" if isinstance(body, bytes) else f"posted {i}" for i, body in enumerate(bodies)]
    inputs = [RawInput(name, body) for name, body in zip(names, bodies, strict=True)]
    return task.parse(inputs, strict=strict)


def events_of(parsed, i=0):
    e = parsed.records.payload
    mine = slice(int(e.starts[i]), int(e.starts[i + 1]))
    codes, minutes, values = e.parameter[mine].tolist(), e.minute[mine].tolist(), e.value[mine].tolist()
    return {(SERIES_NAMES[c], m): v for c, m, v in zip(codes, minutes, values, strict=True)}


def test_golden_record():
    parsed = parse(GOLDEN)
    assert parsed.records.ids.tolist() == ["132539"]
    assert events_of(parsed) == {
        ("Weight", 0): 71.5,
        ("GCS", 7): 15,
        ("HR", 7): 73,
        ("Temp", 7): pytest.approx(35.1),
        ("Urine", 7): 960,
        ("pH", 97): pytest.approx(7.35),
        ("Temp", 157): pytest.approx(37.1),
        ("MAP", 180): 85,
        ("WBC", 600): 12.5,
        ("AST", 2880): 18430,
    }
    described = dict(zip(DESCRIPTOR_NAMES, parsed.records.payload.descriptors[0].tolist(), strict=True))
    assert np.isnan(described.pop("Height"))
    assert described == {"Age": 54, "Gender": 0, "ICUType": 4, "Weight": 70}
    assert {name: labels.tolist() for name, labels in parsed.records.subgroups.items()} == {
        "sex": ["female"],
        "age_band": ["40-54"],
        "icu_type": ["surgical"],
    }
    assert parsed.n_rows == 21
    assert parsed.skipped == ()
    assert parsed.records.target is None


def test_json_form_is_the_same_record():
    rows = [line.split(",") for line in GOLDEN.decode().split("\n")[7:-1]]
    body = {
        "record_id": 132539,
        "descriptors": {"Age": 54, "Gender": 0, "Height": None, "ICUType": 4, "Weight": 70},
        "events": [{"time": t, "parameter": p, "value": float(v)} for t, p, v in rows],
    }
    text, posted = parse(GOLDEN), parse(body)
    assert posted.records.payload.digests().tolist() == text.records.payload.digests().tolist()
    assert posted.records.ids.tolist() == text.records.ids.tolist()
    mixed = parse(body, GOLDEN, body)
    assert mixed.records.payload.digests().tolist() == text.records.payload.digests().tolist() * 3


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_marks_and_blank_lines_do_not_matter(end):
    body = b"\xef\xbb\xbf" + GOLDEN.replace(b"\n", end) + end
    assert parse(body).records.payload.digests() == parse(GOLDEN).records.payload.digests()
    assert parse(GOLDEN[:-1]).records.payload.digests() == parse(GOLDEN).records.payload.digests()


@pytest.mark.parametrize(
    ("line", "field", "problem"),
    [
        ("99:99,HR,80", "Time in line 8", "'99:99' is not a time HH:MM"),
        ("1:30,HR,80", "Time in line 8", "'1:30' is not a time"),
        ("48:01,HR,80", "Time in line 8", "'48:01' is later than 48:00"),
        ("00:10,HR,fast", "Value in line 8", "'fast' is not a number"),
        ("00:10,HR,nan", "Value in line 8", "'nan' is not a number"),
        ("00:10,HR,1e999", "Value in line 8", "'1e999' is not a number"),
        ("00:10,HR,1_0", "Value in line 8", "'1_0' is not a number"),
        ("00:10,HR,", "Value in line 8", "'' is not a number"),
        ("00:10,Pulse,80", "Parameter in line 8", "'Pulse' is not a known parameter"),
        ("00:10,Héart,80", "Parameter in line 8", "is not a known parameter"),
        ("00:10,HR", "line 8", "2 columns instead of 3"),
        ("00:10,HR,80,bpm", "line 8", "4 columns instead of 3"),
        ('00:10,"HR",80', "Parameter in line 8", "is not a known parameter"),
        ("00:10,MechVent,2", "MechVent in line 8", "2 is none of 0, 1"),
        ("00:10,MechVent,1.0000001", "MechVent in line 8", "1.0000001 is none of 0, 1"),
        ("01:00,Age,70", "Age in line 8", "a descriptor stands at 00:00"),
        ("00:00,Gender,1", "Gender in line 8", "stands there twice"),
        ("00:00,RecordID,8", "RecordID in line 8", "stands there twice"),
        ("00:10," + "x" * 9_000_000 + ",1", "line 8", "over 1000 characters long"),
    ],
    ids=lambda text: text[:20],
)
def test_a_bad_row_is_named_when_strict_and_listed_when_not(line, field, problem):
    body = record_text(7, line, "00:20,HR,90")
    with pytest.raises(DataError, match=re.escape(problem)) as raised:
        parse(GOLDEN, body)
    assert (raised.value.file, raised.value.record, raised.value.field) == ("1.txt", "7", field)
    assert raised.value.remedy
    assert "\n" not in str(raised.value)
    parsed = parse(GOLDEN, body, strict=False)
    assert len(parsed.skipped) == 1
    assert parsed.skipped[0].file == "1.txt"
    assert events_of(parsed, 1) == {("HR", 20): 90}
    assert parsed.n_rows == 21 + 8
    assert events_of(parsed, 0) == events_of(parse(GOLDEN))


def test_set_c_rows_without_parameter_are_skipped_and_counted_even_when_strict():
    parsed = parse(record_text(7, "47:05,,2.5", "47:06,HR,80"))
    assert events_of(parsed) == {("HR", 2826): 80}
    assert [(s.field, s.problem) for s in parsed.skipped] == [("Parameter in line 8", "empty parameter name")]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2\n", "does not begin with Time,Parameter,Value"),
        (b"Time;Parameter;Value\n00:00;RecordID;1\n", "does not begin with Time,Parameter,Value"),
        (HEAD + b"00:00,Age,50\n", "has no RecordID"),
        (HEAD, "has no RecordID"),
        (HEAD + b"00:00,RecordID,1.5\n", "1.5 is not a whole number"),
        (HEAD + b"00:00,RecordID,12345678901234567\n", "is not a whole number of at most 15 digits"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "does not begin with Time,Parameter,Value"),
    ],
)
def test_what_is_no_record_is_refused_or_left_out(body, problem):
    with pytest.raises(DataError, match=problem) as raised:
        parse(GOLDEN, body)
    assert raised.value.file == "1.txt"
    parsed = parse(body, GOLDEN, strict=False)
    assert parsed.records.ids.tolist() == ["132539"]
    assert problem in parsed.skipped[0].problem
    assert events_of(parsed) == events_of(parse(GOLDEN))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"patient": 1}, "patient"),
        ({"record_id": 1.5}, "record_id"),
        ({"descriptors": None}, "descriptors"),
        ({"descriptors": {"Shoe": 44}}, "descriptors.Shoe"),
        ({"descriptors": {"Age": "old"}}, "descriptors.Age"),
        ({"descriptors": {"Age": True}}, "descriptors.Age"),
        ({"descriptors": {"Age": 200}}, "descriptors.Age"),
        ({"descriptors": {"Gender": 2}}, "descriptors.Gender"),
        ({"events": None}, "events"),
        ({"events": "HR"}, "events"),
        ({"events": [5]}, "events[0]"),
        ({"events": [{"time": "00:01", "parameter": "HR"}]}, "events[0].value"),
        ({"events": [{"time": "00:01", "parameter": "HR", "value": 1, "unit": "x"}]}, "events[0].unit"),
        ({"events": [{"time": "99:99", "parameter": "HR", "value": 1}]}, "events[0].time"),
        ({"events": [{"time": "48:01", "parameter": "HR", "value": 1}]}, "events[0].time"),
        ({"events": [{"time": 60, "parameter": "HR", "value": 1}]}, "events[0].time"),
        ({"events": [{"time": "00:01", "parameter": "Pulse", "value": 1}]}, "events[0].parameter"),
        ({"events": [{"time": "00:01", "parameter": "HR", "value": "80"}]}, "events[0].value"),
        ({"events": [{"time": "00:01", "parameter": "HR", "value": float("nan")}]}, "events[0].value"),
        ({"events": [{"time": "00:01", "parameter": "HR", "value": 10**400}]}, "events[0].value"),
        ({"events": [{"time": "00:01", "parameter": "HR", "value": "8" * 9000}]}, "events[0].value"),
        ({"events": [{"time": "\ud800", "parameter": "HR", "value": 1}]}, "events[0].time"),
        ({"events": [{"time": "00:01", "parameter": "MechVent", "value": 3}]}, "events[0].value"),
        ({"events": [{"time": "00:01", "parameter": ["HR"], "value": 3}]}, "events[0].parameter"),
    ],
)
def test_bad_json_names_its_field(change, field):
    good = {"descriptors": {"Age": 50}, "events": [{"time": "00:01", "parameter": "HR", "value": 80}]}
    assert len(parse(good).records) == 1
    with pytest.raises(DataError) as raised:
        parse(good | change)
    assert raised.value.field == field
    assert len(str(raised.value)) < 200
    assert len(parse(good, good | change, strict=False).skipped) == 1


def test_a_whole_number_of_any_length_is_a_number():
    """One that cleaning does not believe."""
    record = {"descriptors": {}, "events": [{"time": "00:01", "parameter": "HR", "value": 10**25}]}
    assert events_of(parse(record)) == {}


def test_a_record_without_measurements_is_one_and_is_flagged():
    parsed = parse(record_text(5), {"descriptors": {}, "events": []}, GOLDEN)
    assert parsed.records.flags["no_measurements"].tolist() == [True, True, False]
    assert parsed.records.subgroups["sex"].tolist() == ["female", "unknown", "female"]


def test_hours_cuts_off_what_comes_later():
    assert max(m for _, m in events_of(parse(GOLDEN, task=Mortality(hours=3)))) == 180
    with pytest.raises(Exception, match=r"task.build.hours: 0"):
        Mortality(hours=0)


def test_nothing_given_nothing_parsed():
    assert len(TASK.parse([], strict=True).records) == 0


_ROWS = st.lists(
    st.tuples(
        st.integers(0, 2880),
        st.sampled_from(["HR", "Urine", "Temp", "Weight", "pH", "MechVent", ""]),
        st.sampled_from(["0", "1", "37.2", "-1", "735", "80", "98.6", "text"]),
    ),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(st.lists(_ROWS, min_size=1, max_size=5))
def test_a_batch_is_its_records_one_by_one(batch):
    lines = [[f"{m // 60:02d}:{m % 60:02d},{p},{v}" for m, p, v in rows] for rows in batch]
    bodies = [record_text(i, *rows) for i, rows in enumerate(lines)]
    whole = parse(*bodies, strict=False)
    singles = [TASK.parse([RawInput(f"{i}.txt", body)], strict=False) for i, body in enumerate(bodies)]
    assert whole.records.ids.tolist() == [s.records.ids[0] for s in singles]
    assert whole.records.payload.digests().tolist() == [s.records.payload.digests()[0] for s in singles]
    assert whole.skipped == tuple(skipped for s in singles for skipped in s.skipped)
    assert whole.n_rows == sum(s.n_rows for s in singles)


def test_the_example_and_the_schema_are_accepted():
    schema = TASK.raw_schema()
    text = TASK.parse([TASK.example()], strict=True)
    posted = parse(schema["examples"][0])
    assert text.records.payload.digests() == posted.records.payload.digests()
    assert text.records.payload.n_events[0] > 50
    assert text.skipped == ()
    assert set(schema["properties"]["descriptors"]["properties"]) == set(DESCRIPTOR_NAMES)


def test_faults_in_every_line_are_listed_at_once():
    """Looking for the RecordID again at each fault would read the whole record as often as it has lines."""
    begun = time.perf_counter()
    with pytest.raises(DataError, match="has no RecordID"):
        TASK.parse([RawInput("posted", b"Time,Parameter,Value\n" + b"00:01,,1\n" * 20_000)], strict=True)
    assert time.perf_counter() - begun < 10
