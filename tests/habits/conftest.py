"""One tiny finished run, made as a user makes it: in a project's folder, with the default ``runs`` below."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality

ROOT = Path(__file__).resolve().parents[2]
#: A search of seconds; names beside it say what is unusual about it.
SMALL = [
    *("protocol=smoke", "models=[logistic]", "data.sets=[a]", "trainer.accelerator=cpu"),
    *("tracker=none", "report.explained=0", "report.n_bootstrap=100"),
]


def start(script: str, *arguments: str, folder: Path, **environment: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a script of ``experiments/`` run in a folder.

    environment: beside that of the tests, without what says where data and caches are.
    """
    kept = {name: text for name, text in os.environ.items() if not name.startswith("EHRBENCH_")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "experiments" / script), *arguments],
        cwd=folder,
        env=kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "80"} | environment,
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The publisher's files of 140 patients."""
    folder = tmp_path_factory.mktemp("publisher") / "data"
    PhysioNet2012(Mortality()).simulate(folder, 140, seed=1)
    return folder


@pytest.fixture(scope="session")
def searched(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project: ``data/``, and ``runs/s`` of a finished search beside its ledger."""
    folder = tmp_path_factory.mktemp("bob") / "project"
    shutil.copytree(simulated, folder / "data")
    code, _, error = start("search.py", *SMALL, "study_name=s", folder=folder)
    assert code == 0, error
    return folder


@pytest.fixture
def project(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project as it was searched, under its own name; what a test changes is taken back."""
    for name in [name for name in os.environ if name.startswith("EHRBENCH_")]:
        monkeypatch.delenv(name)
    shutil.copytree(searched, tmp_path / "kept", symlinks=True)
    yield searched
    shutil.rmtree(searched, ignore_errors=True)
    shutil.move(tmp_path / "kept", searched)


def everything(folder: Path) -> dict[str, int]:
    """Every file and folder below, and when it was last written; without SQLite's passing files."""
    return {
        str(path.relative_to(folder)): path.lstat().st_mtime_ns if not path.is_dir() else 0
        for path in folder.rglob("*")
        if not path.name.endswith(("-wal", "-shm", "-journal"))
    }
