"""A person's own table: any dialect, kinds inferred, labels of any spelling; one line for what is none."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.task import Cohort, RawInput
from ehrbench.publishers.own_files import reading
from ehrbench.publishers.own_table_files import OwnTableFiles
from ehrbench.tasks.own_table import OwnTable
from ehrbench.tasks.tabular_files import read_table

HEADER = "pid,age (years),sex,ward,smoker,seen,remark,died"
ROWS = [
    f"p{i},{40 + i % 30},{'MF'[i % 2]},{('icu', 'eye', 'ear')[i % 3]},{('yes', 'no', '')[i % 3]},"
    f"2020-01-{1 + i % 28:02},remark {i},{('no', 'yes')[i % 4 == 0]}"
    for i in range(60)
]
CSV = "\n".join([HEADER, *ROWS]) + "\n"


def cohort_of(path: Path, **settings: Any) -> tuple[OwnTable, Cohort]:
    publisher = OwnTableFiles(OwnTable(**{"label": "died", "id": "pid", **settings}), str(path))
    task = publisher.settle(path.parent)
    assert isinstance(task, OwnTable)
    return task, publisher.read(path.parent, ())


def written(folder: Path, body: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(body.encode() if isinstance(body, str) else body)
    return path


def test_kinds_are_inferred_and_free_text_is_left_out(tmp_path: Path) -> None:
    task, cohort = cohort_of(written(tmp_path, CSV))
    assert [(c.name, c.kind, c.unit) for c in task.columns] == [
        ("age (years)", "number", "years"),
        ("sex", "category", ""),
        ("ward", "category", ""),
        ("smoker", "flag", ""),
        ("seen", "date", ""),
    ]
    assert any("remark" in note for note in cohort.notes)
    assert cohort.records.labels.sum() == 15
    assert cohort.records.ids[:2].tolist() == ["p0", "p1"]
    assert set(cohort.records.subgroups) == {"sex", "ward", "smoker"}
    days = cohort.records.payload.values[0, 4]  # type: ignore[attr-defined]
    assert days == (np.datetime64("2020-01-01") - np.datetime64("2000-01-01")).astype(int)


def test_a_column_of_names_that_nobody_called_the_id_is_told(tmp_path: Path) -> None:
    _, cohort = cohort_of(written(tmp_path, CSV), id=None)
    assert any(note.endswith("(if they name the rows: task.id=pid)") for note in cohort.notes)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("plain.csv", lambda text: text.encode()),
        ("crlf.csv", lambda text: text.replace("\n", "\r\n").encode("utf-8-sig")),
        ("semicolons.csv", lambda text: text.replace(",", ";").encode()),
        ("tabs.tsv", lambda text: text.replace(",", "\t").encode("utf-16")),
        ("latin.csv", lambda text: text.replace("eye", "Ünit").encode("latin-1")),
        ("quoted.csv", lambda text: re.sub(r"[^,\n]+", r'"\g<0>"', text).encode()),
        ("packed.csv.gz", lambda text: gzip.compress(text.encode())),
    ],
)  # fmt: skip
def test_any_dialect_gives_the_same_records(name: str, change: Any, tmp_path: Path) -> None:
    expected = cohort_of(written(tmp_path, CSV))[1].records
    (tmp_path / "other").mkdir()
    task, cohort = cohort_of(written(tmp_path / "other", change(CSV), name))
    if name == "latin.csv":
        assert any("Latin-1" in note for note in cohort.notes)
        assert "Ünit" in cohort.records.payload.levels["ward"]  # type: ignore[attr-defined]
    else:
        assert cohort.records.digests.tolist() == expected.digests.tolist()
    np.testing.assert_array_equal(cohort.records.labels, expected.labels)
    posted = task.parse(
        [RawInput("r", json.loads(json.dumps(task.raw_schema()["examples"][0])))], strict=True
    )
    assert posted.records.digests == task.parse([task.example()], strict=True).records.digests


def test_parquet_brings_its_own_types(tmp_path: Path) -> None:
    table = pa.table({"a": [1.5, None, 3.0] * 20, "b": [True, False, None] * 20, "c": ["x", "y", None] * 20,
                      "y": [0, 1, 1] * 20})  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet")
    task, cohort = cohort_of(tmp_path / "t.parquet", label="y", id=None)
    assert [c.kind for c in task.columns] == ["number", "flag", "category"]
    assert cohort.records.labels.sum() == 40
    nested = pa.table({"a": [[1]] * 9, "y": [0, 1, 1] * 3})
    pq.write_table(nested, tmp_path / "n.parquet")
    with pytest.raises(DataError, match=r"n.parquet, field a: holds list.*—"):
        cohort_of(tmp_path / "n.parquet", label="y", id=None)


@pytest.mark.parametrize(
    ("values", "settings", "kind", "classes", "positives"),
    [
        (["alive", "dead"], {}, "binary", ("y",), 30),
        (["1", "0"], {}, "binary", ("y",), 30),
        (["A", "B"], {"positive": "A"}, "binary", ("y",), 30),
        (["low", "mid", "high"], {}, "multiclass", ("high", "low", "mid"), 60),
        (["1", "2", "3"], {"positive": 3}, "binary", ("y",), 20),
        (["yes", "no", ""], {}, "binary", ("y",), 20),
    ],
)
def test_labels_of_any_spelling(
    values: list[str],
    settings: dict[str, Any],
    kind: str,
    classes: tuple[str, ...],
    positives: int,
    tmp_path: Path,
) -> None:
    rows = [f"{i},{values[i % len(values)]}" for i in range(60)]
    task, cohort = cohort_of(written(tmp_path, "\n".join(["x,y", *rows])), label="y", id=None, **settings)
    assert (task.target.kind, task.target.classes) == (kind, classes)
    assert np.nansum(cohort.records.labels) == positives
    assert cohort.flow["rows without a label"] == (20 if "" in values else 0)


def test_several_labels_and_a_group(tmp_path: Path) -> None:
    rows = [f"{i},{i // 3},{i % 2},{('yes', 'no')[i % 5 == 0]}" for i in range(60)]
    path = written(tmp_path, "\n".join(["x,patient,a,b", *rows]))
    task, cohort = cohort_of(path, label=["a", "b"], id=None, group="patient")
    assert (task.target.kind, task.target.classes) == ("multilabel", ("a", "b"))
    assert len(set(cohort.records.groups)) == 20
    assert task.names == ("x",)


def test_a_column_that_betrays_the_label_is_warned_of(tmp_path: Path) -> None:
    rows = [f"{i % 7},{i % 2 + 0.1},{('alive', 'buried')[i % 2]},{i % 2}" for i in range(80)]
    _, cohort = cohort_of(written(tmp_path, "\n".join(["x,copy,state,y", *rows])), label="y", id=None)
    told = [note.split(" ")[0] for note in cohort.notes if "by itself" in note]
    assert told == ["copy", "state"]


def test_a_column_that_is_given_only_with_the_outcome_is_warned_of(tmp_path: Path) -> None:
    """The date of a death and its cause, which nobody knows before; not what is missing now and then."""
    rows = [
        f"{i % 7},{('', f'2020-01-{1 + i % 9:02d}')[i % 2]},{('', ('mi', 'sepsis')[i % 4 // 2])[i % 2]},"
        f"{'' if i % 3 == 0 else i % 5},{i % 2}"
        for i in range(80)
    ]
    lines = ["x,died_on,cause,lactate,y", *rows]
    _, cohort = cohort_of(written(tmp_path, "\n".join(lines)), label="y", id=None)
    told = [note.split(":")[0] for note in cohort.notes if "by itself" in note]
    expected = "whether {} is given tells y by itself (AUROC 1.0000)"
    assert told == [expected.format("died_on"), expected.format("cause")]


def test_an_id_that_stands_twice_is_told_with_both_lines(tmp_path: Path) -> None:
    """And with the files, where a folder holds them."""
    body = "pid,x,y\n" + "\n".join(f"p{i},{i % 3},{i % 2}" for i in range(30))
    remedy = "keep one of the two, or where a patient has several rows say task.group in place of task.id"
    with pytest.raises(
        DataError, match=f"^file table.csv, record p4, line 32: stands there twice, in line 6 too — {remedy}$"
    ):
        cohort_of(written(tmp_path, f"{body}\np4,1,1"), label="y", id="pid")
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "a.csv").write_text(body)
    (folder / "b.csv").write_text("pid,x,y\n\nq1,1,0\np4,1,1\n")
    with pytest.raises(
        DataError, match=r"^file .*b.csv, record p4, line 4: .* twice, in .*a.csv, line 6 too"
    ):
        cohort_of(folder, label="y", id="pid")


def test_a_time_of_its_own(tmp_path: Path) -> None:
    _, cohort = cohort_of(written(tmp_path, CSV), time="seen")
    assert cohort.time_of[:2].tolist() == [7305.0, 7306.0]
    with pytest.raises(DataError, match=r"field ward: holds no dates — .*task.columns.ward=date"):
        cohort_of(written(tmp_path, CSV), time="ward")


def test_a_folder_of_files_is_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    written(folder, "\n".join([HEADER, *ROWS[:30]]), "a.csv")
    written(folder, "\n".join([HEADER, *ROWS[30:]]), "b.csv")
    _, cohort = cohort_of(folder)
    expected = cohort_of(written(tmp_path, CSV))[1].records
    assert sorted(cohort.records.digests) == sorted(expected.digests)


def test_unseen_categories_and_missing_cells_are_values(tmp_path: Path) -> None:
    task, _ = cohort_of(written(tmp_path, CSV))
    body = {"age (years)": None, "sex": "X", "ward": "moon", "smoker": None, "seen": "2031-02-03"}
    records = task.parse([RawInput("r", body)], strict=True).records
    assert records.payload.levels == {"sex": ("X",), "ward": ("moon",)}  # type: ignore[attr-defined]
    assert np.isnan(records.payload.values[0]).tolist() == [True, False, False, True, False]  # type: ignore[attr-defined]
    known = RawInput("s", {**body, "sex": "M", "ward": None})
    both = task.parse([RawInput("r", body), known], strict=True).records
    assert both.flags["unseen_category"].tolist() == [True, False]  # and an answer says so


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda body: "\n\n" + body.replace("\n", "\n  \n") + "\n\t\n",
        lambda body: re.sub(r"[^,\n]+", r'"\g<0>"', body),
        lambda body: re.sub(r"(yes|no)$", "", body, flags=re.MULTILINE),
        lambda body: re.sub(r"(yes|no)$", "who knows", body, flags=re.MULTILINE),
        lambda body: re.sub(r",died$", "", re.sub(r",(yes|no)$", "", body, flags=re.M), flags=re.M),
    ],
    ids=["blank lines", "quoted", "empty label", "another label", "no label"],
)
def test_rows_to_predict_may_be_written_in_many_ways(rewrite: Any, tmp_path: Path) -> None:
    task, cohort = cohort_of(written(tmp_path, CSV))
    found = task.parse([RawInput("more.csv", rewrite(CSV).encode())], strict=True)
    assert found.records.ids.tolist() == cohort.records.ids.tolist()
    assert found.records.digests.tolist() == cohort.records.digests.tolist()


def test_a_faulty_cell_is_named_by_its_line_behind_blank_ones_and_long_cells(tmp_path: Path) -> None:
    task, _ = cohort_of(written(tmp_path, CSV))
    body = "\n\n" + CSV.replace("remark 1,", '"two\nlines",').replace("\np3,43", "\n\np3,old")
    with pytest.raises(DataError, match=r"record line 9, field age .*: 'old' is no number"):
        task.parse([RawInput("more.csv", body.encode())], strict=True)
    assert body.split("\n")[8].startswith("p3,old")


def test_a_long_cell_widens_no_other(tmp_path: Path) -> None:
    """A category of two million letters in one of 1,000 rows would be text of 8 GB, and is "other"."""
    task, _ = cohort_of(written(tmp_path, CSV))
    rows = [f"p{i},50,M,{'x' * 2_000_000 if i == 7 else 'icu'},yes,2020-01-01,,\n" for i in range(1000)]
    tracemalloc.start()
    records = task.parse([RawInput("more.csv", f"{HEADER}\n{''.join(rows)}".encode())], strict=True).records
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert records.subgroups["ward"][[6, 7]].tolist() == ["icu", "other"]
    assert peak < 50e6
    with pytest.raises(DataError, match="record line 3, field pid: 202 characters, more than 128"):
        task.parse([RawInput("more.csv", f"{HEADER}\n{rows[0]}{'x' * 200}{rows[1]}".encode())], strict=True)


@pytest.mark.parametrize("first", ["", "Unnamed: 0", "__index_level_0__"])
def test_names_of_rows_are_left_out_and_told(first: str, tmp_path: Path) -> None:
    """As R's write.csv and pandas' to_csv and to_parquet write them, here in order of the outcome."""
    plain = pa.table({first: range(40), "x": [0.5, 1.5] * 20, "y": [0] * 20 + [1] * 20})
    pq.write_table(plain, tmp_path / "table.parquet")
    pc.write_csv(plain, tmp_path / "table.csv")
    for path in (tmp_path / "table.csv", tmp_path / "table.parquet"):
        table = read_table(path.name, path.read_bytes())
        assert list(table.columns) == ["x", "y"]
        assert table.notes[-1].endswith("taken for the rows' names, and left out")
    assert list(read_table("t.csv", b"x,Unnamed: 0\n1,2\n").columns) == ["x", "Unnamed: 0"]


@pytest.mark.parametrize(
    ("body", "settings", "said"),
    [
        ("", {}, "table.csv: is empty —"),
        ("a,b\n1,2\n", {"label": "y"}, "task.label: table.csv has no column 'y' — it has a, b"),
        ("x,y\n1,1\n2,1\n", {"label": "y"}, "field y: holds one value only, 1 —"),
        ("x,y\n" + "\n".join(f"{i},{i}" for i in range(300)), {"label": "y"}, "field y: holds 300 values —"),
        ("x,y\n1,left\n2,right\n", {"label": "y"}, "task.positive: .* — say task.positive=right"),
        ("x,x,y\n1,2,0\n", {"label": "y"}, "field x: stands twice in the header —"),
        ("x,,y\n1,2,0\n", {"label": "y"}, "column 2 has no name —"),
        ("x,x.missing,y\n1,2,0\n3,1,1\n", {"label": "y"}, "field x.missing: is what a part of column x is"),
        ("a,a=b,y\nb,2,0\nc,1,1\n", {"label": "y"}, "field a=b: is what a part of column a is called here —"),
        (
            "x,y\n1,0\n2\n3,1\n",
            {"label": "y"},
            "record line 3: has 1 cells where the header names 2 columns —",
        ),
        ('x,y\n1,0\n"2,1\n3,1\n', {"label": "y"}, "record line 3: .*quotes never close"),
        ("x,y\n1,\x000\n", {"label": "y"}, "holds NUL bytes"),
        (
            "y\n1\n0\n",
            {"label": "y"},
            "has no column to predict from, besides the label — give one beside it",
        ),
        (
            "x,y\n" + "\n".join(f"told {i},{i % 2}" for i in range(40)),
            {"label": "y"},
            "to predict from, x: 40 different texts; .* — say task.columns.COLUMN=category",
        ),
        ("x,y\n", {"label": "y"}, "table.csv: holds no rows — give them below its header"),
        ("x,y\n1,0\n2,1\n", {"label": "y", "columns": {"z": "number"}}, "task.columns.z: .* no such column"),
        (
            "x,y\n1,0\n2,1\n",
            {"label": "y", "columns": {"x": "integer"}},
            "task.columns.x: 'integer' is no kind",
        ),
        (
            "x,y\nred,0\n2,1\n",
            {"label": "y", "columns": {"x": "number"}},
            "line 2, field x: 'red' is no number",
        ),
    ],
)
def test_what_is_no_table_ends_in_one_line(
    body: str, settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises((DataError, ConfigError), match=said):
        cohort_of(written(tmp_path, body), id=None, **settings)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"age (years)": "old"}, "field age \\(years\\): 'old' is no number"),
        ({"age (years)": True}, "field age \\(years\\): True is no number"),
        ({"age (years)": 1e300}, "field age \\(years\\): 1e\\+300 is no number"),  # it became infinite
        ({"ward": ["icu"]}, "field ward: .* is no cell"),
        ({"seen": "yesterday"}, "field seen: 'yesterday' is no date \\(%Y-%m-%d\\)"),
        ({"smoker": "perhaps"}, "field smoker: 'perhaps' is no flag"),
        ({"colour": "red"}, "field colour: is not a known column"),
    ],
)
def test_a_posted_row_that_cannot_be_names_its_field(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    task, _ = cohort_of(written(tmp_path, CSV))
    body = {**task.raw_schema()["examples"][0], **change}
    with pytest.raises(DataError, match=said):
        task.parse([RawInput("r", body)], strict=True)


def test_a_dates_column_that_is_typed_takes_texts_too(tmp_path: Path) -> None:
    """A Parquet file's own dates: the example, a posted row and a CSV bring them as ISO 8601."""
    days = np.datetime64("2020-01-01", "s") + np.arange(40) * np.timedelta64(1, "D")
    table = pa.table({"seen": days, "age": np.arange(40), "died": [i % 2 for i in range(40)]})
    pq.write_table(table, tmp_path / "typed.parquet")
    task, cohort = cohort_of(tmp_path / "typed.parquet", id=None)
    expected = cohort.records.payload.values[3, 0]  # type: ignore[attr-defined]
    task.parse([task.example()], strict=True)
    for text in ("2020-01-04", "2020-01-04 00:00:00", "2020-01-04T00:00:00"):
        posted = task.parse([RawInput("row", {"seen": text, "age": 3})], strict=True).records
        assert posted.payload.values[0, 0] == expected  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"04\.01\.2020.* is no date"):
        task.parse([RawInput("row", {"seen": "04.01.2020", "age": 3})], strict=True)


def test_thousands_of_columns_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(40, 3000)).round(2).astype(str)
    lines = [
        ",".join([*(f"g{i}" for i in range(3000)), "y"]),
        *(f"{','.join(r)},{i % 2}" for i, r in enumerate(cells)),
    ]
    task, cohort = cohort_of(written(tmp_path, "\n".join(lines)), label="y", id=None)
    assert len(task.names) == 3000
    assert len(task.parse([task.example()], strict=True).records) == 1
    assert cohort.records.payload.values[0, 2999] == np.float32(cells[0, 2999])  # type: ignore[attr-defined]


def test_dates_of_several_forms_are_left_out_with_a_word(tmp_path: Path) -> None:
    dates = ["2020-01-02", "2020-01-03", "04.01.2020"] * 20
    lines = ["seen,x,y", *(f"{date},{i},{i % 2}" for i, date in enumerate(dates))]
    task, cohort = cohort_of(written(tmp_path, "\n".join(lines)), label="y", id=None)
    assert task.names == ("x",)
    assert "seen: dates of several forms (2020-01-02, 04.01.2020); left out: write them alike" in cohort.notes


def test_dates_are_of_several_forms_whichever_comes_first_and_most_often(tmp_path: Path) -> None:
    dates = [("04.01.2020", "2020-01-02", "unknown day")[(0, 1, 1, 1, 2)[i % 5]] for i in range(60)]
    lines = ["seen,x,y", *(f"{date},{i},{i % 2}" for i, date in enumerate(dates))]
    task, cohort = cohort_of(written(tmp_path, "\n".join(lines)), label="y", id=None)
    assert task.names == ("x",)
    assert "seen: dates of several forms (04.01.2020, 2020-01-02); left out: write them alike" in cohort.notes


def test_much_memory_is_told_before_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("wb") as file:
        file.truncate(2_000_000_000)  # a hole: nothing is written
    assert reading([str(path), None], "Looking").startswith("Looking: about 12 GB of memory")
    assert reading([str(tmp_path)], "Looking").startswith("Looking: about 12 GB of memory")
    path.write_text("x,y\n")
    assert reading([str(path)], "Looking") == "Looking"


def test_ten_million_rows_are_told_however_short_they_are(tmp_path: Path) -> None:
    """Three million of three columns were seen to take 1.3 GB; by the text alone it were 0.2."""
    path = tmp_path / "narrow.csv"
    path.write_text("x,ward,died\n" + "0.12,icu,1\n" * 10_000)
    with path.open("r+b") as file:
        file.truncate(134_000_000)
    assert re.match(r"Looking: about [56] GB of memory", reading([str(path)], "Looking"))
