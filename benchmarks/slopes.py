"""How the cost of a search grows: log-log slopes of its CPU time against patients and inner folds.

``python -m benchmarks.slopes [--model lightgbm]``. Simulated stays, a hold-out search of two trials without a
race, from the split to the decided procedure; reading is left out. A slope of 1 is proportional.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir

from ehrbench.app.composed.checking import check
from ehrbench.app.composed.conf import CONF
from ehrbench.app.composed.entry import resolved, spell_out
from ehrbench.app.wired.wiring import wire
from ehrbench.core.progress import SILENT
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality

PATIENTS, FOLDS = (500, 2000, 8000), (3, 6, 12)


def cost(data: Path, model: str, patients: int, folds: int) -> float:
    """Seconds of CPU."""
    with tempfile.TemporaryDirectory() as runs, initialize_config_dir(str(CONF)):
        given = [
            *(f"models=[{model}]", "protocol=holdout", f"protocol.inner_folds={folds}", "pruner=none"),
            *(
                "n_trials=2",
                "tracker=none",
                f"data.limit={patients}",
                f"data.root={data}",
                f"runs_dir={runs}",
            ),
            "search.portfolio=false",
        ]
        config = resolved(compose("config", overrides=spell_out(given)))
        search = wire(check(config), "slopes", SILENT).search
        began = time.process_time()
        search.spend(SILENT)
        search.conclude(SILENT)
        return time.process_time() - began


def slope(x: tuple[int, ...], y: list[float]) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="lightgbm")
    parser.add_argument("--patients", type=int, nargs="+", default=PATIENTS)
    options = parser.parse_args()
    patients = tuple(options.patients)
    with tempfile.TemporaryDirectory() as folder:
        PhysioNet2012(Mortality()).simulate(Path(folder), max(patients), 0)
        cost(Path(folder), options.model, min(patients), 2)  # imports
        by_patients = [cost(Path(folder), options.model, n, 3) for n in patients]
        by_folds = [cost(Path(folder), options.model, min(patients), n) for n in FOLDS]
    for name, x, y in (("patients", patients, by_patients), ("inner folds", FOLDS, by_folds)):
        said = ", ".join(f"{n}: {s:.1f} s" for n, s in zip(x, y, strict=True))
        print(f"{options.model}, {name}: slope {slope(x, y):.2f} ({said})")


if __name__ == "__main__":
    main()
