"""Run folders made once for all tests that only read them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ehrbench.report.run import Run, read_run
from tests.report.folders import Sketch, write_run


@pytest.fixture(scope="session")
def binary_folder(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("binary"), Sketch())


@pytest.fixture(scope="session")
def binary(binary_folder) -> Run:
    return read_run(binary_folder)


@pytest.fixture
def folder(binary_folder, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(binary_folder, tmp_path / "run"))
