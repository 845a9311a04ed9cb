"""Precision at 1: the share of each unit's 1 most probable class that are its own, over units."""

from __future__ import annotations

from ehrbench.metrics._per_unit import PrecisionAt


class PrecisionAt1(PrecisionAt):
    """In [0, 1]. For a multi-class target this is accuracy."""

    name = "precision_at_1"
    title = "Precision@1"
    meaning = "share of cases whose most probable class is theirs"
    k = 1
