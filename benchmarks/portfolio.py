"""What a portfolio is worth: best inner score after k trials, with ``search.portfolio`` and without.

``python -m benchmarks.portfolio [--seeds 3] [--trials 8] [--patients 600] [--model lightgbm]``. Simulated
stays, on which no portfolio was found, another cohort a seed; the model's own settings come first either way,
so that both are equal after one trial. Pruning is off: what counts is what is tried.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir

from ehrbench.app.composed.checking import check
from ehrbench.app.composed.conf import CONF
from ehrbench.app.composed.entry import resolved, spell_out
from ehrbench.app.wired.wiring import wire
from ehrbench.core.progress import SILENT
from ehrbench.core.types import FloatArray
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality


def best_after(data: Path, model: str, n_trials: int, seed: int, portfolio: bool) -> FloatArray:
    """(n_trials,) best value of one study after each of its trials."""
    with tempfile.TemporaryDirectory() as runs, initialize_config_dir(str(CONF)):
        given = [
            *(
                f"models=[{model}]",
                "protocol=holdout",
                "protocol.inner_folds=3",
                "pruner=none",
                "tracker=none",
            ),
            *(f"data.root={data}", f"runs_dir={runs}", f"n_trials={n_trials}", f"seed={seed}"),
            f"search.portfolio={str(portfolio).lower()}",
        ]
        config = resolved(compose("config", overrides=spell_out(given)))
        search = wire(check(config), "portfolio", SILENT).search
        search.spend(SILENT)
        study = search.study(model, search.split.outer[0])
        rows = search.backend.ledger.tickets(study.key)
        gain = [search.metric.searched.gain(row.value) if row.value is not None else -np.inf for row in rows]
    return np.maximum.accumulate(gain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--patients", type=int, default=600, help="in all sets together")
    parser.add_argument("--model", default="lightgbm")
    options = parser.parse_args()
    found: dict[bool, list[FloatArray]] = {True: [], False: []}
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            PhysioNet2012(Mortality()).simulate(Path(folder), options.patients, 100 + seed)
            for portfolio, curves in found.items():
                curves.append(best_after(Path(folder), options.model, options.trials, seed, portfolio))
            print(seed, *(f"{name}: {np.round(c[-1], 4)}" for name, c in found.items()), flush=True)
    print(f"{options.model}, {options.seeds} cohorts: mean best inner score after k trials, and the gain")
    with_it, without = (np.mean(found[name], axis=0) for name in (True, False))
    error = np.std(np.subtract(found[True], found[False]), axis=0, ddof=1) / np.sqrt(options.seeds)
    for k in range(options.trials):
        gain = with_it[k] - without[k]
        print(f"{k + 1:>3}  {with_it[k]:.4f}  {without[k]:.4f}  {gain:+.4f} ± {error[k]:.4f}")


if __name__ == "__main__":
    main()
