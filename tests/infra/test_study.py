"""Optuna's tables in the ledger's database: races, faults, and the mirror of the ledger in them."""

from __future__ import annotations

import multiprocessing
import threading
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from ehrbench.core.errors import StudyMismatch
from ehrbench.core.ledger import Ledger
from ehrbench.core.progress import SILENT
from ehrbench.infra.database import PATIENCE_S, Database
from ehrbench.infra.ledger import SqlLedger
from ehrbench.infra.optuna_tables import OptunaTables
from ehrbench.infra.schema import named_lock
from ehrbench.infra.study import Dashboard, optuna_storage, optuna_study
from ehrbench.spine.mirror import StudyMirror, by_ticket, catch_up
from ehrbench.spine.space import read_space
from tests.spine.sleeping import KEY as SLEEP
from tests.spine.sleeping import sleeping_study

from .ledger_conformance import DIGEST, KEY, Clock, a_fit
from .servers import MariaDb

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
SPACE = read_space({"x": {"type": "float", "low": 0.0, "high": 1.0}}, "space")


@pytest.fixture
def study(database: Database, ledger: SqlLedger) -> optuna.Study:
    ledger.open_study(KEY, DIGEST, {})
    return optuna_study(optuna_storage(database), KEY, maximize=True)


def states(study: optuna.Study) -> dict[int, TrialState]:
    return {number: trial.state for number, trial in by_ticket(study).items()}


def test_open_again(database: Database, study: optuna.Study) -> None:
    again = optuna_study(optuna_storage(database), KEY, maximize=True)
    assert again._study_id == study._study_id
    with pytest.raises(StudyMismatch, match="maximize, not minimize"):
        optuna_study(optuna_storage(database), KEY, maximize=False)


def open_at_once(database: Database, barrier: Barrier, out: Any) -> None:
    storage = optuna_storage(database)
    barrier.wait()
    out.put(optuna_study(storage, KEY, maximize=True)._study_id)


def test_open_at_once(database: Database) -> None:
    barrier, out = PROCESSES.Barrier(3), PROCESSES.Queue()
    workers = [PROCESSES.Process(target=open_at_once, args=(database, barrier, out)) for _ in range(3)]
    for worker in workers:
        worker.start()
    assert len({out.get(timeout=120) for _ in workers}) == 1


def spend(ledger: Ledger, end: str, x: float) -> None:
    ticket = ledger.claim(KEY, 6, "w1")
    assert ticket is not None
    if end == "asking":
        return
    ticket = ledger.start(ticket, {"x": x}, 1)
    ledger.record_fit(ticket, a_fit(0, steps={0: x, 1: 2 * x}))
    if end == "failed":
        ledger.fail(ticket, "NaN loss", retry=False)
    elif end == "free":
        ledger.fail(ticket, "bus error", retry=True)
    elif end != "claimed":
        ledger.finish(ticket, end, x if end == "complete" else None)  # type: ignore[arg-type]


def test_a_mirror_shows_what_the_ledger_knows(ledger: SqlLedger, study: optuna.Study) -> None:
    for end in ("complete", "pruned", "failed", "claimed", "asking"):
        spend(ledger, end, 0.25)
    assert catch_up(StudyMirror(study), ledger, KEY, SPACE) == 4
    expected = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]
    assert states(study) == dict(enumerate(expected))
    first = by_ticket(study)[0]
    assert (first.value, first.params, first.intermediate_values) == (0.25, {"x": 0.25}, {0: 0.25, 1: 0.5})
    assert first.distributions == {"x": optuna.distributions.FloatDistribution(0, 1)}
    assert catch_up(StudyMirror(study), ledger, KEY, SPACE) == 0
    assert study.best_value == 0.25


def test_rows_written_together_read_as_if_optuna_had_written_them(
    database: Database, ledger: SqlLedger, study: optuna.Study
) -> None:
    def facts(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        return {k: v for k, v in vars(trial).items() if k not in ("_trial_id", "_datetime_complete")}

    for end in ("complete", "pruned", "failed", "claimed", "asking"):
        spend(ledger, end, 0.25)
    storage = optuna_storage(database)
    other = optuna.create_study(storage=storage, study_name="by optuna", direction="maximize")
    together, one_by_one = OptunaTables(database.engine, study._study_id), StudyMirror(other)
    assert catch_up(together, ledger, KEY, SPACE) == catch_up(one_by_one, ledger, KEY, SPACE) == 4
    assert {n: k.ended for n, k in together.known().items()} == {
        n: k.ended for n, k in one_by_one.known().items()
    }
    ours, theirs = (optuna.load_study(study_name=s.study_name, storage=storage) for s in (study, other))
    assert [facts(t) for t in ours.get_trials()] == [facts(t) for t in theirs.get_trials()]
    assert ours.best_trial.params == {"x": 0.25}


@pytest.mark.parametrize("together", [False, True])
def test_a_running_trial_gains_steps_and_an_end(
    database: Database, ledger: SqlLedger, study: optuna.Study, clock: Clock, together: bool
) -> None:
    mirror = OptunaTables(database.engine, study._study_id) if together else StudyMirror(study)
    spend(ledger, "claimed", 0.5)
    catch_up(mirror, ledger, KEY, SPACE)
    clock.now += 61
    taken = ledger.claim(KEY, 6, "w2")
    assert taken is not None
    ledger.record_fit(taken, a_fit(1, steps={2: 0.7}))
    ledger.take_fold(taken, 4, judged=2)
    assert catch_up(mirror, ledger, KEY, SPACE) == 1
    ledger.finish(taken, "complete", 0.6)
    assert catch_up(mirror, ledger, KEY, SPACE) == 1
    (trial,) = study.get_trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.6)
    assert trial.intermediate_values == {0: 0.5, 1: 1.0, 2: 0.7}


def test_dashboards_of_several_workers_make_each_trial_once(
    database: Database, ledger: SqlLedger, study: optuna.Study
) -> None:
    for i in range(6):
        spend(ledger, "complete", i / 10)
    storage, errors = optuna_storage(database), []

    def work() -> None:
        try:
            Dashboard(storage, database.engine, ledger, KEY, SPACE, maximize=True)(last=True)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(study.get_trials()) == 6
    assert states(study) == dict.fromkeys(range(6), TrialState.COMPLETE)


def test_a_dashboard_that_is_busy_is_not_waited_for(
    database: Database, ledger: SqlLedger, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dashboard, "EVERY_S", 0.0)
    spend(ledger, "complete", 0.5)
    dashboard = Dashboard(optuna_storage(database), database.engine, ledger, KEY, SPACE, maximize=True)
    with named_lock(database.engine, "mirror", 5.0) as held:
        assert held
        began = time.monotonic()
        dashboard()
        assert time.monotonic() - began < PATIENCE_S / 2
        assert states(study) == {}
    dashboard()
    assert states(study) == {0: TrialState.COMPLETE}


@pytest.mark.server
def test_the_server_restarts_in_mid_search(mariadb: MariaDb, tmp_path: Path) -> None:
    study = sleeping_study(mariadb.database("restart"), tmp_path, n_trials=20, seconds=0.03)

    def restart() -> None:
        time.sleep(0.5)
        mariadb.kill()
        time.sleep(2)
        mariadb.start()

    thread = threading.Thread(target=restart)
    thread.start()
    study.run(SILENT)
    thread.join()
    ledger = study.setting.ledger
    assert [row.state for row in ledger.tickets(SLEEP)] == ["complete"] * 20
    shown = optuna.load_study(study_name=str(SLEEP), storage=optuna_storage(mariadb.database("restart")))
    assert len(shown.get_trials()) == 20
    assert states(shown) == dict.fromkeys(range(20), TrialState.COMPLETE)
