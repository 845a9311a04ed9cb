"""The diabetes task: the table, its groups, and every fault by name."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.task import RawInput
from ehrbench.publishers.brfss2015 import BRFSS2015, survey
from ehrbench.publishers.brfss2015.survey import TABLE
from ehrbench.tasks.brfss2015 import ANSWERS, NAMES, markdown_table, text_of
from ehrbench.tasks.diabetes import Diabetes
from ehrbench.tasks.raw_files import parse_files

TASK = Diabetes()
PUBLISHER = BRFSS2015(TASK)
ROW = dict(TASK.raw_schema()["examples"][0])


def csv_of(*rows, names=NAMES):
    lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def parse(body, strict=True):
    return TASK.parse([RawInput("posted", body)], strict=strict)


def table_in(folder, *rows):
    (folder / "diabetes").mkdir()
    path = folder / "diabetes" / TABLE
    path.write_bytes(csv_of(*rows, names=("Diabetes_binary", *NAMES)))
    return folder


def test_csv_json_and_example_are_the_same_record():
    digests = {parse(body).records.payload.digests()[0] for body in (ROW, csv_of(ROW), TASK.example().body)}
    assert len(digests) == 1
    shuffled = csv_of(ROW, names=NAMES[::-1])
    assert parse(shuffled).records.payload.digests()[0] in digests
    assert parse(ROW | {"record_id": 7}).records.ids.tolist() == ["7"]
    assert parse(csv_of(ROW, ROW)).records.ids.tolist() == ["posted:1", "posted:2"]
    assert len(TASK.parse([], strict=True).records) == 0


def test_read_groups_equal_answers(tmp_path):
    other = ROW | {"BMI": 30}
    rows = [ROW | {"Diabetes_binary": 1}, other | {"Diabetes_binary": 0}, ROW | {"Diabetes_binary": 0}]
    cohort = PUBLISHER.read(table_in(tmp_path, *rows), ())
    assert cohort.records.labels.tolist() == [[1], [0], [0]]
    assert cohort.records.ids.tolist() == ["1", "2", "3"]
    groups = cohort.records.groups.tolist()
    assert groups[0] == groups[2] != groups[1]
    assert cohort.flow["distinct answers"] == 2
    assert cohort.label == "publisher"
    assert cohort.set_of.tolist() == ["2015"] * 3
    assert cohort.records.subgroups["age_band"][0] == "65-69"
    assert parse_files(TASK, tmp_path / "diabetes" / TABLE).records.target is None


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("BMI", "tall", "'tall' is not a number"),
        ("BMI", "nan", "'nan' is not a number"),
        ("BMI", "1e999", "'1e999' is not a number"),
        ("BMI", "3_4", "'3_4' is not a number"),
        ("BMI", "", "'' is not a number"),
        ("BMI", 900, "900 is not a whole number from 10 to 100"),
        ("HighBP", 2, "2 is not a whole number from 0 to 1"),
        ("Age", 0, "0 is not a whole number from 1 to 13"),
        ("GenHlth", 2.5, "2.5 is not a whole number"),
        ("GenHlth", 1.0000001, "1.0000001 is not a whole number from 1 to 5"),
    ],
)
def test_a_bad_cell_is_named_when_strict_and_its_row_listed_when_not(field, value, problem):
    body = csv_of(ROW, ROW | {field: value}, ROW)
    with pytest.raises(DataError, match=re.escape(problem)) as raised:
        parse(body)
    assert (raised.value.record, raised.value.field) == ("line 3", field)
    parsed = parse(body, strict=False)
    assert parsed.records.ids.tolist() == ["posted:1", "posted:3"]
    assert [(s.record, s.field) for s in parsed.skipped] == [("line 3", field)]
    assert parsed.n_rows == 3
    if value != "":
        with pytest.raises(DataError, match="is not a") as raised:
            parse(ROW | {field: value})
        assert raised.value.field == field


def rewritten(rewrite):
    """A table of two rows, and the same after ``rewrite`` of its text."""
    body = csv_of(ROW, ROW | {"BMI": 30})
    return body, rewrite(body)


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda body: body + b"\n",
        lambda body: body + b"\n  \n\t\n",
        lambda body: body.replace(b"\n", b"\n\n"),
        lambda body: body.replace(b"\n", b"\r\n"),
        lambda body: body.replace(b"\n", b"\r"),
        lambda body: b"\xef\xbb\xbf" + body[:-1],
        lambda body: re.sub(rb"[^,\n]+", rb'"\g<0>"', body),
        lambda body: re.sub(rb"(?m)^1,", b'"1",', body),
        lambda body: re.sub(rb"[^,\n]+", rb' "\g<0> " ', body),
        lambda body: re.sub(rb"(?m)$", b",", body[:-1]).replace(b",\n", b",Diabetes_binary\n", 1) + b"\n",
        lambda body: re.sub(rb"(?m)$", b",unknown", body[:-1]).replace(b",unknown", b",Diabetes_binary", 1),
    ],
    ids=[
        *("blank end", "blank ends", "blank between", "CRLF", "CR", "mark"),
        *("quoted", "some quoted", "spaced", "empty label", "label"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_table_may_be_written_in_many_ways(rewrite, strict):
    expected, found = (parse(body, strict) for body in rewritten(rewrite))
    assert found.records.payload.digests().tolist() == expected.records.payload.digests().tolist()
    assert (len(found.records), found.n_rows, found.skipped) == (2, 2, ())


def test_a_fault_behind_blank_lines_is_named_by_its_line(tmp_path):
    body = csv_of(ROW, ROW | {"BMI": "tall"}, ROW).replace(b"\n", b"\n\n")
    with pytest.raises(DataError, match="'tall'") as raised:
        parse(body)
    assert raised.value.record == "line 5"
    assert parse(body, strict=False).records.ids.tolist() == ["posted:2", "posted:6"]


def test_a_label_that_is_read_must_be_one(tmp_path):
    for label in ("", 2):
        rows = [ROW | {"Diabetes_binary": 0}] * 3 + [ROW | {"Diabetes_binary": label}]
        (folder := tmp_path / f"of {label}").mkdir()
        with pytest.raises(DataError, match="line 5, field Diabetes_binary"):
            PUBLISHER.read(table_in(folder, *rows), ())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({k: v for k, v in ROW.items() if k != "BMI"}, "BMI"),
        (ROW | {"Height": 3}, "Height"),
        (ROW | {"BMI": True}, "BMI"),
        (ROW | {"BMI": None}, "BMI"),
        (ROW | {"BMI": [30]}, "BMI"),
        (ROW | {"BMI": 10**25}, "BMI"),
        (ROW | {"BMI": 10**400}, "BMI"),
        (csv_of(ROW, names=NAMES[1:]), NAMES[0]),
        (csv_of(ROW | {"Height": 3}, names=(*NAMES, "Height")), "Height"),
        (csv_of(ROW, names=(*NAMES, "BMI")), "BMI"),
        (b"", NAMES[0]),
        (csv_of(ROW) + b"1,2,3\n", "line"),
    ],
)
def test_wrong_columns_are_named(body, field):
    with pytest.raises(DataError) as raised:
        parse(body)
    assert raised.value.field == field
    assert raised.value.remedy


def test_a_table_whose_only_row_is_bad_holds_no_record():
    inputs = [RawInput("bad", csv_of(ROW | {"BMI": "tall"})), RawInput("good", csv_of(ROW))]
    parsed = TASK.parse(inputs, strict=False)
    assert parsed.records.ids.tolist() == ["good"]
    assert [s.file for s in parsed.skipped] == ["bad"]


def test_too_many_bad_rows_stop_the_run(tmp_path):
    rows = [ROW | {"Diabetes_binary": 0}] * 5 + [ROW | {"Diabetes_binary": 3}]
    with pytest.raises(DataError, match=r"3 is not a whole number from 0 to 1.*; faulty rows: 1 of 6"):
        PUBLISHER.read(table_in(tmp_path, *rows), ())


def test_missing_damaged_and_wrong_files_are_named(tmp_path):
    with pytest.raises(DataError, match="no such data folder"):
        PUBLISHER.read(tmp_path / "nowhere", ())
    with pytest.raises(DataError, match="is not there"):
        PUBLISHER.read(tmp_path, ())
    (tmp_path / f"{TABLE}.zip").write_bytes(b"PK cut")
    with pytest.raises(DataError, match="damaged"):
        PUBLISHER.read(tmp_path, ())
    with zipfile.ZipFile(tmp_path / f"{TABLE}.zip", "w") as archive:
        archive.writestr("readme.md", "nothing")
    with pytest.raises(DataError, match=re.escape("holds no .csv")):
        PUBLISHER.read(tmp_path, ())
    (tmp_path / f"{TABLE}.zip").unlink()
    (tmp_path / TABLE).write_bytes(csv_of(ROW))
    with pytest.raises(DataError, match="Diabetes_binary: has no such column"):
        PUBLISHER.read(tmp_path, ())
    (tmp_path / TABLE).write_bytes(csv_of(ROW | {"Diabetes_binary": 0}).split(b"\n")[0] + b"\n")
    with pytest.raises(DataError, match="holds no rows"):
        PUBLISHER.read(tmp_path, ())
    with pytest.raises(ConfigError, match=r"data.sets"):
        PUBLISHER.read(tmp_path, ("a",))


def zip_of(path: Path, **tables: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in tables.items():
            archive.writestr(name, body)
    return path


def labelled(*rows: dict) -> bytes:
    return csv_of(*(ROW | row for row in rows), names=("Diabetes_binary", *NAMES))


def test_of_several_tables_the_publishers_is_read_or_none(tmp_path):
    """Kaggle's archive holds a resample of half the rows beside the table, and comes first by name."""
    full, half = labelled(*[{"Diabetes_binary": 0}] * 3), labelled({"Diabetes_binary": 1})
    path = tmp_path / f"{TABLE}.zip"
    for order in ({"a_5050split.csv": half, TABLE: full}, {TABLE: full, "z.csv": half}):
        zip_of(path, **order)
        assert len(PUBLISHER.read(tmp_path, ()).records) == 3
    zip_of(path, **{f"archive/{TABLE}": full, f"__MACOSX/archive/._{TABLE}": b"\0", ".x.csv": b"\0"})
    assert len(PUBLISHER.read(tmp_path, ()).records) == 3
    zip_of(path, **{"mine.csv": full})
    assert len(PUBLISHER.read(tmp_path, ()).records) == 3
    for several in ({"b.csv": full, "a.csv": half}, {f"b/{TABLE}": full, f"a/{TABLE}": half}):
        zip_of(path, **several)
        with pytest.raises(DataError, match=f"holds several: {', '.join(sorted(several))} — ") as refused:
            PUBLISHER.read(tmp_path, ())
        assert refused.value.file == path


def test_an_archive_to_predict_is_its_folder(tmp_path):
    folder, bodies = tmp_path / "tables", {"a.csv": csv_of(ROW, ROW), "b.csv": csv_of(ROW)}
    folder.mkdir()
    for name, body in bodies.items():
        (folder / name).write_bytes(body)
    (folder / "readme.md").write_text("")
    archive = zip_of(tmp_path / "tables.zip", **bodies)
    for path in (folder, archive):
        assert parse_files(TASK, path).records.ids.tolist() == ["a:1", "a:2", "b"]
    found = parse_files(TASK, folder)
    assert ([s.file for s in found.skipped], found.n_lost) == (["tables/readme.md"], 0)
    TASK.check_skipped(found, "")
    (folder / "c.csv").symlink_to("gone")
    with pytest.raises(DataError, match=r"tables/c.csv: cannot be read .* — mend it, or take it away"):
        parse_files(TASK, folder)


def test_a_download_is_checked_by_the_publishers_table(tmp_path, monkeypatch):
    full, half = labelled(*[{"Diabetes_binary": 0}] * 3), labelled({"Diabetes_binary": 1})
    monkeypatch.setattr(survey, "SHA256_OF_TABLE", hashlib.sha256(full).hexdigest())
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    zip_of(mirror / f"{TABLE}.zip", **{f"__MACOSX/._{TABLE}": b"\0", "a_5050split.csv": half, TABLE: full})
    PUBLISHER.download(tmp_path, mirror.as_uri())
    assert len(PUBLISHER.read(tmp_path, ()).records) == 3
    zip_of(mirror / f"{TABLE}.zip", **{"a.csv": half, "b.csv": full})
    (tmp_path / "diabetes" / f"{TABLE}.zip").unlink()
    with pytest.raises(DataError, match=r"holds several: a.csv, b.csv"):
        PUBLISHER.download(tmp_path, mirror.as_uri())


def test_download_without_a_mirror_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="--from URL"):
        PUBLISHER.download(tmp_path)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    with zipfile.ZipFile(mirror / f"{TABLE}.zip", "w") as archive:
        archive.writestr(TABLE, csv_of(ROW))
    with pytest.raises(DataError, match="does not hold the published table"):
        PUBLISHER.download(tmp_path, mirror.as_uri())
    assert not (tmp_path / "diabetes" / f"{TABLE}.zip").exists()


def test_simulated_table_is_read_labelled_and_repeatable(tmp_path):
    for name in ("one", "two"):
        PUBLISHER.simulate(tmp_path / name, 4000, seed=5)
    one, two = (tmp_path / name / "diabetes" / f"{TABLE}.zip" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    cohort = PUBLISHER.read(tmp_path / "one", ())
    assert cohort.label == "simulated"
    assert len(cohort.records) == 4000
    assert 0.08 < cohort.records.labels.mean() < 0.2
    PUBLISHER.simulate(tmp_path / "one", 10, seed=1)
    real = table_in(tmp_path, ROW | {"Diabetes_binary": 0})
    with pytest.raises(DataError, match="not simulated"):
        PUBLISHER.simulate(real, 10, seed=1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*(st.integers(a.low, a.high) for a in ANSWERS)), min_size=1, max_size=6))
def test_a_batch_is_its_rows_one_by_one(rows):
    body = "\n".join(text_of(np.array(rows, dtype=float))).encode()
    whole = parse(body).records
    singles = [parse(dict(zip(NAMES, row, strict=True))).records for row in rows]
    assert whole.payload.digests().tolist() == [s.payload.digests()[0] for s in singles]
    for name, values in whole.subgroups.items():
        assert values.tolist() == [s.subgroups[name][0] for s in singles]


def test_documentation_shows_the_columns_as_they_are():
    text = (Path(__file__).parents[2] / "docs" / "tasks" / "diabetes.md").read_text()
    assert markdown_table() in text, "put brfss2015.markdown_table() into docs/tasks/diabetes.md"
