"""Kermany et al. 2018: radiographs of children, a folder for each class.

Files under the data folder, in ``xray/`` or directly, in archives or loose, in folders of any depth:

    …/NORMAL/*.jpeg, …/PNEUMONIA/*.jpeg    ChestXRay2017.zip as published, or a copy of it
    kermany_labels.csv                     optional: file, label, etiology and group of each image

Without the table, groups and causes come of the published names: ``person23_bacteria_77.jpeg`` is the
patient P23, ``IM-0115-0001.jpeg`` and ``NORMAL2-IM-0115-0001.jpeg`` are N115.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ehrbench.core.errors import DataError
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.types import FloatArray
from ehrbench.publishers.downloading import Remote
from ehrbench.publishers.radiographs import simulated_chests
from ehrbench.publishers.radiographs.image_files import ImageFile
from ehrbench.publishers.radiographs.layout import Examination, RadiographPublisher, rows_of
from ehrbench.tasks.xray import CAUSES, XRay

TABLE = "kermany_labels.csv"
CLASSES = ("NORMAL", "PNEUMONIA")
_NAMES = (
    (re.compile(r"(?:NORMAL\d+-)?IM-(\d+)", re.ASCII), "N"),
    (re.compile(r"person(\d+)", re.ASCII), "P"),
)


class Kermany(RadiographPublisher):
    """One published set; an image is an examination, a group one child."""

    folders: ClassVar[tuple[str, ...]] = ("xray",)
    sets: ClassVar[tuple[str, ...]] = ("2018",)
    files: ClassVar[tuple[Remote, ...]] = (
        Remote("ChestXRay2017.zip", None, optional=True),
        Remote("kermany_gray160_q85.zip", None, optional=True),
        Remote(TABLE, None, optional=True),
    )
    get: ClassVar[str] = (
        "fetch ChestXRay2017.zip by hand into xray/ (Mendeley Data, rscbjbr9sj), or name a mirror: "
        "ehrbench data get xray --from URL"
    )

    def examinations(
        self, folder: Path, sets: Sequence[str], images: Mapping[str, ImageFile]
    ) -> list[Examination]:
        named = _table(folder / TABLE, self.get)
        found = []
        for name in sorted(images):
            parts = name.split("/")
            of = [part for part in parts[:-1] if part in CLASSES]
            if not of:
                continue
            cause, group = named.get("/".join(parts[-2:])) or _from_name(name, of[-1])
            if (cause == "normal") != (of[-1] == "NORMAL"):
                raise DataError(
                    f"is {cause} in {TABLE} and lies in {of[-1]}/", file=folder, record=name, remedy=self.get
                )
            record_id = parts[-1].rsplit(".", 1)[0]
            found.append(Examination(record_id, group, sets[0], [name], self._labels(cause, name)))
        return found

    def _labels(self, cause: str, name: str) -> FloatArray:
        assert isinstance(self.task, XRay)
        if not self.task.cause:
            return np.array([float(cause != "normal")])
        if cause not in CAUSES:
            problem = f"its name tells neither {' nor '.join(CAUSES)}"
            raise DataError(problem, record=name, field="etiology", remedy="use task.build.cause=false")
        return np.array([float(one == cause) for one in CAUSES])

    def simulate(self, root: Path, n_records: int, seed: int, progress: Progress = SILENT) -> None:
        with self.simulated_folder(root) as folder, progress.step("Drawing", total=n_records) as step:
            for name, body in simulated_chests.kermany(n_records, seed):
                simulated_chests.write(folder / name, body)
                step.advance()


def _table(path: Path, remedy: str) -> dict[str, tuple[str, str]]:
    """File as ``class/name`` -> cause and group; empty where there is no table."""
    if not path.exists():
        return {}
    columns = ("file", "etiology", "group")
    return {row["file"]: (row["etiology"], row["group"]) for _, row in rows_of(path, remedy, columns)}


def _from_name(name: str, of: str) -> tuple[str, str]:
    """Cause and group that a published name tells; a name of another kind is a group by itself."""
    file = name.rsplit("/", 1)[-1]
    cause = next((cause for cause in CAUSES[1:] if f"_{cause}_" in file), "pneumonia")
    for pattern, prefix in _NAMES:
        if match := pattern.match(file):
            return ("normal" if of == "NORMAL" else cause), f"{prefix}{int(match[1])}"
    return ("normal" if of == "NORMAL" else cause), f"{of}/{file}"
