"""Evaluate: python experiments/evaluate.py bundle=DIR data.sets=[b]

Scores a bundle on labelled records it has not seen; writes metrics.json and predictions.csv.
"""

import hydra
from omegaconf import DictConfig

from ehrbench.app.entry import guarded, start


@hydra.main(config_path="../conf", config_name="evaluate")
def main(config: DictConfig) -> float | None:
    from ehrbench.app import scoring  # seconds, which a wrong key need not wait for

    return guarded(scoring.evaluate_bundle, config)


if __name__ == "__main__":
    start(main)
