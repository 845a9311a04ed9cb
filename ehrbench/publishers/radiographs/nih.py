"""NIH ChestX-ray14 (Wang et al. 2017): 112,120 radiographs of 30,805 patients, fourteen findings.

Files under the data folder, in ``xray_nih/``, ``xray/`` or directly:

    Data_Entry_2017.csv (or …_v2020.csv), or nih1000_labels.csv of a sample
    *.png, in archives or loose, in folders of any depth     images_001.tar.gz … are to be extracted
    train_val_list.txt, test_list.txt                        the published split by patient
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ehrbench.core.errors import DataError
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.task import Skipped
from ehrbench.core.types import FloatArray
from ehrbench.publishers.downloading import Remote
from ehrbench.publishers.radiographs import simulated_chests
from ehrbench.publishers.radiographs.image_files import ImageFile
from ehrbench.publishers.radiographs.layout import Examination, RadiographPublisher, rows_of
from ehrbench.publishers.radiographs.persons import age_band, sex_of
from ehrbench.tasks.xray import NIH_FINDINGS

LISTS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}
#: File -> its columns for image, findings, patient, age, sex and view.
_PUBLISHED = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position")
_RENAMED = (*_PUBLISHED[:4], "Patient Sex", "View Position")
TABLES: dict[str, tuple[str, ...]] = {
    "Data_Entry_2017.csv": _PUBLISHED,
    "Data_Entry_2017_v2020.csv": _RENAMED,
    "nih1000_labels.csv": ("file", "finding_labels", "patient_id", "age", "sex", "view"),
}


class NIH(RadiographPublisher):
    """An image is an examination, a group one patient; ``train_val`` and ``test`` are the published lists."""

    folders: ClassVar[tuple[str, ...]] = ("xray_nih", "xray")
    sets: ClassVar[tuple[str, ...]] = ("all", *LISTS)
    files: ClassVar[tuple[Remote, ...]] = (
        *(Remote(name, None, optional=True) for name in ("nih1000_gray64.zip", *TABLES, *LISTS.values())),
    )
    get: ClassVar[str] = (
        "fetch images and Data_Entry_2017.csv by hand into xray_nih/ (NIH Clinical Center, ChestXray-NIHCC), "
        "or name a mirror: ehrbench data get xray_nih --from URL"
    )

    def default_sets(self) -> tuple[str, ...]:
        """All images, as the sample has no lists."""
        return ("all",)

    def examinations(
        self, folder: Path, sets: Sequence[str], images: Mapping[str, ImageFile]
    ) -> list[Examination]:
        places = {name.rsplit("/", 1)[-1]: name for name in images}
        path = next((folder / name for name in TABLES if (folder / name).exists()), None)
        if path is None:
            raise DataError("is not there", file=folder / next(iter(TABLES)), remedy=self.get)
        wanted = self._wanted(folder, sets)
        image, findings, patient, age, sex, view = TABLES[path.name]
        found = []
        self._missing: list[Skipped] = []
        for line, row in rows_of(path, self.get, TABLES[path.name]):
            name = row[image]
            in_set = "all" if wanted is None else wanted.get(name)
            if in_set is None:
                continue
            labels = self._labels(path, line, row[findings])
            if name not in places:
                self._missing.append(Skipped(path.name, name, image, "there is no such image"))
                continue
            known = {"sex": sex_of(row[sex]), "age_band": age_band(row[age]), "view": row[view] or "unknown"}
            found.append(
                Examination(name.rsplit(".", 1)[0], row[patient], in_set, [places[name]], labels, known)
            )
        return found

    def missing(self) -> tuple[Skipped, ...]:
        return tuple(self._missing)

    def _labels(self, path: Path, line: int, text: str) -> FloatArray:
        named = {"" if one == "No Finding" else one for one in text.split("|")} - {""}
        for one in named - set(NIH_FINDINGS):
            remedy = f"known are No Finding, {', '.join(NIH_FINDINGS)}"
            raise DataError(f"{one!r} is no finding", file=path, record=f"line {line}", remedy=remedy)
        return np.array([float(one in named) for one in self.task.target.classes])

    def _wanted(self, folder: Path, sets: Sequence[str]) -> dict[str, str] | None:
        """Image -> its set, of those asked for; None: all."""
        if "all" in sets:
            return None
        wanted: dict[str, str] = {}
        for name in sets:
            path = folder / LISTS[name]
            try:
                wanted |= dict.fromkeys(path.read_text(encoding="utf-8").split(), name)
            except OSError as error:
                raise DataError(f"cannot be read ({error.strerror})", file=path, remedy=self.get) from error
        return wanted

    def simulate(self, root: Path, n_records: int, seed: int, progress: Progress = SILENT) -> None:
        with self.simulated_folder(root) as folder, progress.step("Drawing", total=n_records) as step:
            for name, body in simulated_chests.nih(n_records, seed):
                simulated_chests.write(folder / name, body)
                step.advance()
