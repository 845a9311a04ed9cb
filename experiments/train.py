"""Train: python experiments/train.py model=ssm protocol=nested

Cross-validates one configuration, no search. For small sweeps:
python experiments/train.py -m hydra/sweeper=optuna model=lightgbm '+hydra.sweeper.params={...}'
"""

import hydra
from omegaconf import DictConfig

from ehrbench.app import searching
from ehrbench.app.entry import begin, guarded


@hydra.main(config_path="../conf", config_name="config")
def main(config: DictConfig) -> float | None:
    return guarded(searching.train, config)


if __name__ == "__main__":
    begin()
    main()
