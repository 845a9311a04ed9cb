"""``Outcomes-?.txt`` of PhysioNet 2012: RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from ehrbench.core.errors import DataError
from ehrbench.tasks.numbers import of_text, shown

COLUMNS = ("RecordID", "SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death")


class Outcome(NamedTuple):
    """One stay's. Days count from admission to intensive care; NaN: the file does not say."""

    died: float  # in hospital: 1.0, else 0.0
    stay_days: float
    survival_days: float  # inf: no death recorded


def read_outcomes(path: Path, remedy: str) -> dict[str, Outcome]:
    """RecordID -> its outcome.

    Raises DataError for a missing file, other columns, a repeated record, an outcome that is not 0 or 1, or
    text where days belong. A file may lack the columns of days.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise DataError("does not exist", file=path, remedy=remedy) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error})", file=path, remedy=remedy) from error
    header = tuple(name.strip() for name in lines[0].split(","))
    for wanted in (COLUMNS[0], COLUMNS[-1]):
        if wanted not in header:
            raise DataError(f"has no column {wanted}", file=path, field=wanted, remedy=remedy)
    record_at, death_at = header.index(COLUMNS[0]), header.index(COLUMNS[-1])
    outcomes: dict[str, Outcome] = {}
    for number, line in enumerate(lines[1:], start=2):
        fields = [field.strip() for field in line.split(",")]
        if fields == [""]:
            continue
        if len(fields) != len(header):
            raise DataError(
                f"line {number} has {len(fields)} columns, not {len(header)}", file=path, remedy=remedy
            )
        record, death = fields[record_at], fields[death_at]
        if record in outcomes:
            raise DataError(f"line {number} repeats the record", file=path, record=record, remedy=remedy)
        if death not in ("0", "1"):
            raise DataError(
                f"{death!r} is not 0 or 1", file=path, record=record, field=COLUMNS[-1], remedy=remedy
            )
        given = dict(zip(header, fields, strict=True))
        try:
            stay, survival = _days(given, "Length_of_stay", math.nan), _days(given, "Survival", math.inf)
        except ValueError as error:
            column = str(error)
            raise DataError(
                f"{shown(given[column])} is no number of days",
                file=path,
                record=record,
                field=column,
                remedy=remedy,
            ) from None
        outcomes[record] = Outcome(float(death), stay, survival)
    return outcomes


def _days(given: dict[str, str], column: str, negative: float) -> float:
    """Days, or what a negative number stands for (-1 everywhere, -23 once); ValueError naming the column."""
    if column not in given:
        return math.nan
    if (days := of_text(given[column])) is None:
        raise ValueError(column)
    return negative if days < 0 else days
