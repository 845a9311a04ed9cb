"""Fixtures of the tasks' tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads what another, or an earlier version, has cached."""
    monkeypatch.setenv("EHRBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with 120 simulated stays; read only."""
    root = tmp_path_factory.mktemp("simulated")
    PhysioNet2012(Mortality()).simulate(root, 120, seed=1)
    return root


@pytest.fixture
def data() -> Path:
    """The publishers' files; the test is skipped where there are none."""
    if not os.environ.get("EHRBENCH_DATA"):
        pytest.skip("EHRBENCH_DATA names no folder with the publishers' files")
    return Path(os.environ["EHRBENCH_DATA"])
