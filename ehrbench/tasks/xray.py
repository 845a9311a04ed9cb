"""Chest X-ray findings: pneumonia in children (Kermany), fourteen findings (NIH ChestX-ray14, CheXpert).

Kermany, Zhang & Goldbaum 2018, "Identifying medical diagnoses and treatable diseases by image-based deep
learning" (CC BY 4.0). Wang et al. 2017, "ChestX-ray8". Irvin et al. 2019, "CheXpert: a large chest radiograph
dataset with uncertainty labels and expert comparison".

A record is one examination of one or several views, each a grey image of one size; its score is their mean.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ehrbench.core.errors import ConfigError, check_once
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.task import Form, Parsed, RawInput, Task, Words
from ehrbench.core.views import Table, offsets
from ehrbench.features.pictures import Pictures
from ehrbench.tasks.radiographs.phantom import chest, png
from ehrbench.tasks.radiographs.reading import FORMS, parse_pictures, record_schema

CAUSES = ("normal", "bacteria", "virus")
NIH_FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia",
    "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)  # fmt: skip
CHEXPERT_FINDINGS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other",
    "Fracture", "Support Devices",
)  # fmt: skip
#: What ``describe`` tells of each record.
DESCRIBED = ("images", "brightness", "contrast", "sharpness")
SIZES = (16, 1024)


class XRay(Task):
    """Pneumonia against normal, or ``cause``: normal, bacteria, virus. One unit an examination.

    size: pixels of a side, to which every image is drawn out; what models see.
    """

    name: ClassVar[str] = "xray"
    metric: ClassVar[str] = "auroc"
    metrics: ClassVar[tuple[str, ...]] = (
        *("auroc", "auprc", "brier", "log_loss", "sensitivity", "specificity", "f1", "balanced_accuracy"),
        *("calibration_slope", "calibration_intercept", "ece"),
    )
    forms: ClassVar[tuple[Form, ...]] = FORMS
    words: ClassVar[Words] = Words(*("examination", "examinations", "examination", "examinations", "set"))

    def __init__(self, cause: bool = False, size: int = 64) -> None:
        self.cause = cause
        self.target = Target("multiclass", CAUSES) if cause else Target("binary", ("pneumonia",))
        self.size = checked_size(size)

    def parse(self, inputs: Sequence[RawInput], *, strict: bool) -> Parsed:
        """PNG, JPEG and DICOM files, one a record, and JSON objects of one or several in base64."""
        return parse_pictures(inputs, self.size, strict=strict)

    def raw_schema(self) -> dict[str, Any]:
        drawn = base64.b64encode(_example()).decode()
        return record_schema() | {"examples": [{"images": [drawn]}]}

    def example(self) -> RawInput:
        return RawInput("example.png", _example())

    def describe(self, records: Records) -> Table:
        """Number of images; mean grey, its deviation and mean step to the next pixel, of 255, over them."""
        payload = records.payload
        assert isinstance(payload, Pictures)
        of_image = np.zeros((len(payload.images), 3))
        for k, image in enumerate(payload.images):
            pixels = payload.pixels[image].astype(np.float32)
            steps = np.abs(np.diff(pixels, axis=0)).mean() + np.abs(np.diff(pixels, axis=1)).mean()
            of_image[k] = pixels.mean(), pixels.std(), steps / 2
        values = np.zeros((len(payload), 4), dtype=np.float32)
        if len(payload):
            starts = offsets(payload.n_images)[:-1]
            sums = np.add.reduceat(of_image, starts, axis=0)
            values[:, 0], values[:, 1:] = payload.n_images, sums / payload.n_images[:, None]
        return Table(values, DESCRIBED)


class ManyFindings(XRay):
    """Several findings at once, each of which may be there.

    findings: some of the publisher's, in any order; None: all.
    """

    known: ClassVar[tuple[str, ...]]

    def __init__(self, findings: Sequence[str] | None = None, size: int = 64) -> None:
        chosen = tuple(self.known if findings is None else findings)
        check_once("task.build.findings", chosen)
        for finding in chosen:
            if finding not in self.known:
                problem = f"{finding!r} is no finding of {self.name}"
                raise ConfigError("task.build.findings", problem, f"choose among {', '.join(self.known)}")
        if not chosen:
            raise ConfigError("task.build.findings", "no finding is named", "leave it out for all")
        self.target, self.size = Target("multilabel", chosen), checked_size(size)


class XRayNIH(ManyFindings):
    """The fourteen findings of NIH ChestX-ray14."""

    name: ClassVar[str] = "xray_nih"
    known: ClassVar[tuple[str, ...]] = NIH_FINDINGS


class XRayCheXpert(ManyFindings):
    """The fourteen observations of CheXpert."""

    name: ClassVar[str] = "xray_chexpert"
    known: ClassVar[tuple[str, ...]] = CHEXPERT_FINDINGS


def checked_size(size: int) -> int:
    """``size``; ConfigError where images cannot be drawn out to it."""
    low, high = SIZES
    if not isinstance(size, int) or isinstance(size, bool) or not low <= size <= high:
        problem = f"{size!r} is not a whole number of pixels from {low} to {high}"
        raise ConfigError("task.build.size", problem, "64 for a CPU, 224 or more for a GPU")
    return size


def _example() -> bytes:
    return png(chest(64, 7, ("haze",)))
