"""Batch inference on raw files: what cannot be read is told, and too much of it refuses the input."""

from __future__ import annotations

import csv
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ehrbench.app.runs import scoring
from ehrbench.core.errors import ConfigError, DataError, StorageError
from tests.serve.mortality import mortality_bundle


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """A bundle of the mortality task, and a folder of 40 raw files."""
    root = tmp_path_factory.mktemp("scoring")
    bundle, data, _ = mortality_bundle(root)
    with tarfile.open(next(data.rglob("set-b.tar.gz"))) as archive:
        members = [member for member in archive if member.name.endswith(".txt")][:40]
        archive.extractall(root, members)
    return bundle, root / "set-b"


@pytest.fixture
def raw(built, tmp_path) -> Path:
    """A copy of these files, to be harmed."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for path in built[1].glob("*.txt"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def predict(bundle: Path, raw: Path, max_skipped: object = 0.001) -> list[str]:
    """The records predicted."""
    config = settings(bundle, raw) | {"max_skipped": max_skipped}
    scoring.predict_files(config)
    with config["output"].open() as file:
        return [row["record"] for row in csv.DictReader(file)]


def settings(bundle: Path, raw: Path) -> dict[str, Any]:
    return {
        "bundle": bundle,
        "input": raw,
        "output": raw.parent / "out.csv",
        "threads": 1,
        "max_skipped": 0.001,
    }


def test_a_few_bad_rows_are_told_one_by_one(built, raw, capsys):
    one = sorted(raw.glob("*.txt"))[3]
    one.write_text(one.read_text() + "47:00,HR,fast\n")
    assert predict(built[0], raw) == sorted(path.stem for path in raw.glob("*.txt"))
    told = " ".join(capsys.readouterr().err.split())
    assert "predicted records: 40" in told
    assert f"skipped rows: 1 raw/{one.name}, record {one.stem}, field Value in line" in told
    assert "'fast' is not a number" in told


def test_too_much_that_cannot_be_read_refuses_the_input(built, raw, capsys):
    one, two = sorted(raw.glob("*.txt"))[:2]
    one.write_text("time;parameter;value\n")
    with pytest.raises(DataError, match=r"lost records: 1 of 40 — .* larger max_skipped") as raised:
        predict(built[0], raw)
    assert (raised.value.file, raised.value.record) == (f"raw/{one.name}", one.stem)
    assert not (raw.parent / "out.csv").exists()
    two.write_text(re.sub(r"(?m)^(\d\d:\d\d,HR),.*$", r"\1,x", two.read_text()))
    found = predict(built[0], raw, max_skipped=1)
    assert found == sorted({path.stem for path in raw.glob("*.txt")} - {one.stem})
    told = " ".join(capsys.readouterr().err.split())
    n_skipped = 1 + two.read_text().count(",HR,x")
    assert (
        f"predicted records: 39 {raw.parent / 'out.csv'} skipped rows: {n_skipped}, lost records: 1" in told
    )
    assert f"and {n_skipped - 10} more" in told


def test_one_patient_is_read_as_strictly_as_the_server_does(built, raw):
    one = min(raw.glob("*.txt"))
    kept = one.read_text()
    one.write_text(kept + "47:05,,2.5\n")  # the publisher's own set c has such rows
    assert predict(built[0], one) == [one.stem]
    one.write_text(kept + "99:99,HR,80\n")
    with pytest.raises(DataError, match=rf"record {one.stem}, field Time .*'99:99' is not a time HH:MM"):
        predict(built[0], one)


@pytest.mark.parametrize(
    ("share", "problem"),
    [
        (-0.1, "input should be greater than or equal to 0 (got -0.1)"),
        (1.5, "input should be less than or equal to 1 (got 1.5)"),
        (True, "input should be a valid number (got True)"),
        ("all", "input should be a valid number (got 'all')"),
    ],
)
def test_a_share_that_is_none_is_refused_before_the_bundle_is_opened(share, problem, tmp_path):
    with pytest.raises(ConfigError, match=re.escape(f"max_skipped: {problem}")):
        predict(tmp_path / "nowhere", tmp_path, share)


def test_a_record_that_stands_twice_is_refused(built, raw):
    one = min(raw.glob("*.txt"))
    (raw / "copy.txt").write_bytes(one.read_bytes())
    with pytest.raises(DataError, match=rf"record {one.stem}: stands twice .* — keep one of them"):
        predict(built[0], raw)
    assert not (raw.parent / "out.csv").exists()


def test_a_place_that_cannot_be_written_is_named(built, raw):
    one = min(raw.glob("*.txt"))
    output = one / "out.csv"  # below a file
    with pytest.raises(StorageError, match=r"out\.csv: cannot be written \(File exists\) — "):
        scoring.predict_files(settings(built[0], raw) | {"output": output})


def test_a_key_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^limit: unknown key"):
        scoring.predict_files(settings(tmp_path, tmp_path) | {"limit": 3})
