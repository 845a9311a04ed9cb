"""Occlusion: what of one record a prediction rests on, by leaving out a piece at a time and predicting again.

Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2. It asks the whole
procedure and no model's inside, so it holds for whatever a bundle is made of. Coarse pieces first; those that
move the score most are then taken apart. A piece whose story other pieces tell too moves little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ehrbench.core.errors import DataError
from ehrbench.core.records import Divisible, Piece, Records
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.runtime.bundle import Bundle

#: Classes explained, the most probable; pieces of each kind; coarse ones that are taken apart.
CLASSES, COARSE, FINE, TAKEN_APART = 3, 48, 64, 4


@dataclass(frozen=True)
class Occlusion:
    """What each piece is worth: the score (log-odds, not calibrated) with it less the score without it.

    on: what the pieces lie on (``Divisible.shown``). K pieces, the coarse ones first.
    """

    on: Any
    classes: tuple[str, ...]
    pieces: tuple[Piece, ...]
    is_fine: tuple[bool, ...]
    effects: FloatArray  # (K, classes)


def occlusion(bundle: Bundle, records: Records) -> Occlusion:
    """Of the one record's one unit. Raises DataError where a record cannot be taken apart."""
    payload = records.payload
    if not isinstance(payload, Divisible) or len(records) != 1 or records.total_units != 1:
        raise DataError(
            "cannot be taken apart into pieces",
            record=records.ids[0],
            remedy="ask for one record, of text, images or named values",
        )
    target = bundle.manifest.target
    base = bundle.predict(records).uncalibrated  # (1, C)
    top = np.argsort(-base[0], kind="stable")[:CLASSES]
    score = target.scores(base)[:, top]

    def worth(pieces: Sequence[Piece]) -> FloatArray:
        """(K, classes)"""
        if not pieces:
            return np.zeros((0, len(top)))
        without = _repeated(records, payload.without(pieces), len(pieces))
        return np.asarray(score - target.scores(bundle.predict(without).uncalibrated)[:, top])

    coarse = payload.pieces(COARSE)
    effects = worth(coarse)
    told = np.argsort(-np.abs(effects).max(axis=1, initial=0), kind="stable")[:TAKEN_APART]
    fine = [piece for k in told for piece in payload.pieces(FINE // TAKEN_APART, coarse[k])]
    return Occlusion(
        payload.shown(),
        tuple(target.classes[c] for c in top),
        (*coarse, *fine),
        (False,) * len(coarse) + (True,) * len(fine),
        np.concatenate([effects, worth(fine)]),
    )


def _repeated(records: Records, payload: Divisible, n: int) -> Records:
    """The one record ``n`` times, with these payloads."""
    same: IntArray = np.zeros(n, dtype=np.int64)
    return replace(records.take(same), payload=payload)
