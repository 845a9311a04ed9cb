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


OWN: dict[str, Writer] = {"table": table}
