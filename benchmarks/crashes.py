"""Whether the budget stays exact: workers killed each second, and a database that is away for 20 s.

    python -m benchmarks.crashes --repetitions 3 --workers 8 --trials 60

Each repetition starts workers on one MariaDB, kills (SIGKILL) one at random each second and starts another in
its place, until the budget is spent; then it checks the ledger, the log of fits, and Optuna's tables.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import tempfile
import threading
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

import optuna

from ehrbench.core.progress import SILENT
from ehrbench.infra.database import Database
from ehrbench.infra.study import optuna_storage
from tests.infra.servers import MariaDb
from tests.spine.sleeping import KEY, check_exact, sleeping_study

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.spine.sleeping"])  # not __name__: that is __main__ under -m
N_FOLDS, SECONDS, LEASE_S = 5, 0.4, 5.0


def work(database: Database, folder: Path, n_trials: int, name: str) -> None:
    study = sleeping_study(
        database, folder, n_trials=n_trials, n_folds=N_FOLDS, seconds=SECONDS, lease_s=LEASE_S, worker=name
    )
    while not study.spent():
        if not study.run(SILENT) and not study.help(SILENT):
            time.sleep(0.2)


def start(database: Database, folder: Path, n_trials: int, name: str) -> BaseProcess:
    process = PROCESSES.Process(target=work, args=(database, folder, n_trials, name))
    process.start()
    return process


def check(database: Database, folder: Path, n_trials: int) -> str:
    """Raise AssertionError unless all is exact; what was there, in words."""
    study = sleeping_study(database, folder, n_trials=n_trials, n_folds=N_FOLDS)
    check_exact(study, folder / "log", N_FOLDS)
    study.publish(last=True)  # as whoever concludes a search does
    rows = study.setting.ledger.tickets(KEY)
    trials = optuna.load_study(study_name=str(KEY), storage=optuna_storage(database)).get_trials()
    shown = Counter(trial.state.name for trial in trials)
    assert len(trials) == len({trial.user_attrs["ticket"] for trial in trials}) == n_trials
    assert shown["RUNNING"] == 0
    n_fits = sum(len(row.fits) for row in rows)
    began = len((folder / "log").read_text(encoding="utf-8").splitlines())
    states = dict(Counter(row.state for row in rows))
    return f"{states} of {n_trials} tickets, {n_fits} fits recorded of {began} begun, Optuna {dict(shown)}"


def killed(server: MariaDb, folder: Path, n_workers: int, n_trials: int, repetition: int) -> None:
    folder.mkdir()
    database, rng = server.database(f"killed{repetition}"), random.Random(repetition)
    ledger = sleeping_study(database, folder, n_trials=n_trials, n_folds=N_FOLDS).setting.ledger
    workers = [start(database, folder, n_trials, f"w{i}") for i in range(n_workers)]
    began, kills = time.monotonic(), 0
    while ledger.spent(KEY) < n_trials and time.monotonic() - began < 300:
        time.sleep(1)
        i = rng.randrange(n_workers)
        if workers[i].is_alive():
            workers[i].kill()
            workers[i].join()
            kills += 1
        workers[i] = start(database, folder, n_trials, f"w{i}.{kills}")
    for worker in workers:
        worker.join(120)
    taken = time.monotonic() - began
    said = check(database, folder, n_trials)
    print(f"killed, repetition {repetition}: {kills} kills in {taken:.0f} s; {said}", flush=True)


def outage(server: MariaDb, folder: Path, n_workers: int, n_trials: int) -> None:
    folder.mkdir()
    database = server.database("outage")
    ledger = sleeping_study(database, folder, n_trials=n_trials, n_folds=N_FOLDS).setting.ledger
    workers = [start(database, folder, n_trials, f"w{i}") for i in range(n_workers)]
    while ledger.spent(KEY) < n_trials // 4:
        time.sleep(0.2)

    def away() -> None:
        server.stop()
        time.sleep(20)
        server.start()

    thread = threading.Thread(target=away)
    thread.start()
    thread.join()
    for worker in workers:
        worker.join(300)
    codes = [worker.exitcode for worker in workers]
    print(
        f"database away for 20 s: workers ended with {codes}; {check(database, folder, n_trials)}", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--trials", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = MariaDb(folder)
        try:
            for repetition in range(options.repetitions):
                killed(server, folder / f"killed{repetition}", options.workers, options.trials, repetition)
            outage(server, folder / "outage", options.workers, options.trials)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
