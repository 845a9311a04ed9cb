"""The three layouts: what stands in which file, uncertain labels, groups, the cache, and what is refused."""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.publishers.radiographs import NIH, CheXpert, Kermany
from ehrbench.publishers.radiographs import decoded_images as module
from ehrbench.tasks.radiographs.phantom import chest, png
from ehrbench.tasks.xray import XRay, XRayCheXpert, XRayNIH


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


def image(seed: int) -> bytes:
    return png(chest(48, seed))


KERMANY = {
    "a/train/NORMAL/IM-0115-0001.png": image(1),
    "a/train/NORMAL/NORMAL2-IM-0115-0001.png": image(2),
    "a/test/PNEUMONIA/person23_bacteria_77.png": image(3),
    "a/test/PNEUMONIA/person23_virus_5.png": image(4),
}


def test_a_folder_a_class_with_groups_from_the_published_names(tmp_path: Path) -> None:
    cohort = Kermany(XRay(cause=True)).read(written(tmp_path, KERMANY), ())
    found = dict(zip(cohort.records.ids.tolist(), cohort.records.groups.tolist(), strict=True))
    assert found == {
        "IM-0115-0001": "N115",
        "NORMAL2-IM-0115-0001": "N115",
        "person23_bacteria_77": "P23",
        "person23_virus_5": "P23",
    }
    causes = dict(zip(cohort.records.ids.tolist(), cohort.records.labels.argmax(1).tolist(), strict=True))
    assert causes["person23_bacteria_77"] == 1
    assert causes["person23_virus_5"] == 2
    binary = Kermany(XRay()).read(tmp_path, ())
    assert binary.records.labels.sum() == 2
    assert cohort.label == "publisher"


def test_a_group_file_goes_before_names_and_an_archive_is_as_good_as_a_folder(tmp_path: Path) -> None:
    table = (
        b"file,etiology,group\nNORMAL/IM-0115-0001.png,normal,N1\nPNEUMONIA/person23_virus_5.png,virus,P9\n"
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, body in KERMANY.items():
            archive.writestr(name, body)
    written(tmp_path / "loose", KERMANY | {"kermany_labels.csv": table})
    written(tmp_path / "zip", {"images.zip": packed.getvalue(), "kermany_labels.csv": table})
    loose, zipped = (Kermany(XRay()).read(tmp_path / name, ()) for name in ("loose", "zip"))
    assert loose.digest == zipped.digest
    assert sorted(loose.records.groups.tolist()) == ["N1", "N115", "P23", "P9"]


def test_a_second_start_decodes_nothing_and_maps_what_the_first_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, publisher = written(tmp_path, KERMANY), Kermany(XRay())
    first = publisher.read(root, ())
    monkeypatch.setattr(module, "decoded", None)  # decoding again would now fail
    again = publisher.read(root, ())
    assert again.digest == first.digest
    pixels = again.records.payload.pixels  # type: ignore[attr-defined]
    assert isinstance(pixels.base, np.memmap) or isinstance(pixels, np.memmap) or not pixels.flags.owndata
    written(root, {"a/train/NORMAL/IM-0116-0001.png": image(9)})
    with pytest.raises(TypeError):
        publisher.read(root, ())


def test_an_image_that_cannot_be_decoded_is_named_and_too_many_stop(tmp_path: Path) -> None:
    written(tmp_path, KERMANY | {"a/test/PNEUMONIA/person7_virus_1.png": b"no image"})
    with pytest.raises(DataError, match=r"person7_virus_1.png.*neither PNG.*faulty rows: 1 of 5"):
        Kermany(XRay()).read(tmp_path, ())


NIH_TABLE = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
    "00000001_000.png,Cardiomegaly|Effusion,0,1,058Y,M,PA\n"
    "00000001_001.png,No Finding,1,1,059Y,M,AP\n"
    "00000002_000.png,Mass,0,2,7,F,PA\n"
)
NIH_FILES = {f"images/0000000{n}.png": image(k) for k, n in enumerate(("1_000", "1_001", "2_000"))} | {
    "train_val_list.txt": b"00000001_000.png\n00000001_001.png\n",
    "test_list.txt": b"00000002_000.png\n",
}


def test_nih_labels_patients_and_the_published_lists(tmp_path: Path) -> None:
    written(tmp_path, NIH_FILES | {"Data_Entry_2017.csv": NIH_TABLE.encode()})
    publisher = NIH(XRayNIH(["Effusion", "Mass"]))
    cohort = publisher.read(tmp_path, ())
    assert cohort.records.labels.tolist() == [[1, 0], [0, 0], [0, 1]]
    assert cohort.records.groups.tolist() == ["1", "1", "2"]
    assert cohort.records.subgroups["age_band"].tolist() == ["40-59", "40-59", "under 18"]
    assert cohort.records.subgroups["sex"].tolist() == ["male", "male", "female"]
    both = publisher.read(tmp_path, ("train_val", "test"))
    assert both.set_of.tolist() == ["train_val", "train_val", "test"]
    assert publisher.read(tmp_path, ("test",)).records.ids.tolist() == ["00000002_000"]


def test_an_unknown_finding_and_a_lost_image_are_told(tmp_path: Path) -> None:
    written(tmp_path, NIH_FILES | {"Data_Entry_2017.csv": NIH_TABLE.replace("Mass", "Cold").encode()})
    with pytest.raises(DataError, match=r"line 4.*'Cold' is no finding — known are"):
        NIH(XRayNIH()).read(tmp_path, ())
    written(tmp_path, {"Data_Entry_2017.csv": NIH_TABLE.replace("00000002", "00000003").encode()})
    with pytest.raises(DataError, match=r"00000003_000.png.*no such image"):
        NIH(XRayNIH()).read(tmp_path, ())
    with pytest.raises(ConfigError, match=r"data\.sets: 'b' is no set"):
        NIH(XRayNIH()).read(tmp_path, ("b",))


def chexpert(folder: Path, cells: dict[str, str]) -> Path:
    """One patient with a study of two views and one of one; ``cells`` of the first study."""
    rows = []
    files = {}
    for place, kind, own in (
        ("patient00001/study1/view1_frontal.jpg", "Frontal", cells),
        ("patient00001/study1/view2_lateral.jpg", "Lateral", cells),
        ("patient00001/study2/view1_frontal.jpg", "Frontal", {}),
    ):
        path = f"CheXpert-v1.0-small/train/{place}"
        files[path] = image(len(files))
        labels = [own.get(name, "") for name in XRayCheXpert.known]
        rows.append([path, "Female", "68", kind, "AP" if kind == "Frontal" else "", *labels])
    file = io.StringIO()
    csv.writer(file).writerows(
        [["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *XRayCheXpert.known], *rows]
    )
    return written(folder, files | {"train.csv": file.getvalue().encode()})


@pytest.mark.parametrize(
    ("policy", "label"), [("ignore", None), ("zeros", 0), ("ones", 1), ("multiclass", None)]
)
def test_uncertain_labels_by_policy_and_views_of_a_study_together(
    tmp_path: Path, policy: str, label: float | None
) -> None:
    root = chexpert(tmp_path, {"Edema": "-1.0", "Fracture": "1.0"})
    task = XRayCheXpert(["Edema", "Fracture", "Pneumonia"])
    records = CheXpert(task, uncertain=policy).read(root, ()).records
    assert records.payload.n_images.tolist() == [2, 1]  # type: ignore[attr-defined]
    assert records.groups.tolist() == ["patient00001"] * 2
    edema, fracture, pneumonia = records.labels[0]
    assert (fracture, pneumonia) == (1, 0)
    assert np.isnan(edema) if label is None else edema == label
    auxiliary = {name: values.tolist() for name, values in records.auxiliary.items()}
    expected = {"Edema.uncertain": [1, 0], "Fracture.uncertain": [0, 0], "Pneumonia.uncertain": [0, 0]}
    assert auxiliary == (expected if policy == "multiclass" else {})


def test_one_kind_of_view_and_a_label_of_another_kind(tmp_path: Path) -> None:
    root = chexpert(tmp_path, {})
    records = CheXpert(XRayCheXpert(), views="lateral").read(root, ()).records
    assert records.ids.tolist() == ["train/patient00001/study1"]
    with pytest.raises(ConfigError, match=r"^task\.publisher\.uncertain: 'maybe' is none of"):
        CheXpert(XRayCheXpert(), uncertain="maybe")
    shutil.rmtree(root / "CheXpert-v1.0-small")
    chexpert(tmp_path, {"Edema": "2.0"})
    with pytest.raises(DataError, match=r"record line 2, field Edema: '2.0' is neither"):
        CheXpert(XRayCheXpert()).read(root, ())


@pytest.mark.data
def test_the_published_images_are_those_counted(data: Path) -> None:
    cohort = Kermany(XRay(cause=True)).read(data, ())
    assert cohort.records.labels.sum(0).tolist() == [1583, 2780, 1493]
    assert len(np.unique(cohort.records.groups)) == 2789
    nih = NIH(XRayNIH()).read(data, ())
    assert len(nih.records) == 1000
    assert len(np.unique(nih.records.groups)) == 264
    sums = dict(zip(XRayNIH.known, nih.records.labels.sum(0), strict=True))
    assert (sums["Effusion"], sums["Infiltration"], sums["Hernia"]) == (170, 162, 9)
    assert (nih.records.labels.sum(1) == 0).sum() == 499
