"""The transcriptions task: a note's text, the publisher's table with its traps, and every fault by name."""

from __future__ import annotations

import csv
import io
import lzma
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.task import RawInput
from ehrbench.features.texts import Texts
from ehrbench.publishers.mtsamples import MTSamples
from ehrbench.publishers.mtsamples.near_duplicates import joined
from ehrbench.publishers.mtsamples.samples import COLUMNS, FOLDER, TABLE
from ehrbench.tasks.note_text import MOST_CHARACTERS
from ehrbench.tasks.transcriptions import SPECIALTIES, Transcriptions

TASK = Transcriptions()
PUBLISHER = MTSamples(TASK)
KNEE = "The left knee was prepped and draped, and an arthroscope was placed through the lateral portal. " * 3
HEART = (
    "Chest pain with exertion, relieved by rest; the stress test showed ischemia of the anterior wall. " * 3
)


def table_in(folder: Path, *rows: tuple[str, str], columns: tuple[str, ...] = COLUMNS) -> Path:
    """The publisher's table of (specialty, text)."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, extrasaction="ignore")
    writer.writeheader()
    for number, (specialty, text) in enumerate(rows):
        row = {"": number, "description": "told", "medical_specialty": f" {specialty}"}
        writer.writerow(row | {"sample_name": "x", "transcription": text, "keywords": specialty.lower()})
    (folder / FOLDER).mkdir(exist_ok=True)
    (folder / FOLDER / f"{TABLE}.xz").write_bytes(lzma.compress(out.getvalue().encode()))
    return folder


def test_a_text_is_one_record_with_all_its_specialties(tmp_path: Path) -> None:
    rows = [("Surgery", KNEE), ("Neurology", HEART), ("Orthopedic", KNEE), ("Surgery", ""), ("Surgery", KNEE)]
    cohort = PUBLISHER.read(table_in(tmp_path, *rows), ())
    records = cohort.records
    assert records.ids.tolist() == ["0", "1"]
    named = [{SPECIALTIES[c] for c in np.flatnonzero(y)} for y in records.labels]
    assert named == [{"Surgery", "Orthopedic"}, {"Neurology"}]
    assert cohort.flow["rows without a text"] == 1
    assert cohort.flow["distinct texts"] == 2


def test_a_row_may_be_a_record_with_one_label_and_its_text_stays_together(tmp_path: Path) -> None:
    rows = [("Surgery", KNEE), ("Neurology", HEART), ("Orthopedic", KNEE)]
    task = Transcriptions(reading="row")
    assert task.target.kind == "multiclass"
    records = MTSamples(task).read(table_in(tmp_path, *rows), ()).records
    assert records.ids.tolist() == ["0", "1", "2"]
    assert records.labels.sum(axis=1).tolist() == [1, 1, 1]
    one, other, again = records.groups.tolist()
    assert one == again != other
    posted = task.parse([RawInput("posted", {"text": KNEE})], strict=True).records
    assert posted.groups.tolist() == [one]  # a bundle knows the text again


def test_near_duplicates_are_one_group(tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(300)]
    changed = [*words[:100], "other", *words[101:]]
    texts = [" ".join(words), " ".join(changed), " ".join(words[50:120]), " ".join(words[::-1])]
    assert joined(texts).tolist() == [0, 0, 0, 3]
    records = PUBLISHER.read(table_in(tmp_path, *(("Surgery", text) for text in texts)), ()).records
    first = records.payload.digests()[[0, 0, 0, 3]]
    assert records.groups.tolist() == first.tolist()


def test_only_specialty_and_text_are_read(tmp_path: Path) -> None:
    """Keywords name the specialty: no model may see them, and a table without them is as good."""
    whole = PUBLISHER.read(table_in(tmp_path, ("Surgery", KNEE), ("Neurology", HEART)), ())
    bare = table_in(
        tmp_path, ("Surgery", KNEE), ("Neurology", HEART), columns=("medical_specialty", "transcription")
    )
    assert PUBLISHER.read(bare, ()).digest == whole.digest
    with pytest.raises(DataError, match="is refused: it begins with the specialty"):
        TASK.parse([RawInput("a", {"text": KNEE, "keywords": "surgery"})], strict=True)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "is empty"),
        (b" \r\n\t", "is empty"),
        (b"\xff\xfe\x00", "is not UTF-16 text"),
        ("Größe der Leber ist unverändert geblieben".encode("cp1252"), "is not UTF-8 text (byte 2)"),
        (b"CHIEF COMPLAINT:,", "has 2 words, and a note at least 5"),
        (b"a b c d \x00 e f g", "NUL"),
        (b"word " * (10 * 2**20 // 5), f"more than {MOST_CHARACTERS:,}"),
        ({}, "is missing"),
        ({"text": ""}, "is empty"),
        ({"text": 5}, "5 is not text"),
        ({"text": ["a"]}, "is not text"),
        ({"text": KNEE + "\ud800"}, "surrogate"),
        ({"text": KNEE, "age": 3}, "is not a known field"),
    ],
)
def test_what_is_no_note_is_named_when_strict_and_listed_when_not(body: object, problem: str) -> None:
    raw = RawInput("posted", body)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=f"{re.escape(problem)}.*—"):
        TASK.parse([raw], strict=True)
    parsed = TASK.parse([RawInput("good", {"text": KNEE}), raw], strict=False)
    assert parsed.records.ids.tolist() == ["good"]
    assert [skipped.record for skipped in parsed.skipped] == ["posted"]
    assert parsed.n_lost == 1


def test_encodings_and_line_ends_are_one_note() -> None:
    text = "Dr. Müller saw the patient today.\nNo complaints at all."
    bodies = [
        text.encode(),
        b"\xef\xbb\xbf" + text.encode(),
        text.encode("utf-16"),
        ("\r\n" + text.replace("\n", "\r\n")).encode(),
    ]
    found = [TASK.parse([RawInput("n.txt", body)], strict=True).records for body in bodies]
    assert {str(records.payload.digests()[0]) for records in found} == {
        str(TASK.parse([RawInput("n", {"text": text})], strict=True).records.payload.digests()[0])
    }


def test_missing_damaged_and_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data folder"):
        PUBLISHER.read(tmp_path / "nowhere", ())
    with pytest.raises(DataError, match="is not there"):
        PUBLISHER.read(tmp_path, ())
    path = table_in(tmp_path, ("Surgery", KNEE)) / FOLDER / f"{TABLE}.xz"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="damaged, truncated"):
        PUBLISHER.read(tmp_path, ())
    path.write_bytes(lzma.compress(b"a,b\n1,2\n"))
    with pytest.raises(DataError, match="medical_specialty: has no such column"):
        PUBLISHER.read(tmp_path, ())
    path.write_bytes(lzma.compress("medical_specialty,transcription\nSurgery,Größe\n".encode("latin-1")))
    with pytest.raises(DataError, match="is not UTF-8 text"):
        PUBLISHER.read(tmp_path, ())
    path.unlink()
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        archive.writestr("readme.md", "nothing")
    with pytest.raises(DataError, match=re.escape("holds no .csv")):
        PUBLISHER.read(tmp_path, ())
    with pytest.raises(ConfigError, match=r"data\.sets"):
        PUBLISHER.read(tmp_path, ("a",))
    with pytest.raises(ConfigError, match=r"task\.build\.reading"):
        Transcriptions(reading="column")


def test_an_unknown_specialty_is_named(tmp_path: Path) -> None:
    rows = [("Surgery", f"{KNEE} {i}") for i in range(5)]
    with pytest.raises(DataError, match=r"'Alchemy' is no known specialty; faulty rows: 1 of 6") as raised:
        PUBLISHER.read(table_in(tmp_path, *rows, ("Alchemy", HEART)), ())
    assert raised.value.record == "row 5"


def test_download_without_a_mirror_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--from URL"):
        PUBLISHER.download(tmp_path)
    mirror = table_in(tmp_path, ("Surgery", KNEE), ("Neurology", HEART))
    PUBLISHER.download(tmp_path / "got", mirror.as_uri())
    assert len(PUBLISHER.read(tmp_path / "got", ()).records) == 2


def test_a_simulated_table_has_the_published_one_s_traps(tmp_path: Path) -> None:
    for name in ("one", "two"):
        PUBLISHER.simulate(tmp_path / name, 400, seed=5)
    one, two = (tmp_path / name / FOLDER / f"{TABLE}.xz" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    cohort = PUBLISHER.read(tmp_path / "one", ())
    assert cohort.label == "simulated"
    assert len(cohort.records) == 400
    assert cohort.flow["rows"] > 700
    assert cohort.flow["rows without a text"] > 0
    assert cohort.flow["groups without near-duplicates"] < 400
    assert cohort.records.labels.sum(axis=0).min() >= 8


def test_pieces_of_a_text_are_its_sentences_and_their_words() -> None:
    text = Texts((f"EXAM: , Temp 98.6.\n{KNEE}",))
    pieces = text.pieces(99)
    shown = [text.shown()[slice(*piece)].strip() for piece in pieces]
    assert shown[:3] == ["EXAM: ,", "Temp 98.6.", KNEE[: len(KNEE) // 3].strip()]
    without = text.without(pieces[:2]).texts
    assert "EXAM" not in without[0]
    assert "98.6" not in without[1]
    assert len(text.pieces(2)) == 2
    assert len(text.pieces(5, pieces[2])) <= 5


@pytest.mark.data
def test_the_published_table(data: Path) -> None:
    cohort = PUBLISHER.read(data, ())
    assert cohort.flow["rows"] == 4999
    assert cohort.flow["rows without a text"] == 33
    assert cohort.flow["distinct texts"] == len(cohort.records) == 2357
    assert (cohort.records.labels.sum(axis=1) > 1).sum() == 2148
    assert cohort.records.labels.sum(axis=0).min() == 6
    rows = MTSamples(Transcriptions("row")).read(data, ()).records
    assert len(rows) == 4966
    _, text = np.unique(rows.digests, return_inverse=True)
    most = np.zeros((text.max() + 1, len(SPECIALTIES)))
    np.add.at(most, text, rows.labels)
    assert most.max(axis=1).sum() / len(rows) == pytest.approx(0.475, abs=5e-4)
