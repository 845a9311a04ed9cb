"""The rr_rhythm task: CardioSpike's table, its simulation, names of beats, and every fault by name."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.task import RawInput
from ehrbench.features.beats import Beats
from ehrbench.publishers.cardiospike import CardioSpike
from ehrbench.publishers.cardiospike.simulated_recordings import (
    FEWEST,
    LONGEST,
    MOST,
    SHORTEST,
    simulated_recordings,
)
from ehrbench.tasks.rr_rhythm import RRRhythm

TASK = RRRhythm()
PUBLISHER = CardioSpike(TASK)
TABLE = "id,time,x,y\n7,0,800,0\n7,810,810,1\n9,0,500,0\n7,1600,790,1\n9,505,505,0\n"


def parse(body, strict=True):
    return TASK.parse(
        [RawInput("posted.csv", body.encode() if isinstance(body, str) else body)], strict=strict
    )


def table_in(folder, text):
    (folder / "cardiospike").mkdir()
    (folder / "cardiospike" / "train.csv").write_text(text)
    return folder


def test_a_table_is_recordings_with_a_label_a_beat(tmp_path):
    cohort = PUBLISHER.read(table_in(tmp_path, TABLE), ())
    records = cohort.records
    assert records.ids.tolist() == records.groups.tolist() == ["7", "9"]
    assert records.n_units.tolist() == [3, 2]
    assert records.labels[:, 0].tolist() == [0, 1, 1, 0, 0]
    assert records.payload.rr_ms.tolist() == [800, 810, 790, 500, 505]
    assert not records.payload.lost_ms.any()
    assert (cohort.label, cohort.sets, cohort.flow["beats in an anomaly"]) == ("publisher", ("train",), 2)
    assert records.subgroups["rate"].tolist() == ["60-79 bpm", "100 bpm and more"]
    table = TASK.describe(records)
    assert table.values[0, :3].tolist() == pytest.approx([3, 0.04, 800])
    with pytest.raises(ConfigError, match=r"data\.sets"):
        PUBLISHER.read(tmp_path, ("test",))


def test_it_is_also_read_where_it_lies_directly(tmp_path):
    (tmp_path / "train.csv").write_text(TABLE)
    assert len(PUBLISHER.read(tmp_path, ()).records) == 2


@pytest.mark.parametrize("dated", ["at the end", "at the beginning"])
def test_lost_beats_are_seen_however_a_beat_is_dated(dated):
    x = [800, 820, 810, 790]
    times = np.cumsum([0, *(x[1:] if dated == "at the end" else x[:-1])])
    times[2:] += 1500
    body = "time,x\n" + "".join(f"{t},{v}\n" for t, v in zip(times, x, strict=True))
    records = parse(body).records
    assert records.payload.lost_ms[[0, 1, 3]].tolist() == pytest.approx([0, 0, 0], abs=20)
    assert records.payload.lost_ms[2] == pytest.approx(1500, abs=20)
    assert records.flags["lost_beats"].tolist() == [True]


def test_beats_keep_their_numbers_where_a_row_is_skipped():
    rows = [f"a,{800 * i},800" for i in range(6)]
    whole = parse("id,time,x\n" + "\n".join(rows)).records
    rows[2] = "a,1600,oops"
    some = parse("id,time,x\n" + "\n".join(rows), strict=False)
    assert whole.unit_number.tolist() == [0, 1, 2, 3, 4, 5]
    assert some.records.unit_number.tolist() == [0, 1, 3, 4, 5]
    assert some.records.take(np.array([0, 0])).unit_number.tolist() == [0, 1, 3, 4, 5] * 2
    assert [(s.record, s.field) for s in some.skipped] == [("a, line 4", "x")]


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda body: body.replace("\n", "\n \n"),
        lambda body: body.replace("\n", "\r\n"),
        lambda body: body.replace("\n", "\r"),
        lambda body: re.sub(r"[^,\n]+", r' "\g<0> " ', body),
        lambda body: re.sub(r"(?m)$", ",", body.rstrip()).replace(",\n", ",y\n", 1),
        lambda body: re.sub(r"(?m)$", ",?", body.rstrip()).replace(",?\n", ",y\n", 1),
    ],
    ids=["blank lines", "CRLF", "CR", "quoted", "empty label", "another label"],
)
@pytest.mark.parametrize("strict", [True, False])
def test_beats_to_predict_may_be_written_in_many_ways(rewrite, strict):
    body = "id,time,x\na,0,800\na,810,810\nb,0,700\n"
    expected, found = parse(body), parse(rewrite(body), strict=strict)
    assert found.records.ids.tolist() == expected.records.ids.tolist() == ["a", "b"]
    assert found.records.digests.tolist() == expected.records.digests.tolist()
    assert (found.n_rows, found.skipped) == (3, ())


def test_every_row_of_a_recording_without_a_possible_name_is_skipped():
    body = f"id,x\n{'b' * 200},800\na,800\n{'b' * 200},810\n"
    with pytest.raises(DataError, match="field id: 200 characters, more than 128") as error:
        parse(body)
    assert len(str(error.value)) < 400
    found = parse(body, strict=False)
    assert (found.records.ids.tolist(), len(found.skipped), found.n_lost) == (["a"], 2, 1)


@pytest.mark.parametrize(
    ("row", "field", "problem"),
    [
        ("a,900,60000.001", "x", "60000.001 is not an interval"),
        ("a,900,-800", "x", "-800 is not an interval of more than 0"),
        ("a,900,0", "x", "0 is not an interval"),
        ("a,900,99999", "x", "at most 60000 ms"),
        ("a,900,nan", "x", "'nan' is not a number"),
        ("a,900,", "x", "'' is not a number"),
        ("a,-1,800", "time", "-1 goes back: the beat before was at 0 ms"),
        ("a,900", "line", "2 columns instead of 3"),
    ],
)
def test_a_faulty_row_names_its_place_and_is_skipped_offline(row, field, problem):
    body = f"id,time,x\na,0,800\n{row}\na,1600,800\n"
    with pytest.raises(DataError) as error:
        parse(body)
    assert (error.value.record, error.value.field) == ("a, line 3", field)
    assert problem in str(error.value)
    assert " — " in str(error.value)
    found = parse(body, strict=False)
    assert (found.records.total_units, len(found.skipped), found.n_rows) == (2, 1, 3)


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ({"rr_ms": []}, "rr_ms", "not a list of one or more"),
        ({"rr_ms": 800}, "rr_ms", "not a list"),
        ({"rr_ms": [800, -1]}, "rr_ms[1]", "-1 is not an interval"),
        ({"rr_ms": [800, True]}, "rr_ms[1]", "True is not a number"),
        ({"rr_ms": [800, 810], "time_ms": [0]}, "time_ms", "2 times"),
        ({"rr_ms": [800, 810], "time_ms": [5, 4]}, "time_ms[1]", "goes back"),
        ({"rr_ms": [800], "bpm": 70}, "bpm", "not a known field"),
    ],
)
def test_a_faulty_json_names_the_beat(body, field, problem):
    with pytest.raises(DataError) as error:
        TASK.parse([RawInput("posted", body)], strict=True)
    assert error.value.field == field
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("body", "problem"), [("id,time\na,0\n", "x"), ("id,x,x\na,1,1\n", "twice"), ("id,x,w\n", "known column")]
)
def test_a_wrong_header_is_refused_even_offline(body, problem):
    with pytest.raises(DataError, match=problem):
        parse(body, strict=False)


def test_faults_of_the_publishers_table_stop_a_search(tmp_path):
    with pytest.raises(DataError, match="2 is neither 0 nor 1"):
        PUBLISHER.read(table_in(tmp_path, TABLE.replace("9,505,505,0", "9,505,505,2")), ())
    (tmp_path / "cardiospike" / "train.csv").write_text("id,time,x\na,0,800\n")
    with pytest.raises(DataError, match="no such column"):
        PUBLISHER.read(tmp_path, ())


def test_one_beat_and_a_hundred_thousand_are_recordings():
    one = TASK.parse([RawInput("posted", {"rr_ms": [800]})], strict=True).records
    assert one.n_units.tolist() == [1]
    many = TASK.parse([RawInput("posted", {"rr_ms": [800, 810] * 50_000})], strict=True).records
    assert isinstance(many.payload, Beats)
    assert many.total_units == 100_000


def test_the_simulation_counts_as_the_publisher_does():
    rr, labels = simulated_recordings(150, 0)
    again, _ = simulated_recordings(150, 0)
    np.testing.assert_array_equal(rr[7], again[7])
    n_beats = np.array([len(x) for x in rr])
    assert n_beats.min() >= FEWEST
    assert n_beats.max() <= MOST
    assert all(y.any() for y in labels)
    assert 0.12 < np.concatenate(labels).mean() < 0.18
    ends = [np.flatnonzero(np.diff(np.r_[0, y, 0])) for y in labels]
    lengths = np.concatenate([e[1::2] - e[::2] for e in ends])
    assert lengths.min() >= SHORTEST
    assert lengths.max() <= LONGEST + 2  # ends vary by a beat
    assert min(x.min() for x in rr) >= 250
