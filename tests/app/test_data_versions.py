"""Versions of data: what DVC has recorded is told beside the search's digest, and whether it still holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ehrbench.app.composed.blocks import Data
from ehrbench.app.wired.data_versions import recorded_versions
from ehrbench.core.errors import DataError


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of DVC: a folder by a stage, and a file by ``dvc add``."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "data" / "challenge" / ".cache").mkdir(parents=True)
    (tmp_path / "data" / "challenge" / "a.txt").write_text("12345")
    (tmp_path / "data" / "challenge" / ".cache" / "rows").write_text("not counted")
    (tmp_path / "data" / "own.csv").write_text("x,y\n")
    out = {"path": "data/challenge", "hash": "md5", "md5": "1f.dir", "size": 5, "nfiles": 1}
    elsewhere = {"path": "data/gone", "md5": "2f", "size": 5}
    stages = {
        "get": {"cmd": "get", "outs": [out]},
        "other": {"cmd": "other", "outs": [elsewhere]},
        "bare": {},
    }
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    added = {"outs": [{"path": "own.csv", "md5": "3f", "size": 4}]}
    (tmp_path / "data" / "own.csv.dvc").write_text(yaml.safe_dump(added))
    return tmp_path


def data(root: Path, file: Path | None = None) -> Data:
    return Data(
        root=root, sets=["a"], train_sets=[], test_sets=[], file=file, test_file=None, labels=None,
        descriptors=None, limit=None,
    )  # fmt: skip


def test_of_a_folder_of_a_stage(repository: Path) -> None:
    expected = {"data/challenge": {"md5": "1f.dir", "as_recorded": True}}
    assert recorded_versions(data(repository / "data" / "challenge")) == expected


def test_of_all_that_lies_where_a_publisher_looks(repository: Path) -> None:
    assert sorted(recorded_versions(data(repository / "data"))) == ["data/challenge", "data/own.csv"]


def test_of_a_file_of_ones_own_alone(repository: Path) -> None:
    found = recorded_versions(data(repository / "data", repository / "data" / "own.csv"))
    assert found == {"data/own.csv": {"md5": "3f", "as_recorded": True}}


def test_what_was_changed_since_is_told(repository: Path) -> None:
    (repository / "data" / "challenge" / "b.txt").write_text("")
    (repository / "data" / "own.csv").write_text("x,y,z\n")
    found = recorded_versions(data(repository / "data"))
    assert {path: version["as_recorded"] for path, version in found.items()} == {
        "data/challenge": False,
        "data/own.csv": False,
    }


def test_without_a_repository_of_dvc_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text("not read")
    assert recorded_versions(data(tmp_path)) == {}


@pytest.mark.parametrize("content", ["stages: [", "just text", "stages: {get: {outs: [{md5: 1f}]}}"])
def test_a_broken_file_of_dvc_is_named(repository: Path, content: str) -> None:
    (repository / "dvc.lock").write_text(content)
    with pytest.raises(DataError, match=r"dvc\.lock.*is no file of DVC.* — restore it from git"):
        recorded_versions(data(repository / "data"))
