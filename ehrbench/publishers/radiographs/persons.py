"""Persons: age and sex as the tables write them, as levels of subgroups."""

from __future__ import annotations

import re

_BANDS = ((18, "under 18"), (40, "18-39"), (60, "40-59"), (75, "60-74"), (130, "75 and over"))
_AGE = re.compile(r"(\d{1,3})(?:\.0+)?Y?", re.ASCII)


def age_band(text: str) -> str:
    """Band of an age in years, as a number or DICOM's ``058Y``.

    >>> age_band("058Y"), age_band("414"), age_band("")
    ('40-59', 'unknown', 'unknown')
    """
    match = _AGE.fullmatch(text.strip())
    years = int(match[1]) if match else 999
    return next((name for top, name in _BANDS if years < top), "unknown")


def sex_of(text: str) -> str:
    """female, male or unknown."""
    return {"f": "female", "m": "male"}.get(text.strip().lower()[:1], "unknown")
