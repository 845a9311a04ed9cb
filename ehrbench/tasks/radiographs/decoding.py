"""Decoding: the bytes of one raw image to grey pixels of one size, the same for training and for the server.

What is mended, quietly and always the same way: colours and CMYK become grey, EXIF's turn is undone, what is
transparent becomes black, 16-bit images are stretched from their darkest to their brightest value, any shape
is drawn out to a square. What cannot be mended is a DataError naming file and field.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import ExifTags, Image

from ehrbench.core.errors import DataError
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.tasks.radiographs.dicom import dicom_pixels, is_dicom

#: Fewest pixels of a side, and most of an image: larger ones are bombs or slides, not radiographs.
LEAST_SIDE, MOST_PIXELS = 16, 50_000_000
REMEDY = "give a PNG, JPEG or DICOM of one radiograph"
#: What Pillow raises for damaged files, depending on where the damage lies.
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, KeyError, IndexError)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decoded(name: str, body: bytes, size: int) -> IntArray:
    """(size, size) uint8 of the image in ``body``; ``name`` stands in the DataError."""
    if is_dicom(body):
        grey = Image.fromarray(stretched(dicom_pixels(name, body, check_size)))
    else:
        grey = _raster(name, body, size)
    return np.asarray(grey.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0))


def check_size(name: str, width: int, height: int) -> None:
    """DataError for an image of a size that no radiograph has, before its pixels are decoded."""
    if min(width, height) < LEAST_SIDE:
        problem = f"{width} × {height} pixels, and less than {LEAST_SIDE} of a side show nothing"
        raise DataError(problem, file=name, field="image", remedy=REMEDY)
    if width * height > MOST_PIXELS:
        problem = f"{width} × {height} pixels, more than {MOST_PIXELS:,}"
        raise DataError(problem, file=name, field="image", remedy="give it at a lower resolution")


def stretched(values: FloatArray | IntArray) -> IntArray:
    """Any numbers to uint8, from the least (0) to the greatest (255); all alike: 0."""
    low, high = float(values.min()), float(values.max())
    scaled = (values.astype(np.float32) - low) * (255 / (high - low) if high > low else 0.0)
    return np.asarray(np.rint(scaled), dtype=np.uint8)


def _raster(name: str, body: bytes, size: int) -> Image.Image:
    """The grey image of a PNG or JPEG."""
    try:
        image: Image.Image = Image.open(io.BytesIO(body), formats=("PNG", "JPEG"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        remedy = "give it at a lower resolution"
        raise DataError(
            "more pixels than a radiograph has", file=name, field="image", remedy=remedy
        ) from error
    except _DAMAGED as error:
        problem = "is neither PNG, JPEG nor DICOM, or its beginning is damaged"
        raise DataError(problem, file=name, field="image", remedy=REMEDY) from error
    check_size(name, *image.size)
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
        image.draft("L", (2 * size, 2 * size))  # a JPEG of some megapixels need not be decoded at full size
        image.load()
        grey = _grey(image)
    except _DAMAGED as error:
        problem = (
            f"is damaged or truncated ({str(error).splitlines()[0][:80] if str(error) else 'no reason'})"
        )
        raise DataError(problem, file=name, field="image", remedy="give the whole file") from error
    return grey if turn is None else grey.transpose(turn)


def _grey(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(stretched(np.asarray(image)))
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        black = Image.new("RGBA", layers.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, layers)
    return image.convert("L")
