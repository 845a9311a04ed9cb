"""Operations on a small study with one of each fault."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database
from ehrbench.infra.ledger import SqlLedger
from ehrbench.infra.operations import doctor, export, status
from ehrbench.infra.study import PatientStorage, open_study, optuna_storage

from .ledger_conformance import DIGEST, KEY, Clock, a_fit


@pytest.fixture
def storage(database: Database) -> PatientStorage:
    return optuna_storage(database)


@pytest.fixture
def study(ledger: SqlLedger, storage: PatientStorage, clock: Clock) -> optuna.Study:
    """Tickets complete, complete, failed and claimed; the second's trial was never told."""
    ledger.open_study(KEY, DIGEST, {})
    study = open_study(storage, KEY, direction="maximize")
    for i, end in enumerate(("told", "untold", "failed", "claimed")):
        ticket = ledger.claim(KEY, 6, f"w{i}")
        assert ticket is not None
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        ticket = ledger.start(ticket, trial.number, {"x": 0.5}, i)
        ledger.record_fit(ticket, a_fit(0))
        clock.now += 10
        if end == "failed":
            ledger.fail(ticket, "NaN loss", retry=False)
            study.tell(trial, state=TrialState.FAIL)
        elif end != "claimed":
            ledger.finish(ticket, "complete", 0.1 * (i + 1))
        if end == "told":
            study.tell(trial, 0.1)
    return study


@pytest.mark.usefixtures("study")
def test_status(ledger: SqlLedger) -> None:
    (line,) = status(ledger, "study", n_trials=6)
    assert (line.n_tickets, line.complete, line.failed, line.claimed, line.spent) == (4, 2, 1, 1, 3)
    assert (line.workers, line.fits, line.best) == (("w3",), 4, 0.2)
    assert line.eta_s == pytest.approx(30)  # three left, one each 10 s
    assert status(ledger, direction="minimize")[0].best == 0.1
    assert status(ledger, "other") == []


def test_doctor(
    ledger: SqlLedger, artifacts: FileArtifacts, storage: PatientStorage, study: optuna.Study, tmp_path: Path
) -> None:
    study.ask()  # nobody's
    partial = tmp_path / "artifacts" / "aa" / "bb.0.partial"
    partial.parent.mkdir(parents=True)
    partial.write_text("half")
    assert not any(f.what == "half-written artifact" for f in doctor(ledger, artifacts, storage))  # fresh
    os.utime(partial, (0, 0))
    found = doctor(ledger, artifacts, storage)
    assert [f.what for f in found if "RUNNING" in f.what] == [
        "RUNNING, but its ticket is complete",
        "RUNNING without a ticket",
    ]
    assert sum("missing" in f.what for f in found) == 4
    assert not any(f.fixed for f in found)
    assert partial.exists()
    assert study.trials[1].state == TrialState.RUNNING  # a dry run changes nothing
    mended = doctor(ledger, artifacts, storage, fix=True)
    assert sum(f.fixed for f in mended) == 3
    assert not partial.exists()
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "COMPLETE", "FAIL", "RUNNING", "FAIL"]
    assert not any("RUNNING" in f.what or "half" in f.what for f in doctor(ledger, artifacts, storage))


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
