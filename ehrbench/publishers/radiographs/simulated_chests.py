"""Simulated chests: drawn radiographs in each publisher's own layout, file by file.

What is drawn follows the label, with some cases too faint to see, so that a good model is good and none is
perfect. Patients have one to three images, which share their labels' causes but not their noise.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import DataError
from ehrbench.tasks.radiographs.phantom import chest, png
from ehrbench.tasks.xray import CHEXPERT_FINDINGS, NIH_FINDINGS

#: Pixels of a side of what is drawn.
SIZE = 96
#: Share of findings that are there and are not drawn, and of absent ones that look as if they were.
FAINT, FALSE = 0.06, 0.03
#: Share of examinations without any finding, where there are many.
HEALTHY = 0.25
#: Which sign the findings of both tables are drawn by.
_SIGN_OF = {
    "Cardiomegaly": "wide heart", "Enlarged Cardiomediastinum": "wide heart", "Effusion": "fluid",
    "Pleural Effusion": "fluid", "Pleural_Thickening": "fluid", "Pleural Other": "fluid",
    "Pneumothorax": "air", "Emphysema": "air", "Nodule": "nodule", "Mass": "nodule", "Lung Lesion": "nodule",
    "Infiltration": "spots", "Fibrosis": "spots", "Edema": "spots",
}  # fmt: skip


def kermany(n: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Path and content of ``n`` images: a quarter normal, the rest bacteria (haze) or virus (spots)."""
    rng = np.random.default_rng(derive_seed(seed, "kermany"))
    for number, patient in enumerate(_patients(n, rng)):
        kind = np.random.default_rng(derive_seed(seed, "cause", patient)).choice(3, p=(0.3, 0.4, 0.3))
        drawn = ((), ("haze",), ("spots",))[kind]
        if rng.random() < (FAINT if kind else FALSE):
            drawn = () if kind else ("haze",)
        body = png(chest(SIZE, derive_seed(seed, "image", number), drawn))
        if kind == 0:
            yield f"chest_xray/NORMAL/IM-{patient + 1:04}-{number:04}.png", body
        else:
            cause = ("bacteria", "virus")[kind - 1]
            yield f"chest_xray/PNEUMONIA/person{patient + 1}_{cause}_{number}.png", body


def nih(n: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Images, Data_Entry_2017.csv and the lists of the published split."""
    rng = np.random.default_rng(derive_seed(seed, "nih"))
    header = (
        "Image Index",
        "Finding Labels",
        "Follow-up #",
        "Patient ID",
        "Patient Age",
        "Patient Gender",
        "View Position",
    )
    rows, last, follow_up = [], -1, 0
    for number, patient in enumerate(_patients(n, rng)):
        follow_up = follow_up + 1 if patient == last else 0
        last = patient
        name = f"{patient + 1:08}_{follow_up:03}.png"
        labels = _findings(NIH_FINDINGS, rng)
        yield f"images/{name}", png(chest(SIZE, derive_seed(seed, "image", number), _signs(labels, rng)))
        of = np.random.default_rng(derive_seed(seed, "person", patient))
        age, sex, view = of.integers(5, 90), of.choice(["F", "M"]), rng.choice(["PA", "AP"])
        rows.append([name, "|".join(labels) or "No Finding", follow_up, patient + 1, age, sex, view])
    yield "Data_Entry_2017.csv", _csv(header, rows)
    test = [row[0] for row in rows if row[3] % 5 == 0]
    yield "test_list.txt", "\n".join(test).encode()
    yield "train_val_list.txt", "\n".join(row[0] for row in rows if row[3] % 5).encode()


def chexpert(n: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Views of ``n`` studies, some lateral, in train.csv; a tenth as many in valid.csv, without doubts."""
    rng = np.random.default_rng(derive_seed(seed, "chexpert"))
    header = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_FINDINGS)
    for set_name, count in (("train", n), ("valid", max(n // 10, 2))):
        rows: list[list[object]] = []
        studies: dict[int, int] = {}
        for patient in _patients(count, rng):
            studies[patient] = studies.get(patient, 0) + 1
            labels = _findings(CHEXPERT_FINDINGS[1:], rng)
            place = f"CheXpert-v1.0-small/{set_name}/patient{patient + 1:05}/study{studies[patient]}"
            cells = _cells(labels, rng, doubts=set_name == "train")
            of = np.random.default_rng(derive_seed(seed, "person", set_name, patient))
            age, sex = of.integers(18, 90), of.choice(["Female", "Male"])
            for view in range(1, 2 + int(rng.random() < 0.4)):
                lateral = view == 2
                kind = "Lateral" if lateral else "Frontal"
                name = f"{place}/view{view}_{kind.lower()}.jpg"
                drawing = derive_seed(seed, "image", name)
                yield name, png(chest(SIZE, drawing, _signs(labels, rng), lateral=lateral))
                rows.append([name, sex, age, kind, "" if lateral else "AP", *cells])
        yield f"{set_name}.csv", _csv(header, rows)


def write(path: Path, body: bytes) -> None:
    """Write one file; DataError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise DataError(problem, file=path, remedy="choose another folder") from error


def _patients(n: int, rng: np.random.Generator) -> list[int]:
    """(n,) the patient of each record: one to three of each."""
    images = rng.choice([1, 2, 3], size=n, p=(0.7, 0.2, 0.1))
    return [int(patient) for patient in np.repeat(np.arange(n), images)[:n]]


def _findings(names: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Each with its own frequency, from a third to a fifth, so that small cohorts have some of all."""
    if rng.random() < HEALTHY:
        return []
    share = np.linspace(0.33, 0.2, len(names))
    return [name for name, there in zip(names, rng.random(len(names)) < share, strict=True) if there]


def _signs(labels: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
    drawn = {_SIGN_OF.get(label, "haze") for label in labels if rng.random() >= FAINT}
    return tuple(sorted(drawn))


def _cells(labels: Sequence[str], rng: np.random.Generator, *, doubts: bool) -> list[str]:
    """CheXpert's cells: 1.0, 0.0, -1.0 or blank for each observation."""
    cells = ["1.0" if not labels else ""]
    for name in CHEXPERT_FINDINGS[1:]:
        if doubts and rng.random() < 0.08:
            cells.append("-1.0")
        else:
            cells.append("1.0" if name in labels else str(rng.choice(["0.0", ""])))
    return cells


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([header, *rows])
    return file.getvalue().encode()
