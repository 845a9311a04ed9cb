"""A person's own series: any span of time, dates or hours, ids that do not meet; one line for each fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ehrbench.app.conf import CONF
from ehrbench.app.entry import of_task, spell_out
from ehrbench.app.overrides import as_texts
from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.task import Cohort, RawInput
from ehrbench.features.events import Events
from ehrbench.features.irregular import Irregular
from ehrbench.features.statistics import Statistics
from ehrbench.publishers.own_series_files import OwnSeriesFiles
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality
from ehrbench.tasks.own_series import OwnSeries
from ehrbench.tasks.physionet2012.cleaning import DESCRIPTORS, SERIES, TOTALS
from ehrbench.tasks.raw_files import parse_files, read_raw_files

LONG = ["id,time,variable,value"] + [
    f"{who},{hour},{name},{value}"
    for who in ("a", "b", "c", "d")
    for hour, name, value in ((0, "HR", 80), (1.5, "HR", 90), (700, "HR", 70), (2, "K", 4.1))
]
START = np.datetime64("2021-03-01T08:30:00")
PATIENTS = ["id,age,ward", "a,60,icu", "b,70,eye", "c,,icu", "d,50,"]
OUTCOMES = ["id,died", "a,yes", "b,no", "c,yes", "d,no"]


def publisher_of(
    folder: Path,
    long: list[str] | None = None,
    labels: list[str] | None = None,
    patients: list[str] | None = None,
    **settings: Any,
) -> OwnSeriesFiles:
    """On files of these lines; an empty list of patients is no table of descriptors."""
    written = {}
    for name, lines, standard in (
        ("long", long, LONG),
        ("labels", labels, OUTCOMES),
        ("patients", patients, PATIENTS),
    ):
        if lines != []:
            written[name] = folder / f"{name}.csv"
            written[name].write_text("\n".join(standard if lines is None else lines) + "\n")
    task = OwnSeries(**{"label": "died", "horizon_hours": 800, **settings})
    return OwnSeriesFiles(
        task,
        str(written["long"]),
        None,
        str(written["labels"]),
        str(written["patients"]) if "patients" in written else None,
    )


def read(folder: Path, *lines: list[str] | None, **settings: Any) -> tuple[OwnSeries, Cohort]:
    publisher = publisher_of(folder, *lines, **settings)
    task = publisher.settle(folder)
    assert isinstance(task, OwnSeries)
    return task, publisher.cohort(folder, ())


def events_in(cohort: Cohort, who: str) -> set[tuple[str, int, float]]:
    events = cohort.records.payload
    assert isinstance(events, Events)
    one = events.take(np.flatnonzero(cohort.records.ids == who))
    names = [one.parameters[code] for code in one.parameter]
    return set(zip(names, one.minute.tolist(), one.value.round(3).tolist(), strict=True))


def test_measurements_of_any_span_and_descriptors_of_any_kind(tmp_path: Path) -> None:
    task, cohort = read(tmp_path)
    events = cohort.records.payload
    assert isinstance(events, Events)
    assert events_in(cohort, "a") == {
        ("HR", 0, 80),
        ("HR", 90, 90),
        ("HR", 42000, 70),
        ("K", 120, np.float32(4.1).round(3)),
    }
    assert events.descriptor_names == ("age", "ward=icu", "ward=eye")
    np.testing.assert_array_equal(
        events.descriptors, [[60, 1, 0], [70, 0, 1], [np.nan, 1, 0], [50, np.nan, np.nan]]
    )
    assert cohort.records.labels[:, 0].tolist() == [1, 0, 1, 0]
    assert cohort.records.subgroups["ward"].tolist() == ["icu", "eye", "icu", "unknown"]
    assert (task.form.format, task.target.classes) == ("number", ("died",))


@pytest.mark.parametrize(
    ("times", "settings"),
    [
        (lambda hours: f"{hours * 60:g}", {"time_unit": "minutes"}),
        (lambda hours: f"{hours / 24!r}", {"time_unit": "days"}),
        (lambda hours: f"{int(hours)}:{round(hours % 1 * 60):02d}", {}),
        (lambda hours: f"{hours:g}".replace(".", ","), {}),
        (lambda hours: str(START + int(hours * 3600)), {"reference": "admitted"}),
    ],
    ids=["minutes", "days", "clock", "comma", "dates"],
)  # fmt: skip
def test_times_however_they_are_written(times: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    expected = read(tmp_path)[1].records
    rows = [line.split(",") for line in LONG[1:]]
    long = ["id;time;variable;value", *(f"{i};{times(float(t))};{n};{v}" for i, t, n, v in rows)]
    patients = [
        f"{line},{'admitted' if i == 0 else '2021-03-01T08:30:00'}" for i, line in enumerate(PATIENTS)
    ]
    task, cohort = read(tmp_path, long, None, patients if settings.get("reference") else None, **settings)
    assert cohort.records.digests.tolist() == expected.digests.tolist()
    posted = RawInput("r", json.loads(json.dumps(task.raw_schema()["examples"][0])))
    assert len(set(task.parse([posted, task.example()], strict=True).records.digests)) == 1
    assert len(task.parse([task.example()], strict=True).records) == 1
    if settings.get("reference"):
        assert cohort.time_of == pytest.approx(7730.354, abs=1e-3)


def test_what_does_not_change_may_stand_among_the_measurements_without_a_time(tmp_path: Path) -> None:
    expected = read(tmp_path)[1].records
    rows = [line.split(",") for line in PATIENTS[1:]]
    static = [
        f"{i},,{name},{cell}"
        for i, *cells in rows
        for name, cell in zip(("age", "ward"), cells, strict=True)
        if cell
    ]
    _, cohort = read(tmp_path, [*LONG, *static], None, [])
    assert cohort.records.digests.tolist() == expected.digests.tolist()


def test_parquet_and_files_to_predict_are_the_same_records(tmp_path: Path) -> None:
    task, cohort = read(tmp_path)
    folder = tmp_path / "new"
    folder.mkdir()
    rows = [line.split(",") for line in LONG[1:]]
    ids, times, names, values = (list(column) for column in zip(*rows, strict=True))
    table = {
        "id": ids,
        "time": pa.array(map(float, times)),
        "variable": pa.array(names).dictionary_encode(),
        "value": pa.array(map(float, values)),
    }
    pq.write_table(pa.table(table), folder / "long.parquet")
    (folder / "patients.csv").write_text("\n".join(PATIENTS) + "\n")
    found = parse_files(task, folder)
    assert found.records.ids.tolist() == ["a", "b", "c", "d"]
    assert found.records.digests.tolist() == cohort.records.digests.tolist()
    (folder / "patients.csv").write_text("who,what\n1,2\n")
    with pytest.raises(DataError, match=r"patients.csv: is no table of measurements — give columns time, "):
        parse_files(task, folder)


def test_variables_by_frequency_or_by_name(tmp_path: Path) -> None:
    long = [*LONG, "a,3,rare,1", "b,3,culture,positive", "c,3,culture,negative"]
    task, cohort = read(tmp_path, long, variables=2)
    assert task.settled is not None
    assert task.settled["variables"] == ["HR", "K"]
    assert cohort.flow["rows of other variables"] == 3
    assert [note for note in cohort.notes if "culture" in note] == [
        "culture: told in words ('positive', line 19), not in numbers; left out"
    ]
    assert any(
        "the 2 most frequent of 3 variables are used, 1 rows are of others" in note for note in cohort.notes
    )
    assert read(tmp_path, long, variables=["rare", "HR"])[0].settled["variables"] == ["rare", "HR"]  # type: ignore[index]


def test_ids_that_do_not_meet_are_told(tmp_path: Path) -> None:
    long = [*LONG, "x,1,HR,80", "x,2,HR,80"]
    _, cohort = read(tmp_path, long, [*OUTCOMES, "e,no", "f,"])
    assert cohort.records.ids.tolist() == ["a", "b", "c", "d", "e"]
    assert cohort.records.flags["no_measurements"].tolist() == [False] * 4 + [True]
    assert cohort.flow["rows of records without a label"] == 2
    assert cohort.flow["records without a label"] == 1
    assert "labels.csv: 1 ids of long.csv have no label there, the first is x; left out" in cohort.notes
    told = (
        "long.csv: 1 ids of labels.csv have no row, the first is e (line 6); predicted from descriptors alone"
    )
    assert told in cohort.notes


def test_a_file_of_test_records_has_its_labels_beside_the_others(tmp_path: Path) -> None:
    publisher = publisher_of(tmp_path, LONG[:9])
    publisher.test_file = str(tmp_path / "test.csv")
    Path(publisher.test_file).write_text("\n".join([LONG[0], *LONG[9:]]))
    publisher.settle(tmp_path)
    both = publisher.cohort(tmp_path, ("train", "test"))
    assert dict(zip(both.records.ids.tolist(), both.set_of.tolist(), strict=True)) == {
        "a": "train", "b": "train", "c": "test", "d": "test",
    }  # fmt: skip
    assert publisher.cohort(tmp_path, ("test",)).records.ids.tolist() == ["c", "d"]
    Path(publisher.test_file).write_text("\n".join(LONG))
    with pytest.raises(DataError, match=r"test.csv, record a: stands in the training file, too —"):
        publisher.cohort(tmp_path, ("train", "test"))


def test_values_out_of_range_are_not_believed_and_told(tmp_path: Path) -> None:
    _, cohort = read(tmp_path, ranges={"HR": [75, 100], "age": [0, 65]})
    assert {value for _, _, value in events_in(cohort, "a")} == {80, 90, np.float32(4.1).round(3)}
    assert np.isnan(cohort.records.payload.descriptors[1, 0])  # type: ignore[attr-defined]
    told = "HR: 4 of 12 values are outside 75 to 100 and not believed, the first is 70 in long.csv, line 4"
    assert told in cohort.notes


def test_a_horizon_that_cuts_most_off_or_is_far_too_long_is_told(tmp_path: Path) -> None:
    _, cohort = read(tmp_path, horizon_hours=1)
    assert any(
        "12 of 16 measurements are after task.horizon_hours=1 and not looked at" in n for n in cohort.notes
    )
    _, cohort = read(tmp_path, horizon_hours=9000)
    assert any("task.horizon_hours=700 makes the grid finer" in note for note in cohort.notes)


@pytest.mark.parametrize(
    ("long", "labels", "patients", "settings", "said"),
    [
        ([""], None, None, {}, r"long.csv: is empty —"),
        ([LONG[0]], None, None, {}, r"long.csv: holds no rows —"),
        (
            ["id,time,variable"],
            None,
            None,
            {},
            r"task.measurements.value: long.csv has no column 'value' — it has id",
        ),
        (None, ["pid,died", "a,1"], None, {}, r"task.id: labels.csv has no column 'id' — it has pid, died"),
        (None, ["id,alive", "a,1"], None, {}, r"task.label: labels.csv has no column 'died' — it has alive"),
        (
            None,
            ["id,died", "x,1", "y,0"],
            None,
            {},
            r"labels.csv, record line 2, field id: no id of it is among long",
        ),
        (
            None,
            [*OUTCOMES, "a,no"],
            None,
            {},
            r"labels.csv, record a, line 6: stands there twice, in line 2 too —",
        ),
        (
            None,
            None,
            [*PATIENTS, "b,1,eye"],
            {},
            r"patients.csv, record b, line 6: stands there twice, in line 3",
        ),
        (None, [*OUTCOMES, ",no"], None, {}, r"labels.csv, record line 6, field id: is empty —"),
        (
            [*LONG, "a,soon,HR,80"],
            None,
            None,
            {},
            r"record line 18, field time: 'soon' is no number of hours",
        ),
        (
            [*LONG, "a,-3,HR,80"],
            None,
            None,
            {},
            r"line 18, field time: '-3' is before the record's start; faulty",
        ),
        (
            [*LONG, "a,1,HR,fast"],
            None,
            None,
            {},
            r"long.csv, record line 18, field value: 'fast' is no number",
        ),
        ([*LONG, ",1,HR,80"], None, None, {}, r"long.csv, record line 18, field id: is empty"),
        ([*LONG, "a,,HR,80"], None, None, {}, r"long.csv, record line 18, field time: is empty"),
        (
            [*LONG, "a,9e18,HR,80"],
            None,
            None,
            {},
            r"line 18, field time: '9e18' hours are thousands of years",
        ),
        (
            ["id,time,variable,value", "a,now,HR,1"],
            None,
            None,
            {},
            r"line 2, field time: 'now' is no time: neither",
        ),
        (
            None,
            None,
            None,
            {"variables": "HR"},
            r"task.variables: 'HR' is no list and no number — write task",
        ),
        (
            None,
            None,
            None,
            {"variables": ["HR", "pH"]},
            r"task.variables: long.csv has no variable 'pH' — it has HR, K",
        ),
        (None, None, None, {"variables": 0}, r"task.variables: 0 variables —"),
        (None, None, None, {"ranges": {"HR": [9, 1]}}, r"task.ranges.HR: \[9, 1\] is no \[low, high\]"),
        (None, None, None, {"horizon_hours": 0}, r"task.horizon_hours: 0 is no number of hours above 0"),
        (None, None, None, {"time_unit": "weeks"}, r"task.time_unit: 'weeks' is no unit —"),
        (None, None, None, {"auxiliary": ["age"]}, r"task.auxiliary: labels.csv has no column 'age' —"),
        (None, None, None, {"group": "family"}, r"task.group: no table has a column 'family' —"),
        (
            ["id,time,variable,value", "a,2020-01-01,HR,1"],
            None,
            None,
            {},
            r"task.reference: time holds dates",
        ),
        (
            ["id,time,variable,value", 'a,1,"HR,1', "b,2,HR,3"],
            None,
            None,
            {},
            r"long.csv, record line 2: quotes never",
        ),
        ([*LONG, "a,1,HR\0,3"], None, None, {}, r"long.csv, record line 18: holds NUL bytes"),
        (
            [*LONG, "a,1,HR"],
            None,
            None,
            {},
            r"long.csv, record line 18: has 3 cells where the header names 4",
        ),
    ],
)
def test_what_is_no_series_ends_in_one_line(
    long: list[str] | None,
    labels: list[str] | None,
    patients: list[str] | None,
    settings: dict[str, Any],
    said: str,
    tmp_path: Path,
) -> None:
    with pytest.raises((DataError, ConfigError), match=said) as found:
        read(tmp_path, long, labels, patients, **settings)
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


@pytest.mark.parametrize(
    ("argument", "read"),
    [
        ("task.columns.x=category", {"columns": {"x": "category"}}),
        ("task.columns={x: category}", {"columns": {"x": "category"}}),
        ("task.ranges.HR=[10,300]", {"ranges": {"HR": [10, 300]}}),
        ("task.label=Rückfall", {"label": "Rückfall"}),
        ("task.label=[died,ill]", {"label": ["died", "ill"]}),
        ("task.variables=20", {"variables": 20}),
        ("task.variables=[HR,K]", {"variables": ["HR", "K"]}),
    ],
)
def test_a_persons_own_names_are_keys_of_the_command_line(argument: str, read: dict[str, Any]) -> None:
    with initialize_config_dir(str(CONF)):
        overrides = of_task(spell_out(as_texts(["task=series", argument])))
        content = OmegaConf.to_container(compose("config", overrides=overrides).task)
    assert isinstance(content, dict)
    assert {key: content[key] for key in read} == read


def long_form(root: Path, folder: Path, sets: tuple[str, ...]) -> dict[str, str]:
    """The challenge's published files as a newcomer would turn them: rows as they are, labels beside."""
    task = Mortality()
    rows, patients, labels = [LONG[0]], [f"id,{','.join(m.name for m in DESCRIPTORS)}"], ["id,death"]
    for name in sets:
        where = root / "physionet2012"
        for raw in read_raw_files(where / f"set-{name}.tar.gz", task.forms, "").inputs:
            who, described = raw.name.rsplit("/", 1)[-1].removesuffix(".txt"), {}
            for line in bytes(raw.body).decode().splitlines()[1:]:  # type: ignore[arg-type]
                time, variable, value = line.split(",")
                if (
                    time == "00:00"
                    and any(variable == m.name for m in DESCRIPTORS)
                    and variable not in described
                ):
                    described[variable] = value
                elif variable not in ("RecordID", ""):
                    rows.append(f"{who},{line}")
            patients.append(",".join([who, *(described.get(m.name, "") for m in DESCRIPTORS)]))
        for line in (where / f"Outcomes-{name}.txt").read_text().splitlines()[1:]:
            labels.append(f"{line.split(',')[0]},{line.split(',')[-1]}")
    for file, lines in (("long", rows), ("patients", patients), ("labels", labels)):
        (folder / f"{file}.csv").write_text("\n".join(lines) + "\n")
    return {
        "file": str(folder / "long.csv"),
        "labels": str(folder / "labels.csv"),
        "descriptors": str(folder / "patients.csv"),
    }


def test_the_challenges_files_in_long_form_are_mortalitys_records(tmp_path: Path) -> None:
    """Equal to the last bit, so every model and figure is the same; what mortality mends is not believed."""
    publisher = PhysioNet2012(Mortality(), cache=False)
    publisher.simulate(tmp_path, 120, seed=5)
    expected = publisher.cohort(tmp_path, ("a", "b"))
    files = long_form(tmp_path, tmp_path, ("a", "b"))
    ranges = {m.name: (m.low, m.high) for m in (*DESCRIPTORS, *SERIES)}
    series = OwnSeriesFiles(OwnSeries(label="death", ranges=ranges, totals=TOTALS), **files)
    series.settle(tmp_path)
    found = series.cohort(tmp_path, ())
    assert found.records.ids.tolist() == expected.records.ids.tolist()
    np.testing.assert_array_equal(found.records.labels, expected.records.labels)
    for featurizer in (Statistics(hours=48), Irregular()):
        one, other = (featurizer.rows(cohort.records.without_labels()) for cohort in (found, expected))
        for name, array in other.arrays().items():
            np.testing.assert_array_equal(one.arrays()[name], array)
    assert found.records.digests.tolist() == expected.records.digests.tolist()
