"""Names that come from outside, such as a record's id: what may be one.

They are echoed in answers, written to files, and kept in columns as wide as the longest of them. So their
length has an end, and control characters, which would be lost (NUL) or do harm (line ends), are refused.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from ehrbench.tasks.numbers import shown

#: Letters: twice what a DICOM UID or a SHA-256 takes.
LONGEST = 128
#: JSON schema of a name, and of one that may be left out.
NAME_SCHEMA: dict[str, Any] = {
    "type": ["string", "integer"],
    "maxLength": LONGEST,
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$",
}
OPTIONAL_NAME_SCHEMA: dict[str, Any] = {**NAME_SCHEMA, "type": ["string", "integer", "null"]}
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
