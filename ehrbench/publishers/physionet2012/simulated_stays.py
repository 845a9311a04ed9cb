"""A simulated cohort in PhysioNet 2012's own format, for when the publisher cannot be reached and for tests.

No patient is copied. Each simulated stay has a hidden severity that drifts over 48 hours and drives both its
physiology and its outcome; ward habits (who is ventilated, how often blood is drawn) follow severity too, so
that missingness carries information, as it does in the real data. About 14 % die, and what can be learned
lies near AUROC 0.85. Figures made from it say nothing about patients: ``SIMULATED`` stands beside the files.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ehrbench.core.digest import derive_seed
from ehrbench.core.progress import Progress
from ehrbench.core.types import FloatArray
from ehrbench.publishers.physionet2012.outcomes import COLUMNS
from ehrbench.tasks.physionet2012.record_text import HEADER

_FIRST_ID = {"a": 132539, "b": 142675}
_PREVALENCE_LOGIT = -2.55


@dataclass(frozen=True)
class Course:
    """How one parameter behaves.

    level, spread: centre and between-patient sd; pull: change per unit of severity; noise: within-patient sd;
    digits: decimals written; every_hours: usual interval; ordered: share of patients it is measured in at
    severity 0; draws: how much severity shortens the interval and widens the share; low, high: clipped here.
    """

    level: float
    spread: float
    pull: float
    noise: float
    digits: int
    every_hours: float
    ordered: float
    draws: float
    low: float
    high: float


_COURSES: dict[str, Course] = {
    "HR": Course(86, 14, 7, 6, 0, 1, 1, 0, 30, 220),
    "NISysABP": Course(119, 17, -7, 10, 0, 1.5, 0.85, 0, 40, 250),
    "NIDiasABP": Course(58, 10, -4, 8, 0, 1.5, 0.85, 0, 15, 150),
    "NIMAP": Course(78, 11, -5, 8, 2, 1.5, 0.85, 0, 20, 180),
    "SysABP": Course(118, 18, -8, 10, 0, 1, 0.65, 0.1, 40, 250),
    "DiasABP": Course(58, 9, -4, 6, 0, 1, 0.65, 0.1, 15, 150),
    "MAP": Course(79, 11, -5, 7, 0, 1, 0.65, 0.1, 20, 200),
    "RespRate": Course(19, 4, 2, 3, 0, 1.5, 0.3, 0, 4, 60),
    "Temp": Course(37, 0.5, 0.05, 0.4, 1, 2.5, 0.99, 0, 32, 42),
    "Urine": Course(110, 50, -28, 60, 0, 1.5, 0.97, 0, 0, 1500),
    "GCS": Course(12.6, 2.6, -1.3, 0.8, 0, 4, 0.99, 0, 3, 15),
    "FiO2": Course(0.5, 0.09, 0.06, 0.05, 2, 5, 0.6, 0.12, 0.21, 1),
    "pH": Course(7.38, 0.04, -0.03, 0.03, 2, 7, 0.7, 0.12, 6.8, 7.8),
    "PaCO2": Course(40, 6, 0.5, 4, 0, 7, 0.7, 0.12, 15, 100),
    "PaO2": Course(140, 35, -12, 40, 0, 7, 0.7, 0.12, 35, 500),
    "SaO2": Course(97, 1.3, -0.6, 1, 0, 12, 0.4, 0.05, 60, 100),
    "Lactate": Course(1.9, 0.6, 0.8, 0.4, 1, 11, 0.45, 0.2, 0.4, 25),
    "BUN": Course(24, 11, 8, 2, 0, 14, 0.98, 0.05, 3, 190),
    "Creatinine": Course(1.2, 0.5, 0.35, 0.1, 1, 14, 0.98, 0.05, 0.2, 16),
    "Glucose": Course(136, 28, 9, 22, 0, 14, 0.97, 0.05, 25, 900),
    "HCO3": Course(23.3, 3, -1.4, 1.2, 0, 14, 0.98, 0.05, 6, 45),
    "HCT": Course(31, 4, -0.5, 1.5, 1, 11, 0.98, 0.05, 15, 55),
    "K": Course(4.1, 0.4, 0.12, 0.3, 1, 13, 0.97, 0.05, 2.2, 8.5),
    "Mg": Course(2, 0.25, 0.03, 0.15, 1, 15, 0.96, 0.05, 0.8, 6),
    "Na": Course(139, 3.5, 0.1, 1.5, 0, 14, 0.98, 0.05, 112, 170),
    "Platelets": Course(195, 75, -16, 12, 0, 14, 0.98, 0.05, 8, 900),
    "WBC": Course(12, 4, 1.4, 1.2, 1, 15, 0.98, 0.05, 0.3, 90),
    "Albumin": Course(3.1, 0.5, -0.25, 0.1, 1, 40, 0.4, 0.1, 1, 5.3),
    "ALT": Course(60, 50, 45, 15, 0, 30, 0.42, 0.15, 5, 9000),
    "AST": Course(75, 60, 60, 20, 0, 30, 0.42, 0.15, 6, 12000),
    "ALP": Course(95, 40, 12, 8, 0, 35, 0.41, 0.15, 15, 1200),
    "Bilirubin": Course(1.3, 0.9, 0.7, 0.1, 1, 30, 0.42, 0.15, 0.1, 45),
    "TroponinT": Course(0.4, 0.5, 0.25, 0.1, 2, 18, 0.2, 0.05, 0.01, 24),
    "TroponinI": Course(4, 5, 2, 1, 1, 20, 0.05, 0.02, 0.3, 49),
    "Cholesterol": Course(155, 38, -4, 5, 0, 48, 0.08, 0, 40, 350),
    "Weight": Course(0, 0, 0, 0.4, 1, 2, 0.6, 0, 35, 250),
}


def write_sets(folder: Path, n_records: int, seed: int, progress: Progress) -> None:
    """Write sets a and b of ``n_records`` stays in all; the same bytes for a seed."""
    with progress.step("Simulating", total=n_records) as step:
        for name, size in (("a", (n_records + 1) // 2), ("b", n_records // 2)):
            stays = []
            for i in range(size):
                stays.append(_stay(_FIRST_ID[name] + i, seed))
                step.advance()
            _write_set(folder, name, stays)


def _write_set(folder: Path, name: str, stays: list[tuple[int, bytes, str]]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for record, body, _ in stays:
            member = tarfile.TarInfo(f"set-{name}/{record}.txt")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    (folder / f"set-{name}.tar.gz").write_bytes(gzip.compress(buffer.getvalue(), compresslevel=6, mtime=0))
    outcomes = [",".join(COLUMNS), *(outcome for _, _, outcome in stays)]
    (folder / f"Outcomes-{name}.txt").write_text("\n".join(outcomes) + "\n", encoding="utf-8")


def _stay(record: int, seed: int) -> tuple[int, bytes, str]:
    """RecordID, its text, its line of outcomes."""
    rng = np.random.default_rng(derive_seed(seed, "physionet2012", record))
    age = float(np.clip(rng.normal(64, 17), 16, 90).round())
    icu = int(rng.choice([1, 2, 3, 4], p=[0.14, 0.21, 0.37, 0.28]))
    severity = 0.9 * rng.normal() + 0.25 * (icu == 3) - 0.45 * (icu == 2)
    drift = 0.5 * rng.normal() + 0.1 * severity
    weight = float(np.clip(rng.normal(82, 20), 38, 200).round(1))
    final = severity + drift
    logit = _PREVALENCE_LOGIT + 1.45 * final + 0.032 * (age - 64)
    died = rng.random() < 1 / (1 + np.exp(-logit))
    descriptors = {
        "RecordID": record,
        "Age": age,
        "Gender": int(rng.random() < 0.56) if rng.random() > 0.001 else -1,
        "Height": round(float(rng.normal(169, 10)), 1) if rng.random() > 0.475 else -1,
        "ICUType": icu,
        "Weight": weight if rng.random() > 0.08 else -1,
    }
    rows = [] if rng.random() < 0.001 else _measurements(rng, severity, drift, weight, icu)
    lines = [HEADER.decode()]
    lines += [f"00:00,{name},{value:g}" for name, value in descriptors.items()]
    lines += [f"{m // 60:02d}:{m % 60:02d},{name},{text}" for m, name, text in sorted(rows)]
    stay_days = int(np.clip(rng.gamma(2.2, 5.5) + 2, 2, 120))
    survival = stay_days if died else (-1 if rng.random() < 0.6 else stay_days + int(rng.gamma(1.5, 250)))
    saps, sofa = (int(np.clip(round(b + k * final + rng.normal()), 0, 34)) for b, k in ((14, 4), (6.5, 3)))
    return (
        record,
        ("\n".join(lines) + "\n").encode(),
        f"{record},{saps},{sofa},{stay_days},{survival},{int(died)}",
    )


def _measurements(
    rng: np.random.Generator, severity: float, drift: float, weight: float, icu: int
) -> list[tuple[int, str, str]]:
    """(minute, parameter, value as text) of one stay."""
    rows: list[tuple[int, str, str]] = []
    ventilated_until = 0.0
    if rng.random() < 1 / (1 + np.exp(-(0.2 + 1.1 * severity + 1.2 * (icu == 2)))):
        ventilated_until = 48.0 if severity + drift > 0.6 else float(rng.uniform(4, 40))
    for name, course in _COURSES.items():
        if rng.random() > np.clip(course.ordered + course.draws * severity, 0.01, 1):
            continue
        hours = _times(rng, course.every_hours / np.exp(0.6 * course.draws * severity))
        state = severity + drift * hours / 48
        centre = weight if name == "Weight" else course.level + course.spread * 0.8 * rng.normal()
        values = centre + course.pull * state + course.noise * rng.normal(size=len(hours))
        if name == "FiO2":
            values = values[hours < max(ventilated_until, 6)]
            hours = hours[: len(values)]
        rows += _written(name, hours, values.clip(course.low, course.high), course.digits)
    if ventilated_until:
        hours = _times(rng, 3)
        hours = hours[hours < ventilated_until]
        rows += _written("MechVent", hours, np.ones(len(hours)), 0)
    return _with_quirks(rng, rows)


def _times(rng: np.random.Generator, every_hours: float) -> FloatArray:
    """Hours of measurement: irregular, the first within one interval, none after 48."""
    n = int(48 / every_hours * 1.6) + 8
    gaps = every_hours * rng.gamma(3.0, 1 / 3.0, size=n)
    gaps[0] *= rng.random()
    hours = np.cumsum(gaps)
    return hours[hours < 48]


def _written(name: str, hours: FloatArray, values: FloatArray, digits: int) -> list[tuple[int, str, str]]:
    minutes = (hours * 60).astype(int).tolist()
    return [
        (minute, name, f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}")
        for minute, value in zip(minutes, values.tolist(), strict=True)
    ]


def _with_quirks(rng: np.random.Generator, rows: list[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    """The publisher's oddities at about its rates: readings of 0, values at 48:00, two in a minute."""
    for i in np.flatnonzero(rng.random(len(rows)) < 0.0015):
        minute, name, text = rows[i]
        kind = rng.integers(3)
        if kind == 0 and name in ("SysABP", "DiasABP", "NISysABP", "Temp"):
            rows[i] = (minute, name, "0")
        elif kind == 1:
            rows[i] = (48 * 60, name, text)
        elif name == "Urine":
            rows.append((minute, name, "40"))
    return rows
