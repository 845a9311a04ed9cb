"""Columns that clinicians compute from several parameters at once.

Each is a ratio or score of statistics already at hand, with its clinical reason; where a parameter it needs
was not measured the column is missing. Parameters go by the names of PhysioNet 2012; a vocabulary without
them gives no such columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ehrbench.core.types import FloatArray

Columns = Mapping[str, FloatArray]


def _either(columns: Columns, one: str, other: str) -> FloatArray:
    """Invasive pressure where there is one, else the cuff's."""
    return np.where(np.isnan(columns[one]), columns[other], columns[one])


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    return np.divide(above, below, out=np.full(len(above), np.nan, dtype=np.float32), where=below > 0)


def _urine_per_kg(c: Columns) -> FloatArray:
    weight = np.where(np.isnan(c["Weight.descriptor"]), c["Weight.median"], c["Weight.descriptor"])
    return _ratio(c["Urine.sum"], weight)


def _bmi(c: Columns) -> FloatArray:
    weight = np.where(np.isnan(c["Weight.descriptor"]), c["Weight.median"], c["Weight.descriptor"])
    return _ratio(weight, (c["Height.descriptor"] / 100) ** 2)


#: column -> (needed columns, reason, how). Statistics are those of the whole stay.
CLINICAL: dict[str, tuple[tuple[str, ...], str, Callable[[Columns], FloatArray]]] = {
    "shock_index.mean": (
        ("HR.mean", "SysABP.mean", "NISysABP.mean"),
        "heart rate over systolic pressure: compensated shock shows here before pressure falls",
        lambda c: _ratio(c["HR.mean"], _either(c, "SysABP.mean", "NISysABP.mean")),
    ),
    "shock_index.last": (
        ("HR.last", "SysABP.last", "NISysABP.last"),
        "the same at the end of the window",
        lambda c: _ratio(c["HR.last"], _either(c, "SysABP.last", "NISysABP.last")),
    ),
    "pulse_pressure.last": (
        ("SysABP.last", "NISysABP.last", "DiasABP.last", "NIDiasABP.last"),
        "systolic - diastolic: stroke volume",
        lambda c: _either(c, "SysABP.last", "NISysABP.last") - _either(c, "DiasABP.last", "NIDiasABP.last"),
    ),
    "mean_pressure.min": (
        ("MAP.min", "NIMAP.min"),
        "least mean pressure by whichever means it was taken (SOFA's circulation item)",
        lambda c: np.fmin(c["MAP.min"], c["NIMAP.min"]),
    ),
    "pf_ratio.worst": (
        ("PaO2.min", "FiO2.max"),
        "PaO2 / FiO2: severity of lung injury (Berlin definition)",
        lambda c: _ratio(c["PaO2.min"], c["FiO2.max"]),
    ),
    "pf_ratio.last": (
        ("PaO2.last", "FiO2.last"),
        "the same at the end of the window",
        lambda c: _ratio(c["PaO2.last"], c["FiO2.last"]),
    ),
    "bun_creatinine.last": (
        ("BUN.last", "Creatinine.last"),
        "BUN / creatinine: prerenal from renal failure",
        lambda c: _ratio(c["BUN.last"], c["Creatinine.last"]),
    ),
    "ast_alt.max": (
        ("AST.max", "ALT.max"),
        "AST / ALT: pattern of liver injury",
        lambda c: _ratio(c["AST.max"], c["ALT.max"]),
    ),
    "bicarbonate_lactate.last": (
        ("HCO3.last", "Lactate.last"),
        "bicarbonate less lactate: acidosis that lactate does not explain",
        lambda c: c["HCO3.last"] - c["Lactate.last"],
    ),
    "urine_ml_per_kg": (
        ("Urine.sum", "Weight.descriptor", "Weight.median"),
        "urine of the whole window by body weight: oliguria (KDIGO)",
        _urine_per_kg,
    ),
    "bmi": (
        ("Weight.descriptor", "Weight.median", "Height.descriptor"),
        "body mass index, kg/m²",
        _bmi,
    ),
    "age_gcs": (
        ("Age.descriptor", "GCS.last"),
        "age over last coma score: the two strongest predictors together",
        lambda c: _ratio(c["Age.descriptor"], c["GCS.last"]),
    ),
}

#: Name before its first dot -> the parameter whose unit a column has, or the two of a ratio.
_OF: dict[str, tuple[str, ...]] = {
    "shock_index": ("HR", "SysABP"),
    "pulse_pressure": ("SysABP",),
    "mean_pressure": ("MAP",),
    "pf_ratio": ("PaO2", "FiO2"),
    "bun_creatinine": ("BUN", "Creatinine"),
    "ast_alt": ("AST", "ALT"),
    "bicarbonate_lactate": ("HCO3",),
    "urine_ml_per_kg": ("Urine", "Weight"),
    "age_gcs": ("Age", "GCS"),
}


def clinical_unit(column: str, units: Mapping[str, str]) -> str:
    """The unit of a clinical column by those of the parameters; "" where it has none, or none is known."""
    if column == "bmi":
        return "kg/m²"
    above, below = ([units.get(name, "") for name in _OF[column.split(".")[0]]] + [""])[:2]
    if above == below:
        return ""
    return f"{above}/{below}" if above and below else above


#: What all of them need.
NEEDS = tuple(sorted({need for needs, _, _ in CLINICAL.values() for need in needs}))


def clinical_columns(columns: Columns) -> dict[str, FloatArray]:
    """(N,) float32 of every clinical column whose needs are met."""
    return {
        name: np.asarray(how(columns), dtype=np.float32)
        for name, (needs, _, how) in CLINICAL.items()
        if all(need in columns for need in needs)
    }
