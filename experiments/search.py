"""Search: python experiments/search.py n_trials=100 task=mortality models=[ssm,lstm,lightgbm] protocol=nested

Spends an exact budget of Optuna trials a study on inner folds, judges the chosen procedure on outer folds,
and leaves summary, predictions, report and bundle under runs_dir/study_name. Run it again, or on more
machines, and it goes on where it stopped.
"""

import sys

import hydra
from omegaconf import DictConfig

from ehrbench.app.entry import guarded, start
from ehrbench.app.workers import is_worker


@hydra.main(config_path="../conf", config_name="config")
def main(config: DictConfig) -> float | None:
    from ehrbench.app import searching  # seconds, which a wrong key need not wait for

    if is_worker() or config.worker is not None:
        return guarded(searching.work, config)
    return guarded(lambda c: searching.search(c, sys.argv), config)


if __name__ == "__main__":
    start(main)
