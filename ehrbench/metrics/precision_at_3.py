"""Precision at 3: the share of each unit's 3 most probable classes that are its own, over units."""

from __future__ import annotations

from ehrbench.metrics._per_unit import PrecisionAt


class PrecisionAt3(PrecisionAt):
    """In [0, 1]."""

    name = "precision_at_3"
    title = "Precision@3"
    meaning = "share of the three most probable classes that are the case's own"
    k = 3
