"""A numeric user of whom the system knows nothing, as containers run: no name, no home, data read-only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality
from tests.app.processes import ROOT

SMALL = ["protocol=smoke", "models=[logistic]", "report.explained=0", "data.sets=[a]", "runs_dir=runs"]
AS_NOBODY = ["unshare", "--user", "--map-user=54321"]


@pytest.fixture
def data(tmp_path: Path):
    folder = tmp_path / "data"
    PhysioNet2012(Mortality()).simulate(folder, 280, seed=1)
    places = (folder, folder / "physionet2012")
    for place in places:
        place.chmod(0o555)
    yield folder
    for place in places:
        place.chmod(0o755)


def test_only_caches_are_missed(data, tmp_path):
    """Neither ours, which then cannot be placed at all, nor MLflow's, which it asks for when imported."""
    if (
        shutil.which("unshare") is None
        or subprocess.run([*AS_NOBODY, "true"], capture_output=True).returncode
    ):
        pytest.skip("no user namespaces here")
    environment = {
        k: v for k, v in os.environ.items() if k not in ("HOME", "USER", "LOGNAME", "EHRBENCH_CACHE")
    }
    environment = {k: v for k, v in environment.items() if not k.startswith("XDG_")}
    done = subprocess.run(
        [*AS_NOBODY, sys.executable, ROOT / "experiments" / "search.py", *SMALL, "data.root=data"],
        cwd=tmp_path,
        env={**environment, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=500,
    )
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout
    assert "MLflow does not answer" not in done.stdout
    assert "has not taken" not in done.stdout
    assert not list(data.rglob(".cache"))
