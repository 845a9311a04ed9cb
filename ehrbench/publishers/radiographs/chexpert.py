"""CheXpert (Irvin et al. 2019): 224,316 radiographs of 65,240 patients, fourteen labels, some uncertain.

Files under the data folder, in ``xray_chexpert/`` or directly, loose in folders or in archives:

    train.csv, valid.csv    Path, Sex, Age, Frontal/Lateral, AP/PA, and 1.0, 0.0, -1.0 or blank for each
    …/train/patient00001/study1/view1_frontal.jpg …

A record is a study, whose views are averaged; a group is a patient. What a report does not mention (blank)
counts as absent, as in the publishers' baselines. For what it is uncertain of (-1.0), section 3.1 has four
policies:

    ignore      no label
    zeros       absent
    ones        present
    multiclass  a class of its own. The likelihood of three classes is that of "uncertain or not" times that
                of "present or absent" where it is certain, and the probability asked for is the second's; so
                the label is left out, and uncertainty is an auxiliary label of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.task import Skipped, Task
from ehrbench.publishers.downloading import Remote
from ehrbench.publishers.radiographs import simulated_chests
from ehrbench.publishers.radiographs.image_files import ImageFile
from ehrbench.publishers.radiographs.layout import Examination, RadiographPublisher, rows_of
from ehrbench.publishers.radiographs.persons import age_band, sex_of
from ehrbench.tasks.numbers import of_text, shown

POLICIES = {"ignore": np.nan, "zeros": 0.0, "ones": 1.0, "multiclass": np.nan}
VIEWS = {"all": ("Frontal", "Lateral"), "frontal": ("Frontal",), "lateral": ("Lateral",)}
_PLACE = re.compile(r"(?:.*/)?((?:train|valid|test)/(patient\w+)/(study\w+))/[^/]+", re.ASCII)
_UNCERTAIN = -1.0


class CheXpert(RadiographPublisher):
    """Sets ``train`` and ``valid``.

    Parameters
    ----------
    uncertain: ignore, zeros, ones or multiclass.
    views: all, frontal or lateral; a study without such a view is left out.
    cache: as ``RadiographPublisher``.
    """

    folders: ClassVar[tuple[str, ...]] = ("xray_chexpert",)
    sets: ClassVar[tuple[str, ...]] = ("train", "valid")
    files: ClassVar[tuple[Remote, ...]] = (
        Remote("CheXpert-v1.0-small.zip", None, optional=True),
        Remote("train.csv", None, optional=True),
        Remote("valid.csv", None, optional=True),
    )
    get: ClassVar[str] = (
        "register with the publisher (Stanford AIMI, CheXpert), put train.csv, valid.csv and the images into "
        "xray_chexpert/, or name a mirror: ehrbench data get xray_chexpert --from URL"
    )

    def __init__(self, task: Task, uncertain: str = "ignore", views: str = "all", cache: bool = True) -> None:
        super().__init__(task, cache)
        for key, value, known in (("uncertain", uncertain, POLICIES), ("views", views, VIEWS)):
            if value not in known:
                problem = f"{value!r} is none of {', '.join(known)}"
                raise ConfigError(f"task.publisher.{key}", problem, "take one of these")
        self.uncertain, self.views = uncertain, views

    def default_sets(self) -> tuple[str, ...]:
        """The training set; the other has labels by experts."""
        return ("train",)

    def examinations(
        self, folder: Path, sets: Sequence[str], images: Mapping[str, ImageFile]
    ) -> list[Examination]:
        places = {_tail(name): name for name in images}
        self._missing: list[Skipped] = []
        studies: dict[str, Examination] = {}
        classes = self.task.target.classes
        for set_name in sets:
            path = next(
                (p for p in (folder / f"{set_name}.csv", *folder.glob(f"*/{set_name}.csv")) if p.exists()),
                None,
            )
            if path is None:
                raise DataError("is not there", file=folder / f"{set_name}.csv", remedy=self.get)
            columns = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *classes)
            for line, row in rows_of(path, self.get, columns):
                match = _PLACE.fullmatch(row["Path"])
                if match is None:
                    problem = f"{shown(row['Path'])} is no path of a patient's study"
                    raise DataError(problem, file=path, record=f"line {line}", field="Path", remedy=self.get)
                if row["Frontal/Lateral"] not in VIEWS[self.views]:
                    continue
                study, patient = match[1], match[2]
                labels = [self._label(path, line, name, row[name]) for name in classes]
                if (place := places.get(_tail(row["Path"]))) is None:
                    self._missing.append(Skipped(path.name, study, "Path", "there is no such image"))
                elif study in studies:
                    studies[study].images.append(place)
                else:
                    studies[study] = self._examination(study, patient, set_name, place, row, labels)
        return list(studies.values())

    def missing(self) -> tuple[Skipped, ...]:
        return tuple(self._missing)

    def _examination(
        self, study: str, patient: str, set_name: str, place: str, row: Mapping[str, str], labels: list[float]
    ) -> Examination:
        classes = self.task.target.classes
        found = np.array(labels)
        auxiliary = {}
        if self.uncertain == "multiclass":
            auxiliary = {
                f"{n}.uncertain": float(x == _UNCERTAIN) for n, x in zip(classes, labels, strict=True)
            }
        target = np.where(found == _UNCERTAIN, POLICIES[self.uncertain], found)
        known = {"sex": sex_of(row["Sex"]), "age_band": age_band(row["Age"])}
        return Examination(study, patient, set_name, [place], target, known, auxiliary)

    def _label(self, path: Path, line: int, name: str, text: str) -> float:
        value = of_text(text) if text.strip() else 0.0
        if value not in (0.0, 1.0, _UNCERTAIN):
            problem = f"{shown(text)} is neither 1, 0, -1 nor blank"
            raise DataError(problem, file=path, record=f"line {line}", field=name, remedy=self.get)
        return float(value)

    def simulate(self, root: Path, n_records: int, seed: int, progress: Progress = SILENT) -> None:
        with self.simulated_folder(root) as folder, progress.step("Drawing", total=n_records) as step:
            for name, body in simulated_chests.chexpert(n_records, seed):
                simulated_chests.write(folder / name, body)
                step.advance()


def _tail(name: str) -> str:
    """The last four parts of a path: set, patient, study, view."""
    return "/".join(name.split("/")[-4:])
