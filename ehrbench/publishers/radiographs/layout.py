"""What the three layouts share: their folders, tables, downloads, marks of simulation, and the cohort."""

from __future__ import annotations

import csv
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from ehrbench.core.errors import DataError
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.task import Cohort, Parsed, Publisher, Skipped, Task
from ehrbench.core.types import FloatArray
from ehrbench.features.pictures import Pictures
from ehrbench.publishers.downloading import Remote, download_files
from ehrbench.publishers.published_folder import PublishedFolder, cohort_label
from ehrbench.publishers.radiographs.decoded_images import DecodedImages, decode_images
from ehrbench.publishers.radiographs.image_files import ImageFile, image_files
from ehrbench.tasks.radiographs.reading import picture_records
from ehrbench.tasks.xray import XRay


@dataclass
class Examination:
    """One labelled examination: its images by name, the labels of the target's classes, and what is known.

    labels (C,) of 0, 1 and NaN; auxiliary: name -> label; subgroups: name -> level.
    """

    id: str
    group: str
    set: str
    images: list[str]
    labels: FloatArray
    subgroups: Mapping[str, str] = field(default_factory=dict)
    auxiliary: Mapping[str, float] = field(default_factory=dict)


class RadiographPublisher(PublishedFolder):
    """A layout says which examinations there are; the rest is here.

    Parameters
    ----------
    cache: keep decoded images on disk, under $EHRBENCH_CACHE or ``<root>/.cache``.
    """

    files: ClassVar[tuple[Remote, ...]]
    notice: ClassVar[str] = "Drawn by ehrbench. These are nobody's radiographs."

    def __init__(self, task: Task, cache: bool = True) -> None:
        super().__init__(task)
        assert isinstance(task, XRay)
        self.size, self.cache = task.size, bool(cache)
        self._donors: Mapping[str, str] = {}  # of ``with_contents``

    @abstractmethod
    def examinations(
        self, folder: Path, sets: Sequence[str], images: Mapping[str, ImageFile]
    ) -> list[Examination]:
        """All of these sets, in the publisher's order; each image is one of ``images``."""

    def missing(self) -> tuple[Skipped, ...]:
        """Rows of the last ``examinations`` that name no image there is."""
        return ()

    def read(self, root: Path, sets: Sequence[str], progress: Progress = SILENT) -> Cohort:
        sets, folder = self.chosen_sets(sets), self.folder(Path(root))
        images = image_files(folder, self.get)
        found = self.examinations(folder, sets, images)
        if not found:
            raise DataError("holds no examination of these sets", file=folder, remedy=self.get)
        images_of = {one.id: one.images for one in found}
        found = [replace(one, images=images_of[self._donors.get(one.id, one.id)]) for one in found]
        names = [name for one in found for name in one.images]
        decoded = decode_images(
            [(name, images[name]) for name in names], self.size, folder, progress, cache=self.cache
        )
        cohort = self._cohort(found, decoded, sets, folder)
        parsed = Parsed(cohort.records, cohort.skipped, len(names), len(found) - len(cohort.records))
        self.task.check_skipped(parsed, f"mend the files under {folder}, or {self.get}")
        return cohort

    def with_contents(
        self, root: Path, place: Path, donors: Mapping[str, str]
    ) -> tuple[Publisher, Path] | None:
        """Images under other examinations; which of its images an examination has, is not looked at."""
        twin = copy(self)
        twin.cache, twin._donors = False, donors
        return twin, root

    def _cohort(
        self, found: list[Examination], decoded: DecodedImages, sets: tuple[str, ...], folder: Path
    ) -> Cohort:
        """Of the examinations with at least one image that could be decoded."""
        of_image = np.repeat(np.arange(len(found)), [len(one.images) for one in found])
        counts = np.bincount(of_image[decoded.good], minlength=len(found))
        kept = [one for one, count in zip(found, counts, strict=True) if count]
        payload = Pictures(
            decoded.pixels, np.flatnonzero(decoded.good), counts[counts > 0].astype(np.int64), decoded.store
        )
        records = picture_records(
            [one.id for one in kept],
            [one.group for one in kept],
            payload,
            target=np.array([one.labels for one in kept]).reshape(len(kept), -1),
            subgroups=_columns([one.subgroups for one in kept], str),
            auxiliary=_columns([one.auxiliary for one in kept], np.float64),
        )
        skipped = (*self.missing(), *decoded.skipped)
        flow = {
            "images": len(of_image),
            "images skipped": len(skipped),
            "examinations": len(records),
            "patients": len(np.unique(records.groups)),
        }
        return Cohort(records, sets, cohort_label(folder), skipped, flow, np.array([one.set for one in kept]))

    def download(self, root: Path, source: str | None = None, progress: Progress = SILENT) -> None:
        """The publishers want a form or an account: without ``source`` the error says what to do by hand."""
        folder = self.download_folder(Path(root))
        if source is None:
            name = self.files[0].name
            raise DataError("cannot be fetched without a form or an account", file=name, remedy=self.get)
        download_files(self.files, folder, source, subfolder=self.folders[-1], progress=progress)
        if not image_files(folder, self.get):
            raise DataError("holds no images", file=source, remedy="name another with --from URL")


def rows_of(path: Path, remedy: str, names: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of each row of a CSV; DataError where one of the columns is not there."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            for name in names:
                if name not in (reader.fieldnames or ()):
                    raise DataError("has no such column", file=path, field=name, remedy=remedy)
            for row in reader:
                yield reader.line_num, {name: cell or "" for name, cell in row.items() if name is not None}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot be read ({error})", file=path, remedy=remedy) from error


def _columns(rows: Sequence[Mapping[str, object]], kind: type) -> dict[str, np.ndarray]:
    """Name -> (N,) of the rows' values."""
    return {name: np.array([row[name] for row in rows], dtype=kind) for name in (rows[0] if rows else ())}
