"""Optuna's storage in the ledger's database: races, restarts, and the projection of the ledger onto it."""

from __future__ import annotations

import multiprocessing
import threading
import time
from multiprocessing.synchronize import Barrier
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from ehrbench.core.errors import StudyMismatch
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database
from ehrbench.infra.ledger import SqlLedger
from ehrbench.infra.study import open_study, optuna_storage, reconcile

from .ledger_conformance import DIGEST, KEY, Clock
from .servers import MariaDb

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


@pytest.fixture
def study(database: Database, ledger: SqlLedger) -> optuna.Study:
    ledger.open_study(KEY, DIGEST, {})
    return open_study(optuna_storage(database), KEY, direction="maximize", attributes={"digest": DIGEST})


def ask(study: optuna.Study) -> optuna.Trial:
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    return trial


def states(study: optuna.Study) -> list[TrialState]:
    return [trial.state for trial in study.get_trials(deepcopy=False)]


def test_open_again(database: Database, study: optuna.Study) -> None:
    again = open_study(optuna_storage(database), KEY, direction="maximize", attributes={"digest": DIGEST})
    assert again.study_name == study.study_name == str(KEY)
    assert again.user_attrs == {"digest": DIGEST}
    with pytest.raises(StudyMismatch, match="maximize, not minimize"):
        open_study(optuna_storage(database), KEY, direction="minimize")


def open_at_once(database: Database, barrier: Barrier, out: Any) -> None:
    storage = optuna_storage(database)
    barrier.wait()
    study = open_study(storage, KEY, direction="maximize", attributes={"digest": DIGEST})
    out.put(study._study_id)


def test_open_at_once(database: Database) -> None:
    barrier, out = PROCESSES.Barrier(3), PROCESSES.Queue()
    workers = [PROCESSES.Process(target=open_at_once, args=(database, barrier, out)) for _ in range(3)]
    for worker in workers:
        worker.start()
    assert len({out.get(timeout=120) for _ in workers}) == 1


def test_reconcile_tells_what_the_ledger_knows(ledger: SqlLedger, study: optuna.Study) -> None:
    for end in ("complete", "pruned", "failed", "claimed", "free"):
        ticket = ledger.claim(KEY, 5, "w1")
        assert ticket is not None
        trial = ask(study)
        trial.report(0.3, 1)
        ticket = ledger.start(ticket, trial.number, trial.params, 1)
        if end == "failed":
            ledger.fail(ticket, "NaN loss", retry=False)
        elif end == "free":
            ledger.fail(ticket, "NaN loss", retry=True)
        elif end == "complete":
            ledger.finish(ticket, "complete", 0.75)
        elif end == "pruned":
            ledger.finish(ticket, "pruned", None)
    assert reconcile(study, ledger, KEY) == 3
    expected = [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.RUNNING,
        TrialState.RUNNING,
    ]
    assert states(study) == expected  # what is claimed or will be retried goes on
    assert study.best_value == 0.75
    assert reconcile(study, ledger, KEY) == 0
    assert states(study) == expected


def test_a_trial_of_a_dead_worker_is_failed(ledger: SqlLedger, study: optuna.Study, clock: Clock) -> None:
    ledger.claim(KEY, 1, "w1")
    ask(study)  # and dies before it can start its ticket
    assert reconcile(study, ledger, KEY) == 0  # it may be alive
    clock.now += 61
    taken = ledger.claim(KEY, 1, "w2")
    assert taken is not None
    trial = ask(study)
    taken = ledger.start(taken, trial.number, trial.params, 1)
    assert reconcile(study, ledger, KEY) == 1
    assert states(study) == [TrialState.FAIL, TrialState.RUNNING]
    ledger.finish(taken, "complete", 0.5)
    assert reconcile(study, ledger, KEY) == 1
    assert states(study) == [TrialState.FAIL, TrialState.COMPLETE]


def test_reconcile_from_several_threads(ledger: SqlLedger, study: optuna.Study) -> None:
    for _ in range(8):
        ticket = ledger.claim(KEY, 8, "w1")
        assert ticket is not None
        trial = ask(study)
        ledger.finish(ledger.start(ticket, trial.number, trial.params, 1), "complete", 0.5)
    told, errors = [], []

    def work() -> None:
        try:
            told.append(reconcile(study, ledger, KEY))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert states(study) == [TrialState.COMPLETE] * 8


def test_a_state_told_twice_as_after_a_lost_answer(study: optuna.Study) -> None:
    trial = ask(study)
    storage = study._storage
    for _ in range(2):
        assert storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.6])


@pytest.mark.server
def test_the_server_restarts_in_mid_search(mariadb: MariaDb, artifacts: FileArtifacts) -> None:
    database = mariadb.database("restart")
    ledger = SqlLedger(database.engine, artifacts)
    ledger.open_study(KEY, DIGEST, {})
    study = open_study(optuna_storage(database), KEY, direction="maximize")

    def restart() -> None:
        time.sleep(0.5)
        mariadb.kill()
        time.sleep(2)
        mariadb.start()

    thread = threading.Thread(target=restart)
    thread.start()
    n_trials, done = 20, 0
    while (ticket := ledger.claim(KEY, n_trials, "w1")) is not None:
        trial = ask(study)
        ticket = ledger.start(ticket, trial.number, trial.params, 1)
        time.sleep(0.05)
        trial.report(0.5, 1)
        ledger.finish(ticket, "complete", 0.5)
        study.tell(trial, 0.5)
        done += 1
    thread.join()
    reconcile(study, ledger, KEY)
    assert done == ledger.spent(KEY) == n_trials
    assert states(study).count(TrialState.COMPLETE) == n_trials
    assert TrialState.RUNNING not in states(study)
