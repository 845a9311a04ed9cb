"""Values of a posted JSON record: numbers that float64 can hold, and faulty ones as a message shows them."""

from __future__ import annotations

import math
from typing import Any

_LONGEST = 40


def finite(value: Any) -> float | None:
    """The number, or None for anything else: true and false, text, NaN, whole numbers beyond float64."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON's whole numbers have no end
        return None
    return number if math.isfinite(number) else None


def shown(value: Any) -> str:
    """The value as Python writes it, cut short."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
