"""The MariaDB of the infra tests, for whole searches on it; simulated patients."""

from pathlib import Path

import pytest

from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality
from tests.infra.conftest import mariadb

__all__ = ["data", "mariadb"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    PhysioNet2012(Mortality()).simulate(folder, 300, seed=1)
    return folder
