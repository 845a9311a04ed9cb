"""Folders, archives and single files as other machines pack them, and what lies in them besides records."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from ehrbench.core.errors import DataError
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality
from ehrbench.tasks.raw_files import LEFT_OUT, parse_files, read_raw_files
from tests.tasks.texts import OUTCOMES, record_text

RECORDS = {"11.txt": record_text(11), "12.txt": record_text(12)}


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return buffer.getvalue()


def read(path: Path):
    return read_raw_files(path, Mortality.forms, "mend it")


def names(inputs) -> list[str]:
    return [raw.name.rsplit("/", 1)[-1] for raw in inputs]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("set.zip", zip_of),
        ("set.tar", tar_of),
        ("set.tar.gz", lambda files: gzip.compress(tar_of(files))),
        ("SET.TGZ", lambda files: gzip.compress(tar_of(files))),
        ("set.tar.xz", lambda files: lzma.compress(tar_of(files))),
        ("set.tbz2", lambda files: bz2.compress(tar_of(files))),
        ("download", lambda files: gzip.compress(tar_of(files))),
    ],
)
def test_an_archive_is_what_its_content_says(name, pack, tmp_path):
    (tmp_path / name).write_bytes(pack({f"set-a/{record}": body for record, body in RECORDS.items()}))
    found = read(tmp_path / name)
    assert {raw.name: raw.body for raw in found.inputs} == {f"{name}/{k}": v for k, v in RECORDS.items()}
    assert found.skipped == ()
    (tmp_path / name).write_bytes(pack({"readme.md": b"nothing"}))
    with pytest.raises(DataError, match=rf"holds no \.txt records, but {name}/readme.md — mend it"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["11.txt.gz", "11.TXT.xz", "11"])
def test_a_single_file_may_be_packed_or_have_any_name(name, tmp_path):
    pack = {".gz": gzip.compress, ".xz": lzma.compress}.get(Path(name).suffix, bytes)
    (tmp_path / name).write_bytes(pack(RECORDS["11.txt"]))
    assert [(raw.name, raw.body) for raw in read(tmp_path / name).inputs] == [(name, RECORDS["11.txt"])]


@pytest.mark.parametrize(
    ("name", "body", "problem"),
    [
        ("set.7z", b"7z\xbc\xaf\x27\x1c more", "is a 7z archive — unpack it, or pack it as"),
        ("set.rar", b"Rar!\x1a\x07 more", "is a RAR archive — unpack it"),
        ("set.tar.zst", b"\x28\xb5\x2f\xfd more", "is a Zstandard archive — unpack it"),
        ("set.zip", b"<html>sign in</html>", r"is damaged \(it is no archive\)"),
        ("set.gz", b"<html>sign in</html>", r"is damaged \(it is no archive\)"),
        ("set.zip", zip_of(RECORDS)[:-30], "is damaged"),
        ("set.tar.gz", gzip.compress(tar_of(RECORDS))[:-30], "is truncated"),
        ("set.tar.xz", lzma.compress(tar_of(RECORDS))[:-30], "is damaged"),
        ("set.tar.bz2", bz2.compress(tar_of(RECORDS))[:-30], "is damaged"),
    ],
)
def test_an_archive_that_cannot_be_read_is_named(name, body, problem, tmp_path):
    (tmp_path / name).write_bytes(body)
    with pytest.raises(DataError, match=problem) as refused:
        read(tmp_path / name)
    assert refused.value.file == tmp_path / name


def test_what_a_machine_lays_beside_records_is_not_looked_at(tmp_path):
    members = {f"./set-a/{name}": body for name, body in RECORDS.items()}
    members |= {"__MACOSX/set-a/._11.txt": b"\0", "set-a/.DS_Store": b"\0", ".git/13.txt": b"\0"}
    for archive, pack in (("a.tar", tar_of), ("a.zip", zip_of)):
        (tmp_path / archive).write_bytes(pack(members))
        found = read(tmp_path / archive)
        assert names(found.inputs) == ["11.txt", "12.txt"]
        assert found.skipped == ()
    folder = tmp_path / "set-a"
    (folder / "__MACOSX").mkdir(parents=True)
    for name, body in {**RECORDS, "._11.txt": b"\0", ".DS_Store": b"\0"}.items():
        (folder / name).write_bytes(body)
    assert names(read(folder).inputs) == ["11.txt", "12.txt"]
    assert read(folder).skipped == ()


def test_what_is_left_out_or_lost_is_named_and_the_others_are_read(tmp_path):
    folder = tmp_path / "set-a"
    (folder / "more").mkdir(parents=True)
    for name, body in {**RECORDS, "notes.md": b"x", "13.TXT": record_text(13)}.items():
        (folder / name).write_bytes(body)
    (folder / "14.txt").symlink_to("gone.txt")
    (folder / "15.txt").symlink_to("15.txt")
    (folder / "16.txt").mkdir()
    os.mkfifo(folder / "17.txt")
    found = read(folder)
    assert names(found.inputs) == ["11.txt", "12.txt", "13.TXT"]
    assert [(s.file, s.record, s.problem) for s in found.lost] == [
        ("set-a/14.txt", "14", "cannot be read (No such file or directory)"),
        ("set-a/15.txt", "15", "cannot be read (Too many levels of symbolic links)"),
        ("set-a/16.txt", "16", "cannot be read (Is a directory)"),
        ("set-a/17.txt", "17", "is no file"),
    ]
    assert [(s.file, s.problem in LEFT_OUT) for s in found.left_out] == [
        ("set-a/more", True),
        ("set-a/notes.md", True),
    ]


def test_links_in_an_archive_are_followed_or_named(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        (tmp_path / "11.txt").write_bytes(RECORDS["11.txt"])
        archive.add(tmp_path / "11.txt", "s/11.txt")
        for name, to, kind in (
            ("s/12.txt", "11.txt", tarfile.SYMTYPE),
            ("s/13.txt", "s/11.txt", tarfile.LNKTYPE),
            ("s/14.txt", "gone.txt", tarfile.SYMTYPE),
            ("s/15.txt", "", tarfile.FIFOTYPE),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, to
            archive.addfile(link)
    found = read(tmp_path / "a.tar")
    assert [raw.body for raw in found.inputs] == [RECORDS["11.txt"]] * 3
    assert [(s.record, s.problem) for s in found.lost] == [
        ("14", "is a link to gone.txt, which is not in the archive"),
        ("15", "is no file"),
    ]


def test_one_lost_record_of_thousands_stops_no_cohort(tmp_path):
    """Listed, also from the cache; of a few records it is too many, and named."""
    folder, ids = tmp_path / "set-a", range(1, 1103)
    folder.mkdir()
    for i in ids[:-1]:
        (folder / f"{i}.txt").write_bytes(record_text(i))
    (folder / f"{ids[-1]}.txt").symlink_to("gone")
    (folder / "notes.md").write_text("")
    (tmp_path / "Outcomes-a.txt").write_text(OUTCOMES + "".join(f"{i},6,1,5,-1,{i % 2}\n" for i in ids))
    for _ in range(2):
        cohort = PhysioNet2012(Mortality()).read(tmp_path, ("a",))
        assert [s.file for s in cohort.skipped] == ["set-a/1102.txt", "set-a/notes.md"]
        assert cohort.flow["record files skipped"] == 1
        assert len(cohort.records) == 1101
    (folder / "notes.md").rename(folder / "other.md")
    assert [s.file for s in PhysioNet2012(Mortality()).read(tmp_path, ("a",)).skipped][1] == "set-a/other.md"
    for i in ids[200:-1]:
        (folder / f"{i}.txt").unlink()
    with pytest.raises(DataError, match=r"set-a/1102.txt, .*cannot be read .*lost records: 1 of 201"):
        PhysioNet2012(Mortality()).read(tmp_path, ("a",))


def test_names_of_any_bytes_are_spelled_out(tmp_path):
    folder = tmp_path / "set-a"
    folder.mkdir()
    odd = os.fsdecode(b"\xff\xe9.txt")
    for name in (odd, "é.txt"):
        (folder / name).write_bytes(record_text(11 if name == odd else 12, "99:99,HR,80"))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(folder, "set-a")
    for path in (folder, tmp_path / "a.tar"):
        assert names(read(path).inputs) == ["\\xff\\xe9.txt", "é.txt"]
    (tmp_path / "Outcomes-a.txt").write_text(f"{OUTCOMES}11,6,1,5,-1,0\n12,6,1,5,-1,1\n")
    with pytest.raises(DataError, match=r"file set-a/\\xff\\xe9.txt, record 11"):
        PhysioNet2012(Mortality()).read(tmp_path, ("a",))
    parsed = parse_files(Mortality(), folder)
    "".join(s.file for s in parsed.skipped).encode("utf-8")
