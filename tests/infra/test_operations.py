"""Operations on a small study with one of each fault."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from ehrbench.infra import operations
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database
from ehrbench.infra.ledger import SqlLedger
from ehrbench.infra.operations import doctor, export, leases, status
from ehrbench.infra.schema import named_lock
from ehrbench.infra.study import optuna_storage, optuna_study
from ehrbench.spine.mirror import StudyMirror, by_ticket, catch_up
from ehrbench.spine.space import read_space

from .ledger_conformance import DIGEST, KEY, Clock, a_fit

FACTS = {"metric": "auroc", "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}}}
SPACE = read_space(FACTS["space"], "space")


@pytest.fixture
def storage(database: Database) -> RDBStorage:
    return optuna_storage(database)


@pytest.fixture
def study(ledger: SqlLedger, storage: RDBStorage, clock: Clock) -> optuna.Study:
    """Tickets complete, complete, failed and claimed; what became of the second was never mirrored."""
    ledger.open_study(KEY, DIGEST, FACTS)
    study = optuna_study(storage, KEY, maximize=True)
    for i, end in enumerate(("complete", "not mirrored", "failed", "claimed")):
        ticket = ledger.claim(KEY, 6, f"w{i}")
        assert ticket is not None
        ticket = ledger.start(ticket, {"x": 0.5}, i)
        ledger.record_fit(ticket, a_fit(0))
        clock.now += 10
        if end == "not mirrored":
            catch_up(StudyMirror(study), ledger, KEY, SPACE)
        if end == "failed":
            ledger.fail(ticket, "NaN loss", retry=False)
        elif end != "claimed":
            ledger.finish(ticket, "complete", 0.1 * (i + 1))
    return study


@pytest.mark.usefixtures("study")
def test_status(ledger: SqlLedger) -> None:
    (line,) = status(ledger, "study", n_trials=6)
    assert (line.n_tickets, line.complete, line.failed, line.claimed, line.spent) == (4, 2, 1, 1, 3)
    assert (line.workers, line.fits, line.best) == (("w3",), 4, 0.2)
    assert line.helpers == ()
    assert line.eta_s == pytest.approx(30)  # three left, one each 10 s
    assert status(ledger, "other") == []


def test_best_is_the_least_where_less_is_better(ledger: SqlLedger) -> None:
    ledger.open_study(KEY, DIGEST, {"metric": "brier"})
    for value in (0.2, 0.1):
        ticket = ledger.claim(KEY, 2, "w")
        assert ticket is not None
        ledger.finish(ledger.start(ticket, {}, 0), "complete", value)
    assert status(ledger)[0].best == 0.1


@pytest.mark.usefixtures("study")
def test_leases(ledger: SqlLedger, clock: Clock) -> None:
    (lease,) = leases(ledger, "study")
    assert (lease.study, lease.number, lease.worker, lease.left_s) == (KEY, 3, "w3", 50)
    clock.now += 70
    assert leases(ledger)[0].left_s == -20
    assert leases(ledger, "other") == []


@pytest.mark.usefixtures("study")
def test_status_names_helpers(ledger: SqlLedger) -> None:
    ticket = ledger.claim(KEY, 6, "w5")
    assert ticket is not None
    ledger.take_fold(ledger.start(ticket, {"x": 0.1}, 5), 3)
    assert ledger.claim_fit(KEY, 3, "helper") is not None
    (line,) = status(ledger)
    assert (line.workers, line.helpers) == (("w3", "w5"), ("helper",))


def test_doctor(
    ledger: SqlLedger, artifacts: FileArtifacts, storage: RDBStorage, study: optuna.Study, tmp_path: Path
) -> None:
    study.ask()  # somebody's who does not know the ledger
    partial = tmp_path / "artifacts" / "aa" / "bb.0.partial"
    partial.parent.mkdir(parents=True)
    partial.write_text("half")
    assert not any(f.what == "half-written artifact" for f in doctor(ledger, artifacts, storage))  # fresh
    os.utime(partial, (0, 0))
    found = doctor(ledger, artifacts, storage)
    assert [f.what for f in found if "Optuna" in f.what or "ticket's" in f.what] == [
        "complete in the ledger, RUNNING in Optuna",
        "failed in the ledger, absent in Optuna",
        "not a ticket's trial",
    ]
    assert sum("missing" in f.what for f in found) == 4
    assert not any(f.fixed for f in found)
    assert partial.exists()
    assert study.trials[1].state == TrialState.RUNNING  # a dry run changes nothing
    mended = doctor(ledger, artifacts, storage, fix=True)
    assert sum(f.fixed for f in mended) == 3
    assert not partial.exists()
    states = {number: trial.state.name for number, trial in by_ticket(study).items()}
    assert states == {0: "COMPLETE", 1: "COMPLETE", 2: "FAIL", 3: "RUNNING"}
    again = doctor(ledger, artifacts, storage)
    assert not any("in Optuna" in f.what or "half" in f.what for f in again)


@pytest.mark.usefixtures("study")
def test_doctor_copies_nothing_while_a_worker_copies(
    ledger: SqlLedger, artifacts: FileArtifacts, storage: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that copy at once would make two trials of one ticket."""
    monkeypatch.setattr(operations, "PATIENCE_S", 1.0)
    with named_lock(ledger.engine, "mirror", 0.0) as held:
        assert held
        found = doctor(ledger, artifacts, storage, fix=True)
    assert [f.fixed for f in found if "Optuna" in f.what] == [False, False]


@pytest.mark.usefixtures("study")
def test_export(ledger: SqlLedger) -> None:
    rows = export(ledger)
    assert [(row["ticket"], row["state"], row["params.x"]) for row in rows] == [
        (0, "complete", 0.5),
        (1, "complete", 0.5),
        (2, "failed", 0.5),
        (3, "claimed", 0.5),
    ]
    fits = export(ledger, each="fit")
    assert [(row["ticket"], row["fold"], row["score"]) for row in fits] == [(i, 0, 0.5) for i in range(4)]
