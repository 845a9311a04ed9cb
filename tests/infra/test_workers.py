"""Workers as processes: killed at random, stopped and woken late; the budget stays exact."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import select

from ehrbench.core.errors import LeaseLost
from ehrbench.core.ledger import Ticket
from ehrbench.core.progress import SILENT
from ehrbench.infra import lease
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database, read
from ehrbench.infra.lease import LeaseKeeper
from ehrbench.infra.ledger import SqlLedger
from ehrbench.infra.schema import tickets
from ehrbench.infra.study import optuna_storage
from ehrbench.spine.mirror import state_of
from tests.spine.sleeping import KEY as SLEEP
from tests.spine.sleeping import check_exact, sleeping_study

from .ledger_conformance import DIGEST, KEY, a_fit
from .servers import MariaDb, wait_until

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
N_TRIALS, N_FOLDS, N_WORKERS = 40, 3, 8
LEASE_S = 1.5
#: Renewed four times in it, on a busy machine too.
SLEEPER_LEASE_S = 4.0


def search(
    database: Database,
    folder: Path,
    name: str,
    n_trials: int = N_TRIALS,
    n_folds: int = N_FOLDS,
    seconds: float = 0.05,
    lease_s: float = LEASE_S,
    ready: Barrier | None = None,
) -> None:
    """A worker: the real study, whose fits sleep."""
    study = sleeping_study(
        database, folder, n_trials=n_trials, n_folds=n_folds, seconds=seconds, lease_s=lease_s, worker=name
    )
    if ready is not None:
        ready.wait()
    while not study.spent():
        if not study.run(SILENT) and not study.help(SILENT):
            time.sleep(0.1)


@pytest.mark.server
def test_killed_at_random(mariadb: MariaDb, tmp_path: Path) -> None:
    database = mariadb.database("crash")
    study = sleeping_study(database, tmp_path, n_trials=N_TRIALS, n_folds=N_FOLDS)
    workers = [start_worker(database, tmp_path, f"w{i}") for i in range(N_WORKERS)]
    ledger = study.setting.ledger
    wait_until(lambda: ledger.spent(SLEEP) > 0, 120)
    killed = 0
    while ledger.spent(SLEEP) < N_TRIALS and killed < 30:
        time.sleep(0.25)
        i = random.randrange(N_WORKERS)
        if workers[i].is_alive():
            workers[i].kill()
            workers[i].join()
            killed += 1
            workers[i] = start_worker(database, tmp_path, f"w{i}'")
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert killed > 3
    check_exact(study, tmp_path / "log", N_FOLDS)
    study.publish(last=True)  # as whoever concludes a search does
    trials = optuna.load_study(study_name=str(SLEEP), storage=optuna_storage(database)).get_trials()
    shown = {trial.user_attrs["ticket"]: (trial.state.name, trial.value) for trial in trials}
    assert len(trials) == len(shown)
    assert shown == {row.number: (state_of(row).name, row.value) for row in ledger.tickets(SLEEP)}


def start_worker(database: Database, folder: Path, name: str, *work: Any) -> BaseProcess:
    worker = PROCESSES.Process(target=search, args=(database, folder, name, *work))
    worker.start()
    return worker


@pytest.mark.parametrize("killed", [None, "helper", "holder"])
def test_one_trials_folds_are_trained_by_several_workers(
    database: Database, tmp_path: Path, killed: str | None
) -> None:
    """To the bits of one worker alone, also when one of them dies."""
    n_folds, seconds, lease_s = 6, 1.5, 5.0
    together, alone = tmp_path / "together", tmp_path / "alone"
    together.mkdir(), alone.mkdir()
    study = sleeping_study(database, together, n_trials=1, n_folds=n_folds)
    ledger = study.setting.ledger
    work = (1, n_folds, seconds, lease_s, PROCESSES.Barrier(3))
    workers = {name: start_worker(database, together, name, *work) for name in ("w0", "w1", "w2")}
    helpers: set[str] = set()
    wait_until(lambda: bool(helpers.update(x.worker for x in ledger.fit_leases(SLEEP)) or helpers), 120)
    if killed is not None:
        victim = workers.pop(min(helpers) if killed == "helper" else str(ledger.tickets(SLEEP)[0].worker))
        victim.kill()
        victim.join()
    for worker in workers.values():
        worker.join(120)
        assert worker.exitcode == 0
    check_exact(study, together / "log", n_folds)
    trained_by = {line.split()[2] for line in (together / "log").read_text().splitlines()}
    assert len(trained_by) >= 2
    reference = sleeping_study(
        Database.sqlite(alone / "ledger.db"), alone, n_trials=1, n_folds=n_folds, seconds=0.0
    )
    reference.run(SILENT)
    (row,), (expected,) = ledger.tickets(SLEEP), reference.setting.ledger.tickets(SLEEP)
    assert (row.value, row.params) == (expected.value, expected.params)
    assert [(fit.score, fit.seed, fit.predictions) for fit in row.fits] == [
        (fit.score, fit.seed, fit.predictions) for fit in expected.fits
    ]


def sleeper(database: Database, folder: Path, ready: Event, go: Event, out: Any) -> None:
    """Claims, is stopped by its parent while it holds the ticket, and tries to write when it wakes."""
    ledger = SqlLedger(database.engine, FileArtifacts(folder / "a"), lease_s=SLEEPER_LEASE_S)
    ticket = ledger.claim(KEY, 1, "sleeper")
    assert ticket is not None
    with LeaseKeeper(ledger, ticket) as keeper:
        ready.set()
        go.wait(300)
        writes: list[Callable[[], object]] = [
            keeper.check,
            lambda: ledger.record_fit(ticket, a_fit(0)),
            lambda: ledger.finish(ticket, "complete", 1.0),
        ]
        for write in writes:
            try:
                write()
                out.put("written")
            except LeaseLost:
                out.put("lost")


def test_a_stopped_worker_that_wakes_late_writes_nothing(database: Database, tmp_path: Path) -> None:
    ledger = SqlLedger(database.engine, FileArtifacts(tmp_path / "a"))
    ledger.open_study(KEY, DIGEST, {})
    ready, go, out = PROCESSES.Event(), PROCESSES.Event(), PROCESSES.Queue()
    worker = PROCESSES.Process(target=sleeper, args=(database, tmp_path, ready, go, out))
    worker.start()
    assert worker.pid is not None
    assert ready.wait(120)
    lease = select(tickets.c.lease_until)
    until = read(database.engine, lambda c: c.execute(lease).scalar_one())
    wait_until(lambda: read(database.engine, lambda c: c.execute(lease).scalar_one()) > until, 120)
    os.kill(worker.pid, signal.SIGSTOP)  # just renewed, so it stops outside of its transactions
    taken = None
    while taken is None:
        time.sleep(0.05)
        taken = ledger.claim(KEY, 1, "thief")
    ledger.record_fit(taken, a_fit(0, score=0.25))
    os.kill(worker.pid, signal.SIGCONT)
    go.set()
    assert [out.get(timeout=300) for _ in range(3)] == ["lost"] * 3
    worker.join(60)
    (row,) = ledger.tickets(KEY)
    assert (row.state, row.worker, [fit.score for fit in row.fits]) == ("claimed", "thief", [0.25])


def test_the_keeper_renews(ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.open_study(KEY, DIGEST, {})
    ticket = ledger.claim(KEY, 1, "w1")
    assert ticket is not None
    asked: list[float] = []
    renew = ledger.renew

    def noted(ticket: Ticket) -> None:
        asked.append(time.monotonic())
        renew(ticket)

    monkeypatch.setattr(ledger, "renew", noted)
    with LeaseKeeper(ledger, ticket, lease_s=0.4) as keeper:
        wait_until(lambda: len(asked) >= 3, 10)
        keeper.check()
    n_asked = len(asked)
    time.sleep(0.3)
    assert len(asked) == n_asked  # nothing after the block


def test_training_does_not_wait_for_a_database_that_is_away(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.open_study(KEY, DIGEST, {})
    ticket = ledger.claim(KEY, 1, "w1")
    assert ticket is not None
    back = threading.Event()
    renew = ledger.renew
    monkeypatch.setattr(lease, "PATIENCE_S", 0.2)
    monkeypatch.setattr(ledger, "renew", lambda ticket: back.wait(60) and renew(ticket))
    with LeaseKeeper(ledger, ticket, lease_s=0.4) as keeper:
        time.sleep(0.6)  # the lease is over
        began = time.monotonic()
        for _ in range(100):  # epochs
            keeper.check()
        assert time.monotonic() - began < 10
        back.set()
        keeper.check()
