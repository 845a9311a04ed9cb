"""Made-up payloads for the featurizers' tests."""

from __future__ import annotations

import numpy as np

from ehrbench.core.records import Payload, Records
from ehrbench.features.beats import Beats
from ehrbench.features.events import Events, event_order
from ehrbench.features.rows import Rows
from ehrbench.features.texts import Texts

#: The names that clinical columns need, and one that is never measured.
PARAMETERS = (
    *(
        "HR",
        "SysABP",
        "NISysABP",
        "DiasABP",
        "NIDiasABP",
        "MAP",
        "NIMAP",
        "PaO2",
        "FiO2",
        "BUN",
        "Creatinine",
    ),
    *("AST", "ALT", "HCO3", "Lactate", "Urine", "Weight", "GCS", "Never"),
)
DESCRIPTORS = ("Age", "Gender", "Height", "ICUType", "Weight")


def events_of(
    cells: list[tuple[int, str, int, float]], n: int, descriptors: np.ndarray | None = None
) -> Events:
    """Events of ``n`` patients from (patient, parameter, minute, value)."""
    patient = np.array([c[0] for c in cells], dtype=np.int64)
    code = np.array([PARAMETERS.index(c[1]) for c in cells], dtype=np.int64)
    minute = np.array([c[2] for c in cells], dtype=np.int64)
    order = event_order(patient, code, minute)
    return Events(
        np.concatenate([[0], np.cumsum(np.bincount(patient, minlength=n))]),
        minute[order].astype(np.int16),
        code[order].astype(np.uint8),
        np.array([c[3] for c in cells], dtype=np.float32)[order],
        np.full((n, 5), np.nan, dtype=np.float32) if descriptors is None else descriptors.astype(np.float32),
        PARAMETERS,
        DESCRIPTORS,
    )


def random_events(n: int, seed: int) -> Events:
    """Patients with 0 to 200 events; patient 0 has none, patient 1 one at 48:00 exactly."""
    rng = np.random.default_rng(seed)
    cells: dict[tuple[int, str, int], float] = {(1, "HR", 2880): 80.0}
    for patient in range(2, n):
        for _ in range(int(rng.integers(0, 200))):
            name = PARAMETERS[int(rng.integers(len(PARAMETERS) - 1))]
            cells[patient, name, int(rng.integers(0, 2881))] = float(np.round(rng.normal(50, 30), 1))
    described = np.round(rng.normal(60, 20, size=(n, 5)))
    described[rng.random((n, 5)) < 0.2] = np.nan
    return events_of([(*key, value) for key, value in cells.items()], n, described)


def random_rows(n: int, seed: int) -> Rows:
    """Rows of ordinal codes with some holes."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 6, size=(n, 4)).astype(np.float32)
    values[rng.random((n, 4)) < 0.1] = np.nan
    return Rows(values, ("Age", "Income", "HighBP", "BMI"))


def random_beats(n: int, seed: int) -> Beats:
    """Recordings of 1 to 150 beats, some lost; recording 0 has one beat, recording 1 never varies."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 150, n)
    counts[:2] = 1, 40
    starts = np.concatenate([[0], np.cumsum(counts)])
    rr = np.round(rng.lognormal(6.7, 0.1, starts[-1])).astype(np.float32)
    rr[1:41] = 800
    lost = np.where(rng.random(len(rr)) < 0.02, 500.0, 0.0).astype(np.float32)
    return Beats(starts, rr, lost)


def random_texts(n: int, seed: int) -> Texts:
    """Texts of 0 to 60 words, some of them rare, none of it a note's."""
    rng = np.random.default_rng(seed)
    plain = ["the", "patient", "was", "seen", "café", "3-4", "cm", "X-ray", "knee", "heart"]
    rare = [f"word{i}" for i in range(200)]
    drawn = [
        [plain[int(i)] if i < len(plain) else str(rng.choice(rare)) for i in rng.integers(0, 13, int(length))]
        for length in np.r_[0, rng.integers(1, 60, n - 1)]
    ]
    return Texts(tuple(f"{' '.join(words)}.\n" for words in drawn))


def records_of(payload: Payload) -> Records:
    """One unit a record, or one a beat; no labels."""
    ids = np.array([str(i) for i in range(len(payload))])
    counts = payload.n_beats if isinstance(payload, Beats) else np.ones(len(ids), dtype=np.int64)
    return Records(ids=ids, groups=ids, payload=payload, n_units=counts)
