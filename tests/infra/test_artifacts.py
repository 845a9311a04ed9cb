"""FileArtifacts on a folder and on fsspec's memory file system."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrbench.core.errors import ConfigError, StorageError
from ehrbench.infra.artifacts import FileArtifacts, pack, unpack


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileArtifacts:
    return FileArtifacts(tmp_path / "a" if request.param == "folder" else f"memory://{uuid.uuid4().hex}")


def test_round_trip(store: FileArtifacts) -> None:
    content = os.urandom(10_000)
    digest = store.put(content)
    assert digest == hashlib.sha256(content).hexdigest()
    assert store.put(content) == digest
    assert store.get(digest) == content
    assert store.holds(digest)


def test_missing_and_dropped(store: FileArtifacts) -> None:
    digest = store.put(b"x")
    store.drop(digest)
    store.drop(digest)
    assert not store.holds(digest)
    with pytest.raises(StorageError, match="missing"):
        store.get(digest)


def test_altered_content_is_an_error(tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path)
    digest = store.put(b"predictions")
    (tmp_path / digest[:2] / digest[2:]).write_bytes(b"predictionz")
    with pytest.raises(StorageError, match="altered"):
        store.get(digest)


def test_a_truncated_file_is_mended_by_storing_again(tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path)
    digest = store.put(b"predictions")
    (tmp_path / digest[:2] / digest[2:]).write_bytes(b"pred")
    store.put(b"predictions")
    assert store.get(digest) == b"predictions"


def test_a_crash_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileArtifacts(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        store.put(b"predictions")
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_fault_of_an_object_store_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of object stores raise what is no OSError; a worker must stop, not spend its tickets on it."""
    store = FileArtifacts(f"memory://{uuid.uuid4().hex}")

    def away(*_: object, **__: object) -> None:
        raise RuntimeError("Could not connect\nto the endpoint URL")

    for name in ("exists", "cat_file", "rm_file"):
        monkeypatch.setattr(store._files, name, away)
    for call in (lambda: store.put(b"x"), lambda: store.get("0" * 64), lambda: store.drop("0" * 64)):
        with pytest.raises(StorageError, match=r"\(Could not connect to the endpoint URL\) — check"):
            call()


def test_models_may_have_a_place_of_their_own(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"w" * 100)
    before = FileArtifacts(tmp_path / "a")
    old = before.put_folder(model)
    (model / "weights").write_bytes(b"v" * 100)
    store = FileArtifacts(tmp_path / "a", folders=tmp_path / "c")
    new, predictions = store.put_folder(model), store.put(b"predictions")
    assert not before.holds(new)
    assert (tmp_path / "c" / new[:2] / new[2:]).is_file()
    assert (tmp_path / "a" / predictions[:2] / predictions[2:]).is_file()
    for digest, letter in ((old, b"w"), (new, b"v")):  # also what was stored before it had one
        store.get_folder(digest, tmp_path / "out")
        assert (tmp_path / "out" / "weights").read_bytes() == letter * 100
        store.drop(digest)
    assert not [path for path in (tmp_path / "c").rglob("*") if path.is_file()]
    (tmp_path / "c" / "00").mkdir(exist_ok=True)
    (tmp_path / "c" / "00" / "x.partial").touch()
    assert [path.name for path in store.partial_files()] == ["x.partial"]


def test_a_foreign_digest_is_refused(store: FileArtifacts) -> None:
    with pytest.raises(StorageError, match="not an artifact's digest"):
        store.get("../../etc/passwd")


def test_unknown_scheme() -> None:
    with pytest.raises(ConfigError, match="ARTIFACTS_URL"):
        FileArtifacts("gopher://somewhere/here")


def test_folders(store: FileArtifacts, tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    for folder, order in ((first, "ab"), (second, "ba")):
        folder.mkdir()
        for name in order:
            (folder / name).write_text(name)
    os.utime(first / "a", (0, 0))
    (second / "b").chmod(0o600)
    digest = store.put_folder(first)
    assert store.put_folder(second) == digest  # times, rights and order do not matter
    store.get_folder(digest, tmp_path / "out")
    assert {p.name: p.read_text() for p in (tmp_path / "out").iterdir()} == {"a": "a", "b": "b"}


def test_only_flat_folders(tmp_path: Path) -> None:
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    with pytest.raises(StorageError, match="not a plain file"):
        pack(tmp_path / "in")
    with pytest.raises(StorageError, match="not a packed folder"):
        unpack(b"x" * 1024, tmp_path / "out")


@settings(deadline=None)  # the first call opens the file system
@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    store = FileArtifacts("memory://any")
    assert store.get(store.put(content)) == content


@pytest.mark.parametrize("name", ["a::b", "::", "x::s3", "50%?#[]*{a}", "file:x", "~x"])
def test_a_folder_of_any_name(name: str, tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path / name)
    digest = store.put(b"content")
    assert store.get(digest) == b"content"
    assert store.holds(digest)
    assert (tmp_path / name / digest[:2] / digest[2:]).is_file()
    store.drop(digest)
    assert not store.holds(digest)
