"""A search of boosted trees against Optuna with scikit-learn's ``cross_val_score``: CPU time and best score.

``python -m benchmarks.lightgbm_search [--trials 12] [--patients 1500] [overrides]``. The same trials as far
as a sampler's luck goes: one outer fold of mortality (``EHRBENCH_DATA``), the same inner folds, table, space,
TPE and one thread, trees on the target alone. The other side is given the table ready and builds a classifier
for each fold, as most people write it; ours pays for the ledger, the race, predictions and models kept. CPU
seconds, both in one process.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import numpy as np
import optuna
from hydra import compose, initialize_config_dir
from lightgbm import LGBMClassifier
from sklearn.model_selection import cross_val_score

from ehrbench.app.composed.checking import check
from ehrbench.app.composed.conf import CONF
from ehrbench.app.composed.entry import resolved, spell_out
from ehrbench.app.wired.wiring import Wired, wire
from ehrbench.core.progress import SILENT
from ehrbench.features.statistics import Statistics


def ours(wired: Wired) -> tuple[float, int]:
    """Best inner value, and fits that it took."""
    wired.search.spend(SILENT)
    study = wired.search.study("lightgbm", wired.search.split.outer[0])
    rows = wired.search.backend.ledger.tickets(study.key)
    return study.best().value or 0.0, sum(len(row.fits) for row in rows)


def theirs(wired: Wired, n_trials: int) -> tuple[float, int]:
    search, fold = wired.search, wired.search.split.outer[0]
    records = wired.cohort.records
    values = Statistics().rows(records).arrays()["values"]
    y = records.labels[:, 0]
    folds = [(inner.train, inner.valid) for inner in fold.inner]
    space = search.contenders["lightgbm"].space

    def objective(trial: optuna.Trial) -> float:
        model = LGBMClassifier(**space.suggest(trial), max_bin=63, bagging_freq=1, n_jobs=1, verbosity=-1)
        return float(cross_val_score(model, values, y, cv=folds, scoring="roc_auc").mean())

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(n_startup_trials=8, multivariate=True, group=True, seed=0),
    )
    study.optimize(objective, n_trials)
    return study.best_value, n_trials * len(folds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--patients", type=int, default=1500)
    options, more = parser.parse_known_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    given = [
        *("models=[lightgbm]", "protocol=holdout", "tracker=none", f"n_trials={options.trials}"),
        *("model.lightgbm.build.auxiliary_share=0.0", "~model.lightgbm.space.auxiliary_share"),
        *(f"data.root={os.environ['EHRBENCH_DATA']}", f"data.limit={options.patients}", *more),
    ]
    with tempfile.TemporaryDirectory() as runs, initialize_config_dir(str(CONF)):
        config = resolved(compose("config", overrides=spell_out([*given, f"runs_dir={runs}"])))
        wired = wire(check(config), "lightgbm-search", SILENT)
        wired.search.dataset.cohort.records.rows(Statistics().key, Statistics().rows)  # both have the table
        took: dict[str, float] = {}
        for name, work in (
            ("ehrbench", lambda: ours(wired)),
            ("Optuna", lambda: theirs(wired, options.trials)),
        ):
            began = time.process_time()
            best, n_fits = work()
            took[name] = time.process_time() - began
            print(
                f"{name:9} {took[name]:7.1f} s of CPU, {n_fits} fits, best inner AUROC {best:.4f}", flush=True
            )
    print(f"ratio {np.divide(took['Optuna'], took['ehrbench']):.2f}")


if __name__ == "__main__":
    main()
