"""The MariaDB of the infra tests, for whole searches on it; simulated patients."""

from pathlib import Path

import pytest

from ehrbench.app.runs.releasing import open_registry
from ehrbench.app.search.searching import search
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality
from tests.infra.conftest import mariadb
from tests.spine.composing import tiny_config

__all__ = ["data", "mariadb"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    PhysioNet2012(Mortality()).simulate(folder, 300, seed=1)
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search of three kinds of models, to be read and never altered."""
    folder = tmp_path_factory.mktemp("runs")
    small = ("protocol=holdout", "protocol.inner_folds=2", "models=[logistic,lightgbm,mlp]", "n_trials=1")
    search(tiny_config("beats", folder, *small, "report.explained=0", "model.mlp.build.max_epochs=2"))
    return folder / "tiny-beats-holdout"


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, whose making takes longer than any test that fills them."""
    folder = tmp_path_factory.mktemp("empty")
    open_registry(None, folder)
    return folder / "mlflow.db"
