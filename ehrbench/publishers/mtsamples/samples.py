"""MTSamples: one table, in ``transcriptions/`` under the data folder or directly in it.

``mtsamples.csv``, or packed as ``.csv.xz``, ``.csv.gz`` or ``.csv.zip``: description, medical_specialty,
sample_name, transcription, keywords. Read are the specialty and the transcription, nothing else: keywords,
sample name and description were written by the publisher for its index, and all 3,850 cells of keywords begin
with the row's specialty.
"""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from ehrbench.core.errors import DataError
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.records import Records
from ehrbench.core.task import Cohort, Parsed, Publisher, Skipped
from ehrbench.core.types import IntArray
from ehrbench.features.texts import Texts
from ehrbench.publishers.downloading import Remote, download_files
from ehrbench.publishers.mtsamples.near_duplicates import joined
from ehrbench.publishers.mtsamples.simulated_notes import simulated_rows
from ehrbench.publishers.published_folder import PublishedFolder, cohort_label
from ehrbench.tasks.note_text import checked
from ehrbench.tasks.numbers import shown
from ehrbench.tasks.tabular_files import csv_of
from ehrbench.tasks.transcriptions import SPECIALTIES, Transcriptions, notes

FOLDER, TABLE = "transcriptions", "mtsamples.csv"
COLUMNS = ("", "description", "medical_specialty", "sample_name", "transcription", "keywords")
SPECIALTY, TEXT = "medical_specialty", "transcription"
GET = (
    f"fetch {TABLE} by hand into {FOLDER}/ (Kaggle, tboyle10/medicaltranscriptions, asks for an account), or "
    "name a mirror: ehrbench data get transcriptions --from URL"
)


class _Row(NamedTuple):
    """number: from 0, as the publisher counts."""

    number: int
    specialty: str
    text: str


class MTSamples(PublishedFolder):
    """The one published table, read as the task's ``reading`` says."""

    folders: ClassVar[tuple[str, ...]] = (FOLDER,)
    sets: ClassVar[tuple[str, ...]] = ("mtsamples",)
    get: ClassVar[str] = GET
    notice: ClassVar[str] = "Simulated by ehrbench. These are no people's notes."

    def read(self, root: Path, sets: Sequence[str], progress: Progress = SILENT) -> Cohort:
        sets, folder = self.chosen_sets(sets), self.folder(Path(root))
        with progress.step("Reading notes", total=2) as step:
            path = _table(folder)
            rows, skipped, flow = _rows(path, _content(path))
            if not rows:
                raise DataError("holds no rows with a text", file=path, remedy=GET)
            step.advance()
            number: dict[str, int] = {}
            for row in rows:
                number.setdefault(row.text, len(number))
            group = joined(list(number))
            step.advance()
        assert isinstance(self.task, Transcriptions)
        records = _records(rows, number, group, self.task.reading)
        self.task.check_skipped(Parsed(records, skipped, flow["rows"], len(skipped)), GET)
        flow |= {
            "distinct texts": len(number),
            "groups without near-duplicates": len(np.unique(group)),
            "records": len(records),
        }
        return Cohort(records, sets, cohort_label(folder), skipped, flow)

    def with_contents(
        self, root: Path, place: Path, donors: Mapping[str, str]
    ) -> tuple[Publisher, Path] | None:
        """All rows of a text get the donor's, so that it keeps its specialties."""
        assert isinstance(self.task, Transcriptions)
        path = _table(self.folder(Path(root)))
        body = _content(path)
        first: dict[str, int] = {}
        owner = {}
        for row in _rows(path, body)[0]:
            known = first.setdefault(row.text, row.number)
            owner[row.number] = known if self.task.reading == "set" else row.number
        table = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""))
        header, *rows = [row for row in table if row]
        at = header.index(TEXT)
        texts = [row[at] for row in rows]
        for number, of in owner.items():
            rows[number][at] = texts[int(donors.get(str(of), of))]
        (place / TABLE).write_bytes(csv_of([header, *rows]))
        return self, place

    def download(self, root: Path, source: str | None = None, progress: Progress = SILENT) -> None:
        """The publisher wants an account: without ``source`` the error says what to do by hand."""
        folder = self.download_folder(Path(root))
        if source is None:
            raise DataError("cannot be fetched without an account", file=TABLE, remedy=GET)
        remotes = [Remote(f"{TABLE}.xz", None)]
        download_files(remotes, folder, source, subfolder=FOLDER, progress=progress)

    def simulate(self, root: Path, n_records: int, seed: int, progress: Progress = SILENT) -> None:
        """``n_records`` distinct texts, most in several rows."""
        with self.simulated_folder(Path(root)) as folder, progress.step("Simulating", total=1) as step:
            out = io.StringIO(newline="")
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows((i, *row) for i, row in enumerate(simulated_rows(n_records, seed)))
            (folder / f"{TABLE}.xz").write_bytes(lzma.compress(out.getvalue().encode(), preset=1))
            step.advance()


def _records(rows: Sequence[_Row], number: Mapping[str, int], group: IntArray, reading: str) -> Records:
    """Labelled records: of distinct texts with all their specialties, or of rows with one each."""
    text_of = np.array([number[row.text] for row in rows])
    specialty = np.array([SPECIALTIES.index(row.specialty) for row in rows])
    first = np.unique(text_of, return_index=True)[1]  # a text's first row names it
    kept, owner = (first, text_of) if reading == "set" else (np.arange(len(rows)),) * 2
    y = np.zeros((len(kept), len(SPECIALTIES)))
    y[owner, specialty] = 1
    ids = np.array([str(row.number) for row in rows])
    records = notes(ids[kept], tuple(rows[i].text for i in kept))
    of_first = Texts(tuple(number)).digests()[group]  # a group is named by its first text
    return replace(records, groups=of_first[text_of[kept]], target=y)


def _rows(path: Path, body: bytes) -> tuple[list[_Row], tuple[Skipped, ...], dict[str, int]]:
    """Rows with a text, those skipped for a fault, and the counts of all."""
    try:
        table = csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline=""))
        for wanted in (SPECIALTY, TEXT):
            if wanted not in (table.fieldnames or ()):
                raise DataError("has no such column", file=path, field=wanted, remedy=GET)
        read = list(table)
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8 text (byte {error.start:,})", file=path, remedy=GET) from None
    except csv.Error as error:
        raise DataError(f"is no table of comma-separated values ({error})", file=path, remedy=GET) from None
    rows, skipped, n_empty = [], [], 0
    for number, row in enumerate(read):
        line, specialty = f"row {number}", (row[SPECIALTY] or "").strip()
        if not (row[TEXT] or "").strip():
            n_empty += 1
        elif specialty not in SPECIALTIES:
            skipped.append(Skipped(path.name, line, SPECIALTY, f"{shown(specialty)} is no known specialty"))
        else:
            try:
                rows.append(_Row(number, specialty, checked(str(row[TEXT]), record=line)))
            except DataError as error:
                skipped.append(Skipped(path.name, line, TEXT, error.problem))
    flow = {"rows": len(read), "rows without a text": n_empty, "rows skipped": len(skipped)}
    return rows, tuple(skipped), flow


def _table(folder: Path) -> Path:
    for ending in (".xz", "", ".gz", ".zip"):
        if (path := folder / f"{TABLE}{ending}").exists():
            return path
    raise DataError("is not there", file=folder / f"{TABLE}.xz", remedy=GET)


def _content(path: Path) -> bytes:
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                tables = [name for name in archive.namelist() if name.endswith(".csv")]
                if not tables:
                    raise DataError("holds no .csv", file=path, remedy=GET)
                return archive.read(tables[0])
        body = path.read_bytes()
        if path.suffix == ".xz":
            return lzma.decompress(body)
        return gzip.decompress(body) if path.suffix == ".gz" else body
    except (OSError, EOFError, RuntimeError, lzma.LZMAError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"is damaged, truncated or unreadable ({error})", file=path, remedy=GET) from error
