"""DICOM: the pixels of one radiograph as they are meant to be looked at (PS3.3, C.7.6.3 and C.11).

Stored values go through the modality's rescale or table, then the first window or table of interest, and
MONOCHROME1 is turned so that bone is bright. Colour becomes luminance. What is not here: several frames,
overlays, presentation states.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ehrbench.core.errors import DataError
from ehrbench.core.types import FloatArray

if TYPE_CHECKING:
    from pydicom import Dataset

_REMEDY = "export the radiograph again, as a single uncompressed image"
_GREY, _COLOUR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422")
#: What pydicom raises of damaged elements and pixels, depending on which and how.
_FAULTS = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError),
    *(RuntimeError, struct.error),  # NotImplementedError is one
)
#: Of red, green and blue in luminance (ITU-R 601).
_LUMINANCE = (0.299, 0.587, 0.114)


def is_dicom(body: bytes) -> bool:
    """Whether the file has DICOM's preamble."""
    return body[128:132] == b"DICM"


def dicom_pixels(name: str, body: bytes, check_size: Callable[[str, int, int], None]) -> FloatArray:
    """(H, W) float32, bright where the radiograph is to be bright.

    check_size: raises for a width and height that must not be decoded. Raises DataError naming file and
    attribute.
    """
    try:
        import pydicom
        from pydicom.errors import BytesLengthException, InvalidDicomError
    except ImportError as error:
        remedy = "pip install 'ehrbench[xray]', or give a PNG or JPEG"
        raise DataError("a DICOM file needs pydicom", file=name, remedy=remedy) from error
    try:
        dataset = pydicom.dcmread(io.BytesIO(body))
        described = {key: dataset.get(key) for key in ("Rows", "Columns", "PixelData")}
        height, width = (int(described[key] or 0) for key in ("Rows", "Columns"))
        frames = int(dataset.get("NumberOfFrames") or 1)
        photometric = str(dataset.get("PhotometricInterpretation", ""))
    except (InvalidDicomError, BytesLengthException, *_FAULTS) as error:
        raise _damaged(name, "DICOM", error) from error
    for attribute, value in described.items():
        if not value:
            raise DataError("is missing", file=name, field=attribute, remedy=_REMEDY)
    if frames != 1:
        raise DataError(f"{frames} frames", file=name, field="NumberOfFrames", remedy="give one image a file")
    if photometric not in (*_GREY, *_COLOUR):
        problem = f"{photometric or 'nothing'!r} is not read here"
        raise DataError(problem, file=name, field="PhotometricInterpretation", remedy=_REMEDY)
    check_size(name, width, height)
    try:
        return _shown(dataset, photometric)
    except (BytesLengthException, *_FAULTS) as error:
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        known = "PixelData, transfer syntax " + " ".join(str(getattr(syntax, "name", "unknown")).split())[:60]
        raise _damaged(name, known, error) from error


def _shown(dataset: Dataset, photometric: str) -> FloatArray:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
    from pydicom.pixels.utils import pixel_array

    values: Any = pixel_array(dataset)
    if photometric in _COLOUR:  # pixel_array gives RGB
        return np.asarray(values.astype(np.float32) @ np.array(_LUMINANCE, dtype=np.float32))
    values = apply_voi_lut(apply_modality_lut(values, dataset), dataset)
    grey = np.asarray(values, dtype=np.float32)
    if not np.isfinite(grey).all():
        raise ValueError("rescale or window give no finite values")
    return grey.max() - grey if photometric == "MONOCHROME1" else grey


def _damaged(name: str, field: str, error: Exception) -> DataError:
    reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return DataError(
        f"is damaged, truncated or not read here ({reason})", file=name, field=field, remedy=_REMEDY
    )
