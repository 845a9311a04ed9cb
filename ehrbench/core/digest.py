"""Digests and seeds: what identifies content, and where randomness comes from.

A digest covers everything that shapes a result and nothing that does not (no paths, no clocks, no worker).
Seeds are derived, never drawn, so that a fit gives the same bits whichever worker runs it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np


def digest(*parts: object) -> str:
    """SHA-256 (64 hex digits) of JSON-like values, bytes and arrays, in order.

    Mappings are order-free; arrays count by dtype, shape and content; a tuple equals the list of its items.
    Raises TypeError for anything else, so that no object is ever hashed by its address.
    """
    h = hashlib.sha256()
    for part in parts:
        _feed(h, part)
    return h.hexdigest()


def _feed(h: Any, part: object) -> None:
    if isinstance(part, np.ndarray):
        array = np.ascontiguousarray(part.astype(str) if part.dtype == object else part)
        h.update(f"a{array.dtype.str}{array.shape}".encode())
        h.update(array.tobytes())
    elif isinstance(part, bytes | bytearray | memoryview):
        h.update(b"b%d:" % len(part))
        h.update(part)
    elif isinstance(part, Mapping):
        h.update(b"m%d" % len(part))
        for key in sorted(part, key=str):
            _feed(h, str(key))
            _feed(h, part[key])
    elif isinstance(part, str):
        h.update(b"s%d:" % len(part.encode()))
        h.update(part.encode())
    elif isinstance(part, Sequence):
        h.update(b"l%d" % len(part))
        for item in part:
            _feed(h, item)
    elif is_dataclass(part) and not isinstance(part, type):
        _feed(h, asdict(part))
    elif part is None or isinstance(part, bool | int | float | np.generic):
        h.update(f"j{json.dumps(part.item() if isinstance(part, np.generic) else part)};".encode())
    else:
        raise TypeError(f"cannot digest a {type(part).__name__}")


def derive_seed(root: int, *parts: object) -> int:
    """A seed in [0, 2**31) for one purpose, from the root seed and a path of names and numbers."""
    return int(digest(root, *parts)[:8], 16) & 0x7FFFFFFF
