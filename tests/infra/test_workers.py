"""Workers as processes: killed at random, stopped and woken late; the budget stays exact."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from ehrbench.core.errors import LeaseLost
from ehrbench.core.ledger import SPENT, Ticket
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database
from ehrbench.infra.lease import LeaseKeeper
from ehrbench.infra.ledger import SqlLedger
from ehrbench.infra.study import open_study, optuna_storage, reconcile

from .ledger_conformance import DIGEST, KEY, a_fit
from .servers import MariaDb, wait_until

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
N_TRIALS, N_FOLDS, N_WORKERS = 40, 3, 8
LEASE_S = 1.5


def note(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text + "\n")


def search(database: Database, folder: Path, name: str) -> None:
    """A worker: the search loop without models."""
    ledger = SqlLedger(database.engine, FileArtifacts(folder / "a"), LEASE_S, max_attempts=50)
    study = open_study(optuna_storage(database), KEY, direction="maximize")
    while ledger.spent(KEY) < N_TRIALS:
        ticket = ledger.claim(KEY, N_TRIALS, name)
        if ticket is None:
            time.sleep(0.1)
            continue
        if ticket.params is None:
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            ticket = ledger.start(ticket, trial.number, trial.params, ticket.number)
        try:
            with LeaseKeeper(ledger, ticket, LEASE_S):
                train(ledger, ticket, folder / "log")
            assert ticket.params is not None
            ledger.finish(ticket, "complete", ticket.params["x"])
        except LeaseLost:
            continue
        assert ticket.trial_number is not None
        study.tell(ticket.trial_number, ticket.params["x"], skip_if_finished=True)
        reconcile(study, ledger, KEY)
    reconcile(study, ledger, KEY)


def train(ledger: SqlLedger, ticket: Ticket, log: Path) -> None:
    done = {fit.fold for fit in ledger.tickets(KEY)[ticket.number].fits}
    for fold in range(N_FOLDS):
        if fold not in done:
            note(log, f"train {ticket.number} {fold}")
            time.sleep(random.uniform(0.01, 0.1))
            ledger.record_fit(ticket, a_fit(fold))
            note(log, f"recorded {ticket.number} {fold}")


@pytest.mark.server
def test_killed_at_random(mariadb: MariaDb, tmp_path: Path) -> None:
    database = mariadb.database("crash")
    ledger = SqlLedger(database.engine, FileArtifacts(tmp_path / "a"), LEASE_S)
    ledger.open_study(KEY, DIGEST, {})
    workers = [start_worker(database, tmp_path, f"w{i}") for i in range(N_WORKERS)]
    wait_until(lambda: ledger.spent(KEY) > 0, 120)
    killed = 0
    while ledger.spent(KEY) < N_TRIALS and killed < 30:
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
    rows = ledger.tickets(KEY)
    assert killed > 3
    assert [row.number for row in rows] == list(range(N_TRIALS))
    assert {row.state for row in rows} <= SPENT
    assert all(len(row.fits) == N_FOLDS for row in rows if row.state == "complete")
    assert no_fit_was_trained_after_it_was_recorded(tmp_path / "log")
    study = open_study(optuna_storage(database), KEY, direction="maximize")
    trials = Counter(trial.state for trial in study.get_trials(deepcopy=False))
    assert trials[TrialState.RUNNING] == 0
    assert trials[TrialState.COMPLETE] == sum(row.state == "complete" for row in rows)
    values = {trial.number: trial.value for trial in study.get_trials(states=(TrialState.COMPLETE,))}
    assert values == {row.trial_number: row.value for row in rows if row.state == "complete"}


def start_worker(database: Database, folder: Path, name: str) -> BaseProcess:
    worker = PROCESSES.Process(target=search, args=(database, folder, name))
    worker.start()
    return worker


def no_fit_was_trained_after_it_was_recorded(log: Path) -> bool:
    recorded: set[str] = set()
    for line in log.read_text().splitlines():
        what, fit = line.split(" ", 1)
        if what == "train" and fit in recorded:
            return False
        if what == "recorded":
            recorded.add(fit)
    return True


def sleeper(database: Database, folder: Path, ready: Event, go: Event, out: Any) -> None:
    """Claims, is stopped by its parent while it holds the ticket, and tries to write when it wakes."""
    ledger = SqlLedger(database.engine, FileArtifacts(folder / "a"), lease_s=1.0)
    ticket = ledger.claim(KEY, 1, "sleeper")
    assert ticket is not None
    with LeaseKeeper(ledger, ticket) as keeper:
        ready.set()
        go.wait(60)
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
    ledger = SqlLedger(database.engine, FileArtifacts(tmp_path / "a"), lease_s=1.0)
    ledger.open_study(KEY, DIGEST, {})
    ready, go, out = PROCESSES.Event(), PROCESSES.Event(), PROCESSES.Queue()
    worker = PROCESSES.Process(target=sleeper, args=(database, tmp_path, ready, go, out))
    worker.start()
    assert worker.pid is not None
    assert ready.wait(120)
    time.sleep(1.5)
    assert ledger.claim(KEY, 1, "thief") is None  # its lease is renewed
    os.kill(worker.pid, signal.SIGSTOP)
    taken = None
    while taken is None:
        time.sleep(0.05)
        taken = ledger.claim(KEY, 1, "thief")
    ledger.record_fit(taken, a_fit(0, score=0.25))
    os.kill(worker.pid, signal.SIGCONT)
    go.set()
    assert [out.get(timeout=60) for _ in range(3)] == ["lost"] * 3
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
