"""Raw images to pixels: what is mended, what is refused, and that every form of one image is one record."""

from __future__ import annotations

import base64
import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.task import RawInput
from ehrbench.tasks.radiographs.decoding import decoded
from ehrbench.tasks.radiographs.phantom import chest, png
from ehrbench.tasks.xray import XRay, XRayCheXpert, XRayNIH

CHEST = chest(64, 1, ("haze",))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def dicom(pixels: np.ndarray, photometric: str = "MONOCHROME2", **attributes: Any) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PhotometricInterpretation, dataset.PixelData = photometric, pixels.tobytes()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_a_png_of_the_right_size_stays_as_it_is() -> None:
    np.testing.assert_array_equal(decoded("x.png", png(CHEST), 64), CHEST)


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_colours_and_cmyk_become_grey(mode: str) -> None:
    body = saved(Image.fromarray(CHEST).convert("RGB").convert(mode), "JPEG", quality=95)
    found = decoded("x.jpg", body, 64).astype(float)
    assert np.abs(found - CHEST).mean() < 4


def test_exif_turns_are_undone() -> None:
    image = Image.fromarray(CHEST)
    for orientation, turned in {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        body = saved(image.transpose(turned), "JPEG", quality=95, exif=exif)
        assert np.abs(decoded("x.jpg", body, 64).astype(float) - CHEST).mean() < 4


def test_transparent_is_black_and_16_bit_is_stretched() -> None:
    layers = np.dstack([CHEST, CHEST, CHEST, np.where(np.arange(64) < 32, 0, 255) * np.ones((64, 1))])
    found = decoded("x.png", saved(Image.fromarray(layers.astype(np.uint8)), "PNG"), 64)
    assert (found[:, :32] == 0).all()
    np.testing.assert_array_equal(found[:, 32:], CHEST[:, 32:])
    deep = decoded("x.png", saved(Image.fromarray(CHEST.astype(np.uint16) * 16), "PNG"), 64)
    assert (deep.min(), deep.max()) == (0, 255)
    assert correlation(deep, CHEST) > 0.999


def test_any_size_and_shape_is_drawn_out() -> None:
    for size in ((300, 200), (17, 900)):
        body = png(np.asarray(Image.fromarray(CHEST).resize(size)))
        assert decoded("x.png", body, 64).shape == (64, 64)
    large = png(np.asarray(Image.fromarray(CHEST).resize((256, 256))))
    assert correlation(decoded("x.png", large, 64), CHEST) > 0.98


def test_dicom_is_shown_as_it_is_meant_to_be_looked_at() -> None:
    raw = CHEST.astype(np.uint16) * 4
    plain = decoded("x.dcm", dicom(raw), 64)
    assert correlation(plain, CHEST) > 0.999
    assert correlation(decoded("x.dcm", dicom(raw.max() - raw, "MONOCHROME1"), 64), CHEST) > 0.999
    rescaled = dicom(raw, RescaleSlope="2", RescaleIntercept="-100", WindowCenter="500", WindowWidth="400")
    low, high = (np.array([300, 700]) + 100) / 2  # the window's ends in stored values
    windowed = decoded("x.dcm", rescaled, 64)
    np.testing.assert_allclose(windowed, np.clip((raw - low) / (high - low), 0, 1) * 255, atol=3)
    coloured = dicom(np.repeat(CHEST[:, :, None], 3, axis=2), "RGB")
    assert correlation(decoded("x.dcm", coloured, 64), CHEST) > 0.999


def bomb() -> bytes:
    """A PNG of 40,000 × 40,000 pixels in some kilobytes: its header alone says so."""
    body = bytearray(png(CHEST))
    body[16:24] = struct.pack(">II", 40_000, 40_000)
    body[29:33] = struct.pack(">I", zlib.crc32(bytes(body[12:29])))
    return bytes(body)


def large() -> bytes:
    body = bytearray(bomb())
    body[16:24] = struct.pack(">II", 9_000, 9_000)
    body[29:33] = struct.pack(">I", zlib.crc32(bytes(body[12:29])))
    return bytes(body)


WRONG = {
    "1 × 1": (png(np.zeros((1, 1), np.uint8)), "image", "1 × 1 pixels"),
    "bomb": (bomb(), "image", "pixels"),
    "large": (large(), "image", "9000 × 9000 pixels, more than"),
    "cut png": (png(CHEST)[:700], "image", "truncated"),
    "cut jpeg": (saved(Image.fromarray(CHEST), "JPEG")[:500], "image", "truncated"),
    "text": (b"hello, world", "image", "neither PNG, JPEG nor DICOM"),
    "gif": (saved(Image.fromarray(CHEST), "GIF"), "image", "neither PNG, JPEG nor DICOM"),
    "cut dicom": (dicom(CHEST)[:-2000], "PixelData, transfer syntax Explicit VR Little Endian", "truncated"),
    "dicom's beginning": (dicom(CHEST)[:140], "Rows", "is missing"),
    "dicom without pixels": (dicom(CHEST, PixelData=b""), "PixelData", "is missing"),
    "dicom of frames": (dicom(CHEST, NumberOfFrames="3"), "NumberOfFrames", "3 frames"),
    "dicom of a palette": (dicom(CHEST, "PALETTE COLOR"), "PhotometricInterpretation", "PALETTE COLOR"),
    "dicom bomb": (dicom(CHEST, Rows=60_000, Columns=60_000), "image", "60000 × 60000 pixels"),
}


@pytest.mark.parametrize("which", WRONG)
def test_what_cannot_be_mended_names_file_and_field(which: str) -> None:
    body, field, problem = WRONG[which]
    with pytest.raises(DataError, match="—") as raised:
        XRay().parse([RawInput("scan", body)], strict=True)
    error = raised.value
    assert (error.file, error.field) == ("scan", field)
    assert problem in error.problem
    parsed = XRay().parse([RawInput("scan", body), XRay().example()], strict=False)
    assert (len(parsed.records), len(parsed.skipped), parsed.n_lost) == (1, 1, 1)
    assert parsed.skipped[0].field == field
    coded = base64.b64encode(body).decode()
    good = base64.b64encode(png(CHEST)).decode()
    with pytest.raises(DataError, match=r"images\[1\]"):
        XRay().parse([RawInput("posted", {"images": [good, coded]})], strict=True)


def test_without_pydicom_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError, match=r"needs pydicom — pip install 'ehrbench\[xray\]'"):
        decoded("x.dcm", dicom(CHEST), 64)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"images": []}, "images"),
        ({"images": "x"}, "images"),
        ({"images": ["%%%"]}, r"images\[0\]"),
        ({"images": [3]}, r"images\[0\]"),
        ({"images": ["aGVsbG8="], "age": 3}, "age"),
        ({"record_id": 4}, "images"),
    ],
)
def test_json_that_is_no_examination_names_the_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(DataError, match=rf"field {field}: .*—"):
        XRay().parse([RawInput("posted", body)], strict=True)


def test_views_of_one_examination_are_one_record_and_a_blank_one_is_flagged(tmp_path: Path) -> None:
    views = [png(CHEST), png(chest(80, 2, lateral=True))]
    coded = [base64.b64encode(view).decode() for view in views]
    blank = RawInput("blank.PNG", png(np.full((64, 64), 90, np.uint8)))
    found = XRay().parse([RawInput("p", {"record_id": 7, "images": coded}), blank], strict=True).records
    assert found.ids.tolist() == ["7", "blank"]
    assert found.payload.n_images.tolist() == [2, 1]
    assert found.flags["blank_image"].tolist() == [False, True]
    table = XRay().describe(found)
    assert table.values[:, 0].tolist() == [2, 1]
    assert table.values[1].tolist() == [1, 90, 0, 0]


def test_settings_that_cannot_be_name_their_key() -> None:
    with pytest.raises(ConfigError, match=r"^task\.build\.size: .*—"):
        XRay(size=4)
    with pytest.raises(ConfigError, match=r"^task\.build\.findings: 'Cold' .*—"):
        XRayNIH(findings=["Cold"])
    assert XRayCheXpert(["Edema", "Fracture"]).target.classes == ("Edema", "Fracture")
    assert XRay(cause=True).target.classes == ("normal", "bacteria", "virus")
