"""Simulated answers in BRFSS 2015's format: a hidden state of health drives answers and diabetes alike."""

from __future__ import annotations

import numpy as np

from ehrbench.core.digest import derive_seed
from ehrbench.core.types import FloatArray
from ehrbench.tasks.brfss2015 import ANSWERS, NAMES

#: Yes-or-no answers: (logit at average health, change a unit of hidden poor health, change a decade of age).
_YES: dict[str, tuple[float, float, float]] = {
    "HighBP": (-0.35, 0.75, 0.42), "HighChol": (-0.35, 0.5, 0.3), "CholCheck": (3.3, 0.2, 0.25),
    "Smoker": (-0.25, 0.3, 0.06), "Stroke": (-3.6, 0.8, 0.35), "HeartDiseaseorAttack": (-2.7, 0.8, 0.42),
    "PhysActivity": (1.2, -0.6, -0.08), "Fruits": (0.55, -0.2, 0.06), "Veggies": (1.45, -0.25, 0),
    "HvyAlcoholConsump": (-2.8, -0.2, -0.1), "AnyHealthcare": (3.1, -0.1, 0.3),
    "NoDocbcCost": (-2.6, 0.5, -0.25), "DiffWalk": (-2.1, 1.3, 0.25),
}  # fmt: skip


def simulated_answers(n: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Answers (n, 21) and labels (n,); about 14 % have diabetes, AUROC of what can be learned about 0.82."""
    rng = np.random.default_rng(derive_seed(seed, "brfss2015"))
    health = rng.normal(size=n)  # hidden; greater is poorer
    age = np.clip(np.rint(rng.normal(8, 3, size=n)), 1, 13)
    decades = (age - 8) / 2
    columns: dict[str, FloatArray] = {"Age": age, "Sex": (rng.random(n) < 0.44).astype(float)}
    for name, (level, pull, ageing) in _YES.items():
        columns[name] = (rng.random(n) < _sigmoid(level + pull * health + ageing * decades)).astype(float)
    columns["BMI"] = np.exp(rng.normal(3.32 + 0.05 * health, 0.19))
    columns["GenHlth"] = 2.5 + 0.75 * health + 0.5 * rng.normal(size=n)
    for name, level in (("MentHlth", -1.9), ("PhysHlth", -1.3)):
        columns[name] = np.where(rng.random(n) < _sigmoid(level + health), rng.geometric(0.12, n), 0)
    columns["Income"] = 6.1 - 0.7 * health + 1.8 * rng.normal(size=n)
    columns["Education"] = 5.1 - 0.3 * health + 0.9 * rng.normal(size=n)
    values = np.stack([np.rint(columns[a.name]).clip(a.low, a.high) for a in ANSWERS], axis=1)  # (n, 21)
    seen = {name: values[:, NAMES.index(name)] for name in ("BMI", "HighBP", "HighChol", "GenHlth")}
    risk = -3.25 + 0.85 * seen["HighBP"] + 0.6 * seen["HighChol"] + 0.075 * (seen["BMI"] - 28)
    risk = risk + 0.6 * (seen["GenHlth"] - 2.5) + 0.25 * decades
    return values, (rng.random(n) < _sigmoid(risk)).astype(float)


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-x)))
