"""A made-up ICU stay, for documentation and self-tests; no patient's data."""

from __future__ import annotations

from typing import Any

_DESCRIPTORS: dict[str, float | None] = {"Age": 71, "Gender": 1, "Height": 175.3, "ICUType": 3, "Weight": 82}
_VITALS = ("HR", "SysABP", "DiasABP", "MAP", "RespRate", "Temp", "Urine", "GCS")
_COURSE: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("00:15", (112, 92, 51, 64, 26, 38.4, 60, 13)),
    ("02:15", (108, 98, 54, 68, 24, 38.6, 45, 13)),
    ("06:15", (101, 107, 57, 73, 22, 38.1, 110, 14)),
    ("12:15", (95, 112, 60, 77, 21, 37.7, 260, 14)),
    ("20:15", (91, 118, 61, 80, 20, 37.4, 420, 15)),
    ("30:15", (88, 121, 63, 82, 18, 37.2, 510, 15)),
    ("40:15", (84, 124, 66, 85, 18, 36.9, 480, 15)),
)
_FIRST = ("BUN", "Creatinine", "Glucose", "HCO3", "HCT", "K", "Lactate", "Mg", "Na", "Platelets", "WBC")
_LABORATORY: tuple[tuple[str, dict[str, float]], ...] = (
    ("00:48", dict(zip(_FIRST, (34, 1.7, 168, 19, 33.1, 4.6, 3.4, 1.8, 136, 188, 17.9), strict=True))),
    ("01:05", {"FiO2": 0.5, "PaCO2": 34, "PaO2": 88, "pH": 7.31}),
    ("13:20", {"BUN": 30, "Creatinine": 1.4, "Glucose": 141, "HCO3": 22, "K": 4.1, "Lactate": 1.9}),
    ("37:05", {"BUN": 24, "Creatinine": 1.1, "HCO3": 24, "HCT": 31.8, "K": 3.9, "Na": 139, "WBC": 11.2}),
)


def _events() -> list[tuple[str, str, float]]:
    vitals = [(t, p, v) for t, values in _COURSE for p, v in zip(_VITALS, values, strict=True)]
    laboratory = [(time, p, v) for time, values in _LABORATORY for p, v in values.items()]
    return sorted(vitals + laboratory)


def as_text() -> bytes:
    """The publisher's own format."""
    rows = [("00:00", "RecordID", 1), *(("00:00", d, v) for d, v in _DESCRIPTORS.items()), *_events()]
    return b"Time,Parameter,Value\n" + "".join(f"{t},{p},{v:g}\n" for t, p, v in rows).encode()


def as_json() -> dict[str, Any]:
    """The JSON form."""
    events = [{"time": time, "parameter": p, "value": v} for time, p, v in _events()]
    return {"record_id": "1", "descriptors": dict(_DESCRIPTORS), "events": events}
