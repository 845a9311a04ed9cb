"""Names that come from outside, such as a record's id: what may be one.

They are echoed in answers, written to files, and kept in columns as wide as the longest of them. So their
length has an end, and control characters, which would be lost (NUL) or do harm (line ends), are refused.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from ehrbench.core.errors import DataError
from ehrbench.tasks.numbers import shown

#: Letters: twice what a DICOM UID or a SHA-256 takes.
LONGEST = 128
#: JSON schema of a name, and of a record's id, which may be left out.
NAME_SCHEMA: dict[str, Any] = {
    "type": ["string", "integer"],
    "maxLength": LONGEST,
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$",
}
RECORD_ID_SCHEMA: dict[str, Any] = {
    **NAME_SCHEMA,
    "type": ["string", "integer", "null"],
    "description": "Returned with the answer.",
}
NAME_REMEDY = f"give at most {LONGEST} letters or a whole number"


def fault_of_name(name: Any) -> str:
    """Why a JSON value is no name, or an empty string.

    >>> fault_of_name("ward 7"), fault_of_name(132539), fault_of_name(True)
    ('', '', 'True is neither text nor a whole number')
    """
    if isinstance(name, bool) or not isinstance(name, str | int):
        return f"{shown(name)} is neither text nor a whole number"
    if isinstance(name, int):
        return "" if abs(name) < 10**LONGEST else f"a number of more than {LONGEST} digits"
    if len(name) > LONGEST:
        return f"{len(name):,} characters, more than {LONGEST}"
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):  # control, half a pair
        return f"{shown(name)} holds a control character"
    return ""


def id_of(body: Mapping[str, Any], default: str) -> str:
    """The ``record_id`` that a posted record gives, or ``default``; DataError where it is no name."""
    name = body.get("record_id")
    if name is None:
        return default
    if problem := fault_of_name(name):
        raise DataError(problem, record=default, field="record_id", remedy=NAME_REMEDY)
    return str(name)
