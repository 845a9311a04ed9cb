"""Several search processes on one real MySQL server, some of them killed: one search, exact to the ticket."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import optuna
import pytest
from sqlalchemy import text

from ehrbench.infra.study import optuna_storage
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality
from tests.infra.servers import PASSWORD, MariaDb

ROOT = Path(__file__).resolve().parents[2]
N_TRIALS = 6
N_FITS = 3 * N_TRIALS * 2  # of three studies with two inner folds each


@pytest.fixture
def environment(mariadb: MariaDb, tmp_path: Path) -> dict[str, str]:
    PhysioNet2012(Mortality()).simulate(tmp_path / "data", 200, seed=2)
    name = f"t{uuid.uuid4().hex[:12]}"
    database = mariadb.database(name)
    url = database.url
    return {
        **os.environ,
        "EHRBENCH_DATA": str(tmp_path / "data"),
        "EHRBENCH_CACHE": str(tmp_path / "cache"),
        "OPTUNA_HOST": str(url.host),
        "OPTUNA_PORT": str(url.port),
        "OPTUNA_USER": str(url.username),
        "OPTUNA_PASSWORD": PASSWORD,
        "OPTUNA_DATABASE": name,
        "OMP_NUM_THREADS": "1",
    }


def start(environment: dict[str, str], runs: Path, *, worker: bool) -> subprocess.Popen[str]:
    arguments = [
        "models=[logistic]",
        "protocol=smoke",
        f"n_trials={N_TRIALS}",
        "storage=mysql",
        "tracker=none",
    ]
    command = [
        sys.executable,
        str(ROOT / "experiments/search.py"),
        *arguments,
        "storage.lease_s=5",
        "storage.max_attempts=10",  # the dead may have held one and the same trial
        f"runs_dir={runs}",
    ]
    environment = {**environment, "EHRBENCH_WORKER": "1"} if worker else environment
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(command, env=environment, text=True, **pipes)


@pytest.mark.server
def test_killed_workers_leave_an_exact_search(environment, mariadb, tmp_path):
    rng, runs = random.Random(0), tmp_path / "runs"
    database = mariadb.database(environment["OPTUNA_DATABASE"])
    workers = [start(environment, runs, worker=True) for _ in range(2)]
    deadline = time.monotonic() + 400
    for _ in range(3):  # kill one once it has worked, and start another in its place
        before = count_fits(database)
        while count_fits(database) < min(before + 2, N_FITS) and time.monotonic() < deadline:
            time.sleep(0.2)
        victim = rng.randrange(len(workers))
        workers[victim].send_signal(signal.SIGKILL)
        workers[victim].communicate()
        workers[victim] = start(environment, runs, worker=True)
    last = start(environment, runs, worker=False)
    output, _ = last.communicate(timeout=500)
    assert last.returncode == 0, output
    outputs = [output, *(worker.communicate(timeout=500)[0] for worker in workers)]
    check_exact(runs / "mortality-smoke" / "summary.json", database)
    written = [
        p.read_text(errors="ignore")
        for p in runs.rglob("*")
        if p.suffix in (".json", ".yaml", ".csv", ".html")
    ]
    assert not any(PASSWORD in text_ for text_ in [*outputs, *written])


def count_fits(database) -> int:
    try:
        with database.engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM ehrbench_fits")).scalar_one())
    except Exception:  # the first worker has not made the table yet
        return 0


def check_exact(summary: Path, database) -> None:
    studies = json.loads(summary.read_text())["studies"]
    assert len(studies) == 3
    storage = optuna_storage(database)
    for key, states in studies.items():
        assert sum(states.get(s, 0) for s in ("complete", "pruned", "failed")) == N_TRIALS
        assert states.get("failed", 0) == 0
        study = optuna.load_study(study_name=key, storage=storage)
        trials = study.get_trials(deepcopy=False)
        by_ticket = Counter(
            t.user_attrs.get("ticket") for t in trials if t.state.name in ("COMPLETE", "PRUNED")
        )
        assert by_ticket == dict.fromkeys(range(N_TRIALS), 1)
        assert not [t for t in trials if t.state.name == "RUNNING"]
