"""Operations: what ``ehrbench study status``, ``doctor`` and ``export`` find out; printing is the caller's.

``status`` reads the ledger alone. ``doctor`` compares ledger, Optuna's rows and artifacts, and says what each
finding means; nothing is changed unless ``fix`` is given, and then only what is safe while workers run.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.trial import TrialState
from sqlalchemy import select

from ehrbench import metrics
from ehrbench.core.ledger import SPENT, FitLease, StudyKey, TicketRow
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import PATIENCE_S, read
from ehrbench.infra.ledger import SqlLedger
from ehrbench.infra.ledger_rows import study_of
from ehrbench.infra.optuna_tables import OptunaTables
from ehrbench.infra.schema import named_lock, studies, tickets
from ehrbench.spine.mirror import by_ticket, catch_up, state_of
from ehrbench.spine.space import read_space

#: A half-written file older than this is no running worker's.
_PARTIAL_AGE_S = 3600.0


@dataclass(frozen=True)
class StudyStatus:
    """One line of the status table.

    workers: who holds a ticket; helpers: who trains a fit of another worker's trial.
    best: of the complete trials, by the study's direction; None before there is one.
    eta_s: seconds until ``n_trials`` are spent at the pace of the last twenty; None when unknown.
    """

    study: StudyKey
    n_tickets: int
    complete: int
    pruned: int
    failed: int
    claimed: int
    free: int
    workers: tuple[str, ...]
    helpers: tuple[str, ...]
    fits: int
    best: float | None
    eta_s: float | None

    @property
    def spent(self) -> int:
        return self.complete + self.pruned + self.failed


def status(
    ledger: SqlLedger,
    study_name: str | None = None,
    *,
    n_trials: int | None = None,
) -> list[StudyStatus]:
    """How far each study is; ``n_trials`` is needed for an ETA before all its tickets are there."""
    return [
        _status(
            key,
            ledger.tickets(key),
            ledger.fit_leases(key),
            n_trials,
            maximize=metrics.load(ledger.facts(key)["metric"]).searched.greater_is_better,
        )
        for key in ledger.studies(study_name)
    ]


def _status(
    key: StudyKey,
    rows: Sequence[TicketRow],
    leases: Sequence[FitLease],
    n_trials: int | None,
    *,
    maximize: bool,
) -> StudyStatus:
    states = Counter(row.state for row in rows)
    values = [row.value for row in rows if row.state == "complete" and row.value is not None]
    best = max if maximize else min
    budget = len(rows) if n_trials is None else n_trials
    return StudyStatus(
        study=key,
        n_tickets=len(rows),
        complete=states["complete"],
        pruned=states["pruned"],
        failed=states["failed"],
        claimed=states["claimed"],
        free=states["free"],
        workers=tuple(sorted({str(row.worker) for row in rows if row.state == "claimed"})),
        helpers=tuple(sorted({lease.worker for lease in leases})),
        fits=sum(len(row.fits) for row in rows),
        best=best(values) if values else None,
        eta_s=_eta_s(rows, budget - sum(row.state in SPENT for row in rows)),
    )


@dataclass(frozen=True)
class LeaseStatus:
    """A ticket that a worker holds; with less than no seconds left, the next worker to look takes it over."""

    study: StudyKey
    number: int
    worker: str
    left_s: float


def leases(ledger: SqlLedger, study_name: str | None = None) -> list[LeaseStatus]:
    """Who holds a ticket, the lease that ends first in front."""
    left = (tickets.c.lease_until - ledger._now).label("left_s")
    query = (
        select(studies, tickets.c.number, tickets.c.worker, left)
        .join(tickets, tickets.c.study_id == studies.c.id)
        .where(tickets.c.state == "claimed")
        .order_by(left)
    )
    if study_name is not None:
        query = query.where(studies.c.study_name == study_name)
    rows = read(ledger.engine, lambda connection: connection.execute(query).all())
    return [LeaseStatus(study_of(row), row.number, row.worker, float(row.left_s)) for row in rows]


def _eta_s(rows: Sequence[TicketRow], n_left: int) -> float | None:
    ends = sorted(row.finished for row in rows if row.state in SPENT and row.finished is not None)[-20:]
    if n_left <= 0:
        return 0.0
    return None if len(ends) < 2 else n_left * statistics.mean(b - a for a, b in itertools.pairwise(ends))


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be; ``fixed`` says whether the doctor has mended it."""

    what: str
    where: str
    remedy: str
    fixed: bool = False


def doctor(
    ledger: SqlLedger,
    artifacts: FileArtifacts,
    storage: optuna.storages.BaseStorage,
    study_name: str | None = None,
    *,
    fix: bool = False,
) -> list[Finding]:
    """What is wrong with the studies of this name (or all). Version drift is refused when the ledger opens.

    With ``fix``: Optuna's rows are told what the ledger says, half-written files older than an hour removed.
    """
    findings: list[Finding] = []
    for key in ledger.studies(study_name):
        findings += _optuna_drift(ledger, storage, key, fix)
        findings += _bad_artifacts(ledger, artifacts, key)
    findings += _partial_files(artifacts, fix)
    return findings


def _optuna_drift(
    ledger: SqlLedger, storage: optuna.storages.BaseStorage, key: StudyKey, fix: bool
) -> Iterator[Finding]:
    """Where the mirror that dashboards show is not what the ledger says. The ledger counts."""
    try:
        study = optuna.load_study(study_name=str(key), storage=storage)
    except KeyError:
        if any(row.state in SPENT for row in ledger.tickets(key)):
            yield Finding("Optuna has no such study", str(key), "run the same search again: it makes it")
        return
    before = by_ticket(study)
    if fix:
        space = read_space(ledger.facts(key).get("space") or {}, "space")
        with named_lock(ledger.engine, "mirror", PATIENCE_S) as held:
            if held:
                catch_up(OptunaTables(ledger.engine, study._study_id), ledger, key, space)
    after = by_ticket(study)
    for row in ledger.tickets(key):
        where = f"{key} ticket {row.number}"
        if row.state not in SPENT:
            continue
        found = before.get(row.number)
        if found is None or found.state == TrialState.RUNNING:
            what = f"{row.state} in the ledger, {'RUNNING' if found else 'absent'} in Optuna"
            fixed = row.number in after and after[row.number].state == state_of(row)
            yield Finding(what, where, "--fix tells Optuna", fixed=fixed)
        elif found.state != state_of(row):
            what = f"{row.state} in the ledger, {found.state.name} in Optuna"
            yield Finding(what, where, "the ledger counts")
    shown = {trial.number for trial in after.values()}
    for trial in study.get_trials(deepcopy=False):
        if trial.number not in shown:
            yield Finding("not a ticket's trial", f"{key} trial {trial.number}", "the ledger counts")


def _bad_artifacts(ledger: SqlLedger, artifacts: FileArtifacts, key: StudyKey) -> Iterator[Finding]:
    """Predictions that are gone. Models are not looked for: those of trials that lost may be dropped."""
    for row in ledger.tickets(key):
        for fit in row.fits:
            if not artifacts.holds(fit.predictions):
                where = f"{key} ticket {row.number} fold {fit.fold}"
                yield Finding(
                    f"predictions {fit.predictions} missing", where, "restore them in ARTIFACTS_URL"
                )


def _partial_files(artifacts: FileArtifacts, fix: bool) -> Iterator[Finding]:
    for path in artifacts.partial_files():
        try:
            old = time.time() - path.stat().st_mtime > _PARTIAL_AGE_S
            if old and fix:
                path.unlink()
        except FileNotFoundError:  # its worker has just finished it
            continue
        if old:
            yield Finding("half-written artifact", str(path), "--fix removes it", fixed=fix)


def export(
    ledger: SqlLedger, study_name: str | None = None, *, each: Literal["ticket", "fit"] = "ticket"
) -> list[dict[str, Any]]:
    """Plain rows for CSV or Parquet: one a ticket (parameters as ``params.<name>``) or one a fit."""
    flat: Callable[[TicketRow], list[dict[str, Any]]] = _tickets if each == "ticket" else _fits
    return [line for key in ledger.studies(study_name) for row in ledger.tickets(key) for line in flat(row)]


def _tickets(row: TicketRow) -> list[dict[str, Any]]:
    return [
        _head(row)
        | {
            "state": row.state,
            "value": row.value,
            "attempt": row.attempt,
            "worker": row.worker,
            "seed": row.seed,
            "error": row.error,
            "started": row.started,
            "finished": row.finished,
            "fits": len(row.fits),
        }
        | {f"params.{name}": value for name, value in sorted((row.params or {}).items())}
    ]


def _fits(row: TicketRow) -> list[dict[str, Any]]:
    return [
        _head(row)
        | {
            "fold": fit.fold,
            "seed": fit.seed,
            "score": fit.score,
            "best_step": fit.best_step,
            "duration_s": fit.duration_s,
            "predictions": fit.predictions,
            "model_artifact": fit.model,
            "fold_digest": fit.fold_digest,
        }
        for fit in row.fits
    ]


def _head(row: TicketRow) -> dict[str, Any]:
    return {
        "study_name": row.study.study_name,
        "task": row.study.task,
        "model": row.study.model,
        "outer_fold": row.study.outer_fold,
        "ticket": row.number,
    }
