"""CDC BRFSS 2015, health indicators: one table, in ``diabetes/`` under the data folder or directly in it.

``diabetes_binary_health_indicators_BRFSS2015.csv.zip``, or the ``.csv`` in it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ehrbench.core.errors import DataError
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.task import Cohort, Parsed, Publisher
from ehrbench.publishers.brfss2015.simulated_answers import simulated_answers
from ehrbench.publishers.downloading import Remote, download_files
from ehrbench.publishers.published_folder import PublishedFolder, cohort_label
from ehrbench.tasks.brfss2015 import LABEL, read_csv, text_of
from ehrbench.tasks.diabetes import Diabetes, people
from ehrbench.tasks.numbers import cells_of
from ehrbench.tasks.raw_files import read_raw_files

FOLDER = "diabetes"
TABLE = "diabetes_binary_health_indicators_BRFSS2015.csv"
SHA256_OF_TABLE = "19f367e3e3350768f0c144c5d73ee5b355f67a57eaaa86ca7bd8aec594d8b1d0"
GET = (
    f"fetch {TABLE}.zip by hand into diabetes/ (Kaggle, alexteboul/diabetes-health-indicators-dataset, asks "
    "for an account), or name a mirror: ehrbench data get diabetes --from URL"
)


class BRFSS2015(PublishedFolder):
    """The one published table."""

    folders: ClassVar[tuple[str, ...]] = (FOLDER,)
    sets: ClassVar[tuple[str, ...]] = ("2015",)
    get: ClassVar[str] = GET
    notice: ClassVar[str] = "Simulated by ehrbench. These are no people's answers."

    def read(self, root: Path, sets: Sequence[str], progress: Progress = SILENT) -> Cohort:
        sets, folder = self.chosen_sets(sets), self.folder(Path(root))
        with progress.step("Reading answers", total=1) as step:
            name, body = _table(folder)
            answers = read_csv(name, body, strict=False, labelled=True)
            step.advance()
        if not answers.n_rows:
            raise DataError("holds no rows", file=name, remedy=GET)
        if answers.labels is None:
            raise DataError("has no such column", file=name, field=LABEL.name, remedy=GET)
        records = people((answers.lines - 1).astype(str), answers.values, answers.labels[:, None])
        self.task.check_skipped(Parsed(records, answers.skipped, answers.n_rows, len(answers.skipped)), GET)
        flow = {
            "rows": answers.n_rows,
            "rows skipped": len(answers.skipped),
            "records": len(records),
            "distinct answers": len(np.unique(records.groups)),
        }
        return Cohort(records, sets, cohort_label(folder), answers.skipped, flow)

    def with_contents(
        self, root: Path, place: Path, donors: Mapping[str, str]
    ) -> tuple[Publisher, Path] | None:
        _, body = _table(self.folder(Path(root)))
        lines = body.decode("utf-8-sig").splitlines()
        at = cells_of(lines[0]).index(LABEL.name)
        rows = [cells_of(line) for line in lines]
        for record, donor in donors.items():
            own, answers = rows[int(record)], cells_of(lines[int(donor)])
            rows[int(record)] = [*answers[:at], own[at], *answers[at + 1 :]]
        (place / TABLE).write_text("\n".join(map(",".join, rows)) + "\n", encoding="utf-8")
        return self, place

    def download(self, root: Path, source: str | None = None, progress: Progress = SILENT) -> None:
        """The publisher wants an account: without ``source`` the error says what to do by hand."""
        folder = self.download_folder(Path(root))
        if source is None:
            raise DataError("cannot be fetched without an account", file=f"{TABLE}.zip", remedy=GET)
        remote = Remote(f"{TABLE}.zip", None, member_sha256=SHA256_OF_TABLE)
        download_files([remote], folder, source, subfolder=FOLDER, progress=progress)

    def simulate(self, root: Path, n_records: int, seed: int, progress: Progress = SILENT) -> None:
        with self.simulated_folder(Path(root)) as folder, progress.step("Simulating", total=1) as step:
            values, labels = simulated_answers(n_records, seed)
            body = ("\n".join(text_of(values, labels)) + "\n").encode()
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(zipfile.ZipInfo(TABLE, (2015, 1, 1, 0, 0, 0)), body, zipfile.ZIP_DEFLATED)
            (folder / f"{TABLE}.zip").write_bytes(packed.getvalue())
            step.advance()


def _table(folder: Path) -> tuple[str, bytes]:
    for path in (folder / f"{TABLE}.zip", folder / TABLE):
        if path.exists():
            (raw,) = read_raw_files(path, Diabetes.forms, GET, wanted=TABLE).inputs
            assert isinstance(raw.body, bytes)
            return raw.name, raw.body
    raise DataError("is not there", file=folder / f"{TABLE}.zip", remedy=GET)
