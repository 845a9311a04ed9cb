"""A person's own series read: any span of time, dates or hours, ids that do not meet."""

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

from ehrbench.app.composed.conf import CONF
from ehrbench.app.composed.entry import of_task, spell_out
from ehrbench.app.composed.overrides import as_texts
from ehrbench.core.errors import DataError
from ehrbench.core.task import RawInput
from ehrbench.features.events import Events
from ehrbench.tasks.raw_files import parse_files
from tests.tasks.small_series import LONG, OUTCOMES, PATIENTS, events_in, publisher_of, read

START = np.datetime64("2021-03-01T08:30:00")


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
