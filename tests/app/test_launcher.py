"""Workers by Hydra's launcher: submitit's local executor, which is SLURM's without the cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ehrbench.core.ledger import SPENT
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database
from ehrbench.infra.ledger import SqlLedger
from ehrbench.tasks.mortality import Mortality

ROOT = Path(__file__).resolve().parents[2]


def test_a_launcher_starts_workers_of_one_search(tmp_path):
    Mortality().simulate(tmp_path / "data", 200, seed=2)
    runs = tmp_path / "runs"
    search = ["models=[logistic]", "protocol=smoke", "n_trials=3", "tracker=none", "study_name=launched"]
    launched = ["-m", "hydra/launcher=submitit_local", "worker=range(2)"]
    command = [sys.executable, str(ROOT / "experiments/search.py"), *launched, *search, f"runs_dir={runs}"]
    environment = {**os.environ, "EHRBENCH_DATA": str(tmp_path / "data"), "EHRBENCH_CACHE": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    ledger = SqlLedger(Database.sqlite(runs / "ehrbench.db").engine, FileArtifacts(runs / "artifacts"))
    keys = ledger.studies("launched")
    assert [sorted(row.number for row in ledger.tickets(key)) for key in keys] == [[0, 1, 2]] * 3
    assert all(row.state in SPENT for key in keys for row in ledger.tickets(key))
    assert not (runs / "launched" / "summary.json").exists()  # judging is left to the command without worker=
