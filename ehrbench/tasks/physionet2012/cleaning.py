"""What PhysioNet 2012's measurements are, which values are believed, and how wrong ones are mended.

One declarative table, applied to every value by ``clean`` and shown in ``docs/tasks/mortality.md``. A value
inside its range is left as it is. One outside is mended where the mistake is recognised beyond doubt (a unit,
a lost decimal point), and otherwise treated as not measured. Ranges are wide: they remove what cannot be a
living patient's true value, not what is rare, because extremes carry the risk. Counts in the reasons are of
sets a and b, 3.5 million rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrbench.core.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class Mend:
    """Values in [low, high] become ``value * factor + offset``."""

    low: float
    high: float
    factor: float
    offset: float
    reason: str


@dataclass(frozen=True)
class Measure:
    """One parameter: its unit, its believed range (inclusive), and why."""

    name: str
    meaning: str
    unit: str
    low: float
    high: float
    reason: str
    mends: tuple[Mend, ...] = ()


_LEVEL = "wide of any survivable level"
_ZERO = "0 stands for no reading (line off, cuff failed), not for a pressure"

#: The 37 time series, in alphabetical order: a parameter's code is its place here.
SERIES: tuple[Measure, ...] = (
    Measure("ALP", "alkaline phosphatase", "IU/L", 1, 5000, _LEVEL),
    Measure("ALT", "alanine transaminase", "IU/L", 1, 30000, _LEVEL),
    Measure("AST", "aspartate transaminase", "IU/L", 1, 40000, _LEVEL),
    Measure("Albumin", "albumin", "g/dL", 0.5, 7, _LEVEL),
    Measure("BUN", "blood urea nitrogen", "mg/dL", 1, 300, "0 (2 rows) cannot be measured"),
    Measure("Bilirubin", "bilirubin", "mg/dL", 0.05, 80, "0 (1 row) cannot be measured"),
    Measure("Cholesterol", "cholesterol", "mg/dL", 20, 1000, _LEVEL),
    Measure("Creatinine", "serum creatinine", "mg/dL", 0.05, 40, _LEVEL),
    Measure("DiasABP", "invasive diastolic arterial pressure", "mmHg", 5, 200, f"{_ZERO}: 1,225 rows"),
    Measure(
        "FiO2",
        "fraction of inspired oxygen",
        "fraction",
        0.2,
        1,
        "room air is 0.21",
        (Mend(20, 100, 0.01, 0, "a percentage"),),
    ),
    Measure("GCS", "Glasgow coma score", "3–15", 3, 15, "the scale's own ends"),
    Measure("Glucose", "serum glucose", "mg/dL", 5, 2000, _LEVEL),
    Measure("HCO3", "serum bicarbonate", "mmol/L", 1, 80, _LEVEL),
    Measure("HCT", "haematocrit", "%", 4, 75, _LEVEL),
    Measure("HR", "heart rate", "1/min", 10, 300, "0 (32 rows) is a lead off or an arrest, not told apart"),
    Measure("K", "serum potassium", "mmol/L", 1, 15, "above 15 (3 rows) the sample was haemolysed"),
    Measure("Lactate", "lactate", "mmol/L", 0.1, 50, _LEVEL),
    Measure("MAP", "invasive mean arterial pressure", "mmHg", 10, 220, "flushing the line reads up to 300"),
    Measure(
        "MechVent", "mechanical ventilation", "0/1", 1, 1, "not ventilated is told by silence, never by 0"
    ),
    Measure("Mg", "serum magnesium", "mmol/L", 0.2, 15, "0 and 17–21 (3 rows) are not survivable"),
    Measure("NIDiasABP", "cuff diastolic pressure", "mmHg", 5, 200, f"{_ZERO}: 195 rows"),
    Measure("NIMAP", "cuff mean pressure", "mmHg", 10, 220, f"{_ZERO}: 73 rows"),
    Measure("NISysABP", "cuff systolic pressure", "mmHg", 20, 300, f"{_ZERO}: 351 rows"),
    Measure("Na", "serum sodium", "mmol/L", 90, 190, _LEVEL),
    Measure("PaCO2", "arterial partial pressure of CO2", "mmHg", 5, 200, "0 and 0.3 (3 rows) cannot be"),
    Measure("PaO2", "arterial partial pressure of O2", "mmHg", 15, 800, "0 to 13 (5 rows) cannot be"),
    Measure("Platelets", "platelets", "1000/µL", 1, 3000, _LEVEL),
    Measure("RespRate", "respiration rate", "1/min", 1, 100, "0 (99 rows) is a sensor off"),
    Measure("SaO2", "arterial oxygen saturation", "%", 20, 100, "1.06 and 9.7 cannot be told to be anything"),
    Measure("SysABP", "invasive systolic arterial pressure", "mmHg", 15, 300, f"{_ZERO}: 1,232 rows"),
    Measure(
        "Temp",
        "temperature",
        "°C",
        24,
        45,
        "0–4 and -17.8 (0 °F) are empty entries turned into numbers: 206 rows",
        (Mend(80, 113, 5 / 9, -160 / 9, "degrees Fahrenheit"),),
    ),
    Measure("TroponinI", "troponin I", "µg/L", 0, 500, _LEVEL),
    Measure("TroponinT", "troponin T", "µg/L", 0, 100, _LEVEL),
    Measure(
        "Urine", "urine output", "mL", 0, 6500, "8,000 to 19,990 (3 rows) in one entry is a slip of a digit"
    ),
    Measure(
        "WBC",
        "white blood cells",
        "1000/µL",
        0.05,
        1000,
        "0 (1 row) cannot be told from not counted",
        (Mend(1000.0001, 1e6, 0.001, 0, "counted per µL: 12,500 for 12.5"),),
    ),
    Measure("Weight", "body weight, series", "kg", 20, 350, "-1 and 0 are unknown: 510 rows; 472 kg (set b)"),
    Measure(
        "pH",
        "arterial pH",
        "",
        6.5,
        8,
        "0 to 3 and 94 to 187 (11 rows) cannot be told to be anything",
        (
            Mend(650, 800, 0.01, 0, "decimal point lost: 735 for 7.35"),
            Mend(65, 80, 0.1, 0, "decimal point misplaced: 73.5 for 7.35"),
        ),
    ),
)

#: The general descriptors, given at 00:00. -1 is unknown in all of them.
DESCRIPTORS: tuple[Measure, ...] = (
    Measure("Age", "age", "years", 0, 130, "the publisher caps it at 90"),
    Measure("Gender", "0 female, 1 male", "0/1", 0, 1, "a code"),
    Measure(
        "Height",
        "height",
        "cm",
        120,
        230,
        "below are feet and inches of which nobody knows how they were converted: 12 rows",
        (
            Mend(305, 584, 1 / 2.54, 0, "centimetres taken for inches and multiplied by 2.54: 8 rows"),
            Mend(1.2, 2.3, 100, 0, "metres"),
        ),
    ),
    Measure("ICUType", "1 coronary, 2 cardiac surgery, 3 medical, 4 surgical", "1–4", 1, 4, "a code"),
    Measure("Weight", "weight at admission", "kg", 20, 350, "as the series"),
)

#: Volumes: two entries of one minute add up; of everything else the mean is taken.
TOTALS: tuple[str, ...] = ("Urine",)


@dataclass(frozen=True)
class Cleaned:
    """Values after cleaning, and for each what happened to it."""

    value: FloatArray  # (E,) float64
    believed: BoolArray  # (E,) False: treat as not measured
    mended: BoolArray  # (E,)


def clean(value: FloatArray, code: IntArray, measures: tuple[Measure, ...]) -> Cleaned:
    """Clean values (E,) of the measures that ``code`` (E,) names by place."""
    low, high = np.array([m.low for m in measures]), np.array([m.high for m in measures])
    believed = (value >= low[code]) & (value <= high[code])
    mended = np.zeros(len(value), dtype=bool)
    doubtful = np.flatnonzero(~believed)
    if len(doubtful):
        value = value.copy()
        raw, codes = value[doubtful], code[doubtful]
        for place, measure in enumerate(measures):
            for mend in measure.mends:
                at = doubtful[(codes == place) & (raw >= mend.low) & (raw <= mend.high)]
                value[at] = value[at] * mend.factor + mend.offset
                mended[at] = True
        believed[doubtful] = (value[doubtful] >= low[codes]) & (value[doubtful] <= high[codes])
    return Cleaned(value, believed, mended & believed)


def markdown_table(measures: tuple[Measure, ...]) -> str:
    """The table as the documentation shows it."""
    lines = ["| parameter | meaning | unit | believed | why | mended |", "|---|---|---|---|---|---|"]
    for m in measures:
        mends = "; ".join(f"{d.low:g}–{d.high:g}: {d.reason}" for d in m.mends) or "–"
        lines.append(
            f"| {m.name} | {m.meaning} | {m.unit or '–'} | {m.low:g}–{m.high:g} | {m.reason} | {mends} |"
        )
    return "\n".join(lines)
