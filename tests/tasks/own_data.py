"""Files of a person's own for the tasks that read such: nobody publishes or simulates them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

#: Task -> writes files under a folder (records, seed) and gives what its configuration is to say of them.
Writer = Callable[[Path, int, int], dict[str, Any]]


def table(folder: Path, n_records: int, seed: int) -> dict[str, Any]:
    """A CSV with a column of each kind, patients with several rows, and a label that age and ward tell of."""
    rng = np.random.default_rng(seed)
    lines = ["row,patient,age (years),sex,ward,smoker,seen,died"]
    for i in range(n_records):
        age, ward = rng.normal(60, 12), rng.choice(["icu", "surgery", "eye"])
        dead = rng.random() < 1 / (1 + np.exp(-((age - 60) / 8 + 2 * (ward == "icu") - 1)))
        smoker = rng.choice(["yes", "no", ""])
        seen = np.datetime64("2020-01-01") + int(rng.integers(700))
        outcome = ("alive", "dead")[int(dead)]
        lines.append(f"r{i},{i // 2},{age:.0f},{rng.choice(['M', 'F'])},{ward},{smoker},{seen},{outcome}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "patients.csv"
    path.write_text("\n".join(lines) + "\n")
    return {
        "build": {"label": "died", "id": "row", "group": "patient"},
        "publisher": {"file": str(path)},
    }


def series(folder: Path, n_records: int, seed: int) -> dict[str, Any]:
    """Two variables at odd hours of up to four days, a descriptor of each kind, and records without a row."""
    rng = np.random.default_rng(seed)
    rows, patients, outcomes = ["id,time,variable,value"], ["id,age,ward,smoker"], ["id,died,patient"]
    for i in range(n_records):
        risk = rng.normal()
        ward, smoker = rng.choice(["icu", "surgery"]), rng.choice(["yes", "no", ""])
        patients.append(f"s{i},{60 + 8 * risk:.0f},{ward},{smoker}")
        outcomes.append(f"s{i},{'yes' if risk + 0.7 * rng.normal() > 0.4 else 'no'},p{i // 2}")
        for _ in range(0 if i % 20 == 7 else 12):
            hour, name = rng.uniform(0, 96), rng.choice(["pulse", "lactate"])
            level = 80 + 15 * risk if name == "pulse" else 2 + risk
            rows.append(f"s{i},{hour:.2f},{name},{level + rng.normal():.1f}")
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"file": "long.csv", "descriptors": "patients.csv", "labels": "outcomes.csv"}
    for (key, name), lines in zip(paths.items(), (rows, patients, outcomes), strict=True):
        paths[key] = str(folder / name)
        (folder / name).write_text("\n".join(lines) + "\n")
    return {
        "build": {"label": "died", "group": "patient", "horizon_hours": 96},
        "publisher": paths,
    }


OWN: dict[str, Writer] = {"table": table, "series": series}
