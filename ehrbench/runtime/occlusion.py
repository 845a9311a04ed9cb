"""Occlusion: what a bundle's prediction rests on, by covering one part of a record after another.

After Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks", section 4.1. Every member
takes part, whatever it is, and none need be opened: the whole ensemble predicts again.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ehrbench.core.errors import DataError
from ehrbench.core.records import Coverable, Records
from ehrbench.core.types import FloatArray
from ehrbench.runtime.bundle import Bundle


def occlusion(bundle: Bundle, record: Records) -> FloatArray:
    """(P, C) how much each part of one record raises each class's score, in log odds; below 0: lowers it.

    Before the calibrator, whose steps would hide small differences. Raises DataError where records of this
    task have no parts to cover, or several units.
    """
    payload = record.payload
    if not isinstance(payload, Coverable) or record.total_units != 1:
        remedy = "leave out explain=parts"
        raise DataError("this task's records have no parts to cover", field="explain", remedy=remedy)
    covered = payload.covered()
    without = replace(record.without_labels().take(np.zeros(len(covered), dtype=np.int64)), payload=covered)
    target = bundle.manifest.target
    as_it_is, found = (target.scores(bundle.predict(one).uncalibrated) for one in (record, without))
    return np.asarray(as_it_is - found)
