"""Numbers as publishers' files, posted records and headers write them: one strict reader for each form.

Python's ``float`` takes more than any of them means: 1_0 for 10, nan and inf, the digits of other scripts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ehrbench.core.types import FloatArray

#: Of what is written with these alone, ``float`` takes decimal numbers and nothing else.
_LETTERS = "0123456789.+-eE"
_BYTES = _LETTERS.encode()
_LONGEST = 40


def of_text(text: str | bytes) -> float | None:
    """The finite decimal number a text is, or None for any other text.

    >>> of_text("-1.5e2"), of_text("1_0"), of_text("nan"), of_text("1e999"), of_text(b"")
    (-150.0, None, None, None, None)
    """
    if text.strip(_BYTES) if isinstance(text, bytes) else text.strip(_LETTERS):
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if -math.inf < number < math.inf else None


def of_texts(texts: Sequence[bytes]) -> FloatArray:
    """(N,) ``of_text`` of each, NaN for None; in few steps where all are numbers, as they nearly always are.

    >>> of_texts([b"-1.5e2", b".5"]), of_texts([b"7", b"nan"])
    (array([-150. ,    0.5]), array([ 7., nan]))
    """
    if not b"".join(texts).strip(_BYTES):
        with suppress(ValueError):
            numbers = np.fromiter(map(float, texts), np.float64, len(texts))
            if np.isfinite(numbers).all():
                return numbers
    return np.array(list(map(of_text, texts)), dtype=np.float64)


def of_json(value: Any) -> float | None:
    """The number, or None for anything else: true and false, text, NaN, whole numbers beyond float64."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON's whole numbers have no end
        return None
    return number if math.isfinite(number) else None


def written(number: float) -> str:
    """In full, so that 1.0000001 is not called 1; a whole one as such.

    >>> written(1.0000001), written(2.0), written(-1.0)
    ('1.0000001', '2', '-1')
    """
    return repr(number).removesuffix(".0")


def shown(value: Any) -> str:
    """The value as Python writes it, cut short."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def cells_of(line: str) -> list[str]:
    """Cells of a line of numbers and names, which hold no commas; without spaces and quotes around them.

    >>> cells_of('id, "time",x')
    ['id', 'time', 'x']
    """
    cells = [cell.strip() for cell in line.split(",")]
    return [cell[1:-1].strip() if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell for cell in cells]
