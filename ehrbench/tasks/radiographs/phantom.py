"""Phantom: a drawn chest radiograph, for examples, simulations and tests; nobody's.

Soft tissue is bright, two lungs are dark with ribs across them, spine and heart lie between. A finding is
drawn where it is seen in people: haze or spots in a lung, a wide heart, fluid at a base, a collapsed side.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ehrbench.core.types import FloatArray, IntArray


def chest(size: int, seed: int, signs: tuple[str, ...] = (), *, lateral: bool = False) -> IntArray:
    """(size, size) uint8 of one drawn chest; anatomy, exposure and noise vary with ``seed``."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5  # down, right: -0.5 to 0.5
    y, x = y - rng.normal(0, 0.02), x - rng.normal(0, 0.02)
    wide, tall = rng.uniform(0.9, 1.1, 2)
    picture = 0.62 * _soft(1 - (np.abs(x) / 0.47) ** 4 - (np.abs(y) / 0.55) ** 6)
    if lateral:
        lungs = [_ellipse(x, y, 0.02, 0.0, 0.24 * wide, 0.36 * tall)]
    else:
        lungs = [_ellipse(x, y, side * 0.19, 0.0, 0.13 * wide, 0.34 * tall) for side in (-1, 1)]
    both = np.clip(sum(lungs), 0, 1)
    picture = picture - 0.42 * both
    ribs = np.sin((y + 0.6 * np.abs(x)) * 62 + rng.uniform(0, 6))
    picture = picture + 0.05 * both * ribs
    picture = picture + 0.16 * _ellipse(x, y, -0.3 if lateral else 0.0, 0.0, 0.04, 0.6)  # spine
    heart = rng.uniform(0.9, 1.05) * (1.6 if "wide heart" in signs else 1.0)
    picture = picture + 0.3 * _ellipse(x, y, 0.05, 0.14, 0.11 * heart, 0.13)
    lung = lungs[int(rng.integers(len(lungs)))]
    centre_x, centre_y = (float((lung * axis).sum() / lung.sum()) for axis in (x, y))
    for sign in signs:
        picture = picture + _drawn(sign, lung, x, y, centre_x, centre_y, rng)
    picture = picture + rng.normal(0, 0.015, picture.shape)
    exposure, contrast = rng.normal(0, 0.03), rng.uniform(0.85, 1.15)
    shown = np.clip(0.15 + exposure + contrast * picture, 0, 1)
    return np.asarray(np.rint(255 * shown), dtype=np.uint8)


def png(pixels: IntArray) -> bytes:
    """The image as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _drawn(
    sign: str,
    lung: FloatArray,
    x: FloatArray,
    y: FloatArray,
    centre_x: float,
    centre_y: float,
    rng: np.random.Generator,
) -> FloatArray | float:
    """What one sign adds to the picture."""
    at_x, at_y = centre_x + rng.uniform(-0.04, 0.04), centre_y + rng.uniform(-0.15, 0.15)
    if sign == "haze":
        return rng.uniform(0.15, 0.3) * lung * _ellipse(x, y, at_x, at_y, 0.14, 0.2)
    if sign == "spots":
        places = zip(
            centre_x + rng.uniform(-0.09, 0.09, 9), centre_y + rng.uniform(-0.25, 0.25, 9), strict=True
        )
        drawn = sum(_ellipse(x, y, px, py, 0.025, 0.025) for px, py in places)
        return np.asarray(0.22 * lung * np.clip(drawn, 0, 1))
    if sign == "fluid":
        return 0.4 * lung * _soft((y - centre_y - rng.uniform(0.12, 0.2)) * 12)
    if sign == "air":
        outer = _soft((np.abs(x) - np.abs(centre_x)) * 18)
        return np.asarray(-0.18 * lung * outer * (y < centre_y + 0.1))
    if sign == "nodule":
        return 0.35 * lung * _ellipse(x, y, at_x, at_y, 0.04, 0.04)
    return 0.0  # a wide heart is drawn with the heart


def _ellipse(x: FloatArray, y: FloatArray, cx: float, cy: float, rx: float, ry: float) -> FloatArray:
    return _soft((1 - ((x - cx) / rx) ** 2 - ((y - cy) / ry) ** 2) * 4)


def _soft(z: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-np.clip(3 * z, -30, 30))))
