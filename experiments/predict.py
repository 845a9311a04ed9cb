"""Predict: python experiments/predict.py bundle=DIR input=FILE_OR_FOLDER output=FILE

Batch inference on raw files without labels.
"""

import hydra
from omegaconf import DictConfig

from ehrbench.app.entry import guarded, start


@hydra.main(config_path="../conf", config_name="predict")
def main(config: DictConfig) -> float | None:
    from ehrbench.app import scoring  # seconds, which a wrong key need not wait for

    return guarded(scoring.predict_files, config)


if __name__ == "__main__":
    start(main)
