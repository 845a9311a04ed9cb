"""CardioSpike: one table of labelled recordings, in ``cardiospike/`` under the data folder or directly in it.

``train.csv`` of ``id,time,x,y``; ``test.csv`` has no labels, and is for ``predict.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from ehrbench.core.errors import DataError
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.task import Cohort, Publisher
from ehrbench.publishers.cardiospike.simulated_recordings import simulated_recordings
from ehrbench.publishers.downloading import Remote, download_files
from ehrbench.publishers.published_folder import PublishedFolder, cohort_label
from ehrbench.tasks.cardiospike import read_csv, text_of
from ehrbench.tasks.numbers import cells_of
from ehrbench.tasks.rr_rhythm import parsed_recordings

FOLDER = "cardiospike"
TABLE = "train.csv"
GET = (
    f"put the competition's {TABLE} into {FOLDER}/ by hand (its organisers hand it out), or name a mirror: "
    "ehrbench data get rr_rhythm --from URL"
)


class CardioSpike(PublishedFolder):
    """The one labelled table."""

    folders: ClassVar[tuple[str, ...]] = (FOLDER,)
    sets: ClassVar[tuple[str, ...]] = ("train",)
    get: ClassVar[str] = GET
    notice: ClassVar[str] = "Simulated by ehrbench. These are nobody's heart beats."

    def read(self, root: Path, sets: Sequence[str], progress: Progress = SILENT) -> Cohort:
        sets, path = self.chosen_sets(sets), self.folder(Path(root)) / TABLE
        with progress.step("Reading recordings", total=1) as step:
            table = read_csv(path.name, _content(path), strict=False, labelled=True)
            step.advance()
        if not table.n_rows:
            raise DataError("holds no beats", file=path, remedy=GET)
        if table.labels is None:
            raise DataError("has no such column", file=path, field="y", remedy=GET)
        parsed = parsed_recordings([table])
        self.task.check_skipped(parsed, f"mend {path}, or {GET}")
        records = replace(parsed.records, target=table.labels[:, None])
        flow = {
            "rows": table.n_rows,
            "rows skipped": len(table.skipped),
            "recordings": len(records),
            "beats": records.total_units,
            "beats in an anomaly": int(table.labels.sum()),
        }
        return Cohort(records, sets, cohort_label(path.parent), table.skipped, flow)

    def with_contents(
        self, root: Path, place: Path, donors: Mapping[str, str]
    ) -> tuple[Publisher, Path] | None:
        """A recording's labels go on under the donor's beats, from the first again where those are more."""
        path = self.folder(Path(root)) / TABLE
        header, *rows = [cells_of(line) for line in _content(path).decode("utf-8-sig").splitlines() if line]
        name, label = header.index("id"), header.index("y")
        rows_of: dict[str, list[list[str]]] = {}
        for row in rows:
            rows_of.setdefault(row[name], []).append(row)
        lines = [header]
        for record, own in rows_of.items():
            for i, beat in enumerate(rows_of[donors.get(record, record)]):
                moved = list(beat)
                moved[name], moved[label] = record, own[i % len(own)][label]
                lines.append(moved)
        (place / TABLE).write_text("\n".join(map(",".join, lines)) + "\n", encoding="utf-8")
        return self, place

    def download(self, root: Path, source: str | None = None, progress: Progress = SILENT) -> None:
        """The organisers hand it out: without ``source`` the error says what to do by hand."""
        folder = self.download_folder(Path(root))
        if source is None:
            raise DataError("has no address that anybody may fetch it from", file=TABLE, remedy=GET)
        files = [Remote(TABLE, None), Remote("test.csv", None, optional=True)]
        download_files(files, folder, source, subfolder=FOLDER, progress=progress)

    def simulate(self, root: Path, n_records: int, seed: int, progress: Progress = SILENT) -> None:
        with self.simulated_folder(Path(root)) as folder, progress.step("Simulating", total=1) as step:
            rr, labels = simulated_recordings(n_records, seed)
            lines = text_of([str(i + 1) for i in range(n_records)], rr, labels)
            (folder / TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")
            step.advance()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError("is not there", file=path, remedy=GET) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", file=path, remedy=GET) from error
