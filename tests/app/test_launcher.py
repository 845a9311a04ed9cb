"""Workers by Hydra's launcher: submitit's local executor, which is SLURM's without the cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ehrbench.core.ledger import SPENT
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database
from ehrbench.infra.ledger import SqlLedger
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality
from tests.infra.servers import wait_until

ROOT = Path(__file__).resolve().parents[2]


def launcher(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """``search.py`` on simulated patients, its workers started by submitit."""
    PhysioNet2012(Mortality()).simulate(folder / "data", 200, seed=2)
    command = [sys.executable, str(ROOT / "experiments/search.py"), "-m", "hydra/launcher=submitit_local"]
    command += [
        "protocol=smoke",
        "tracker=none",
        "study_name=launched",
        f"runs_dir={folder / 'runs'}",
        *arguments,
    ]
    environment = {**os.environ, "EHRBENCH_DATA": str(folder / "data"), "EHRBENCH_CACHE": str(folder)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ledger_of(folder: Path) -> SqlLedger:
    runs = folder / "runs"
    return SqlLedger(Database.sqlite(runs / "ehrbench.db").engine, FileArtifacts(runs / "artifacts"))


def test_a_launcher_starts_workers_of_one_search(tmp_path):
    with launcher(tmp_path, "worker=range(2)", "models=[logistic]", "n_trials=3") as launched:
        said, _ = launched.communicate(timeout=500)
    assert launched.returncode == 0, said
    ledger = ledger_of(tmp_path)
    keys = ledger.studies("launched")
    assert [sorted(row.number for row in ledger.tickets(key)) for key in keys] == [[0, 1, 2]] * 3
    assert all(row.state in SPENT for key in keys for row in ledger.tickets(key))
    # judging is left to the command without worker=
    assert not (tmp_path / "runs" / "launched" / "summary.json").exists()


#: Settings under which a fit takes minutes.
SLOW = {
    "lightgbm": [f"model.lightgbm.space.n_estimators.{end}=100000" for end in ("low", "high")],
    "lstm": [f"model.lstm.build.{name}=10000" for name in ("max_epochs", "patience")],
}


@pytest.mark.parametrize("model", SLOW)
def test_a_job_that_is_to_end_gives_its_trial_back(model, tmp_path):
    """As by scancel: no attempt is spent, no lease has to run out."""
    with launcher(tmp_path, "worker=range(1)", f"models=[{model}]", *SLOW[model]) as launched:
        wait_until(lambda: launched.poll() is not None or running(tmp_path), 300)
        (job,) = jobs_under(launched.pid)
        try:
            os.kill(job, signal.SIGTERM)
            said, _ = launched.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.kill(job, signal.SIGKILL)
            launched.kill()  # it would wait for the job's result
            raise
    ledger = ledger_of(tmp_path)
    rows = [row for key in ledger.studies("launched") for row in ledger.tickets(key)]
    assert {(row.state, row.attempt, row.error) for row in rows} == {("free", 0, None)}, said


def running(folder: Path) -> bool:
    """Whether a ticket has its parameters, so that its trial trains."""
    if not (folder / "runs" / "ehrbench.db").exists():
        return False
    ledger = ledger_of(folder)
    return any(row.params is not None for key in ledger.studies("launched") for row in ledger.tickets(key))


def jobs_under(pid: int) -> list[int]:
    """The processes that run submitit's jobs, among the children of ``pid`` and theirs."""
    process = Path(f"/proc/{pid}")
    own = [pid] if b"submitit.core._submit" in (process / "cmdline").read_bytes() else []
    children = (process / "task" / str(pid) / "children").read_text().split()
    return own + [job for child in children for job in jobs_under(int(child))]
