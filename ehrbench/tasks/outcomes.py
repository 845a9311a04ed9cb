"""``Outcomes-?.txt`` of PhysioNet 2012: RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death."""

from __future__ import annotations

from pathlib import Path

from ehrbench.core.errors import DataError

COLUMNS = ("RecordID", "SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death")


def read_outcomes(path: Path, remedy: str) -> dict[str, float]:
    """RecordID -> 1.0 where the patient died in hospital, else 0.0.

    Raises DataError for a missing file, other columns, a repeated record or an outcome that is not 0 or 1.
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
    deaths: dict[str, float] = {}
    for number, line in enumerate(lines[1:], start=2):
        fields = [field.strip() for field in line.split(",")]
        if fields == [""]:
            continue
        if len(fields) != len(header):
            raise DataError(
                f"line {number} has {len(fields)} columns, not {len(header)}", file=path, remedy=remedy
            )
        record, death = fields[record_at], fields[death_at]
        if record in deaths:
            raise DataError(f"line {number} repeats the record", file=path, record=record, remedy=remedy)
        if death not in ("0", "1"):
            raise DataError(
                f"{death!r} is not 0 or 1", file=path, record=record, field=COLUMNS[-1], remedy=remedy
            )
        deaths[record] = float(death)
    return deaths
