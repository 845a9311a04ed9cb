"""Ctrl-C, SIGTERM and the end of a SLURM job: nothing finished is lost, no trial fails by them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ehrbench.app.composed.entry import INTERRUPTED, guarded
from tests.app.processes import SMALL, run, start

SWALLOWED = """
import os, signal, sys, time
from omegaconf import OmegaConf
from ehrbench.app.composed.entry import begin, guarded
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start without it
class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.{0})
        time.sleep(0.5)
def run(config):
    Last()
    time.sleep(60)
{1}
guarded(run, OmegaConf.create())
"""


@pytest.mark.parametrize(
    ("asked", "before"),
    [
        ("SIGINT", "begin()"),
        ("SIGTERM", "begin()"),
        ("SIGTERM", "signal.signal(signal.SIGUSR2, lambda number, frame: None)"),  # as submitit does
        ("SIGUSR2", "signal.signal(signal.SIGUSR2, lambda number, frame: None)"),
    ],
)
def test_a_stop_that_python_swallows_in_a_destructor_is_heeded(asked, before):
    begun = time.monotonic()
    code = SWALLOWED.format(asked, before)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr == "stopped.\n"
    assert time.monotonic() - begun < 55


HOOKED = """
import atexit, os, signal, time
from omegaconf import OmegaConf
from ehrbench.app.composed.entry import begin, guarded
signal.signal(signal.SIGINT, signal.default_int_handler)
def hook():
    time.sleep(0.5)
    print("the hook is done")
atexit.register(hook)
class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
def run(config):
    Last()
    {}
begin()
guarded(run, OmegaConf.create())
"""


@pytest.mark.parametrize("end", ["pass", "raise KeyboardInterrupt", "raise ValueError('a fault')"])
def test_a_swallowed_stop_is_not_repeated_in_exit_hooks(end):
    """It met those of libraries, a tenth of a second after the work, which then printed tracebacks."""
    code = HOOKED.format(end)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert "the hook is done" in ended.stdout
    assert "hook" not in ended.stderr
    assert ended.returncode == (1 if "fault" in end else 130)
    assert ("a fault" in ended.stderr) == ("fault" in end)


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_keeps_what_is_finished_and_the_same_command_goes_on(asked, data, tmp_path):
    arguments = [*SMALL, f"runs_dir={tmp_path}", "n_trials=8"]
    process = start("search.py", *arguments, data=data)
    database = tmp_path / "ehrbench.db"
    deadline = time.monotonic() + 400
    while count_fits(database) < 5:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(asked)
    _, error = process.communicate(timeout=500)
    assert process.returncode == 130
    assert "goes on from here" in error
    assert "Traceback" not in error
    kept = count_fits(database)
    code, output = run("search.py", *arguments, data=data)
    assert code == 0, output
    assert kept >= 5
    summary = json.loads((tmp_path / "mortality-smoke" / "summary.json").read_text())
    assert all(
        sum(s.get(k, 0) for k in ("complete", "pruned", "failed")) == 8 for s in summary["studies"].values()
    )
    assert summary["cohort"] == "simulated"
    assert "SIMULATED" in output


def count_fits(database: Path) -> int:
    import sqlite3

    if not database.exists():
        return 0
    try:
        with sqlite3.connect(database, timeout=5) as connection:
            return int(connection.execute("SELECT count(*) FROM ehrbench_fits").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


@pytest.fixture
def submitit_job() -> Iterator[None]:
    """Signals as submitit sets them in a job that SLURM is not to start again."""

    def warned(number: int, frame: object) -> None:
        raise RuntimeError("Job not requeued because: timed-out too many times.")

    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    signal.signal(signal.SIGUSR2, warned)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("submitit_job")
@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_the_end_of_a_slurm_job_is_no_failure_of_its_trial(number: signal.Signals) -> None:
    def train(config: object) -> None:
        try:
            os.kill(os.getpid(), number)
        except Exception as error:  # as a study does with what a fit raises
            pytest.fail(f"a trial fails with {error}")
        pytest.fail("the job goes on")

    with pytest.raises(SystemExit) as ended:
        guarded(train, OmegaConf.create({}))
    assert ended.value.code == INTERRUPTED
