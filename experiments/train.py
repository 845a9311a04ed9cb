"""Train: python experiments/train.py model=ssm protocol=nested

Cross-validates one configuration, no search. For small sweeps, which minimise as all of Hydra's do (the inner
AUROC comes negated):
python experiments/train.py -m hydra/sweeper=optuna hydra.sweeper.n_trials=10 model=lightgbm \\
    'model.lightgbm.build.num_leaves=range(4,32)'
"""

import hydra
from omegaconf import DictConfig

from ehrbench.app.entry import guarded, start


@hydra.main(config_path="../conf", config_name="config")
def main(config: DictConfig) -> float | None:
    from ehrbench.app import searching  # seconds, which a wrong key need not wait for

    return guarded(searching.train, config)


if __name__ == "__main__":
    start(main)
