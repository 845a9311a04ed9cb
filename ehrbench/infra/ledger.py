"""SqlLedger: tickets, leases and fits in SQLite or MySQL. What they mean stands in ``ehrbench.core.ledger``.

How it keeps its word
---------------------
- A claim locks the study's row (``SELECT … FOR UPDATE``; in SQLite ``BEGIN IMMEDIATE`` locks the file), so
  that claims of one study are serial, and two workers cannot take one ticket. It takes a ticket only as it
  saw it: what a late worker writes in between stays.
- Each later write begins with an UPDATE of the ticket ``WHERE token = …``: it is the fence, it locks the row
  until commit, and it prolongs the lease, in one statement.
- Every write may be repeated after a commit whose answer was lost: a claim has a name by which it is found
  again, and a ticket that already stands as it should be is left alone.
- A write for a leased fit locks its ticket's row, then checks that the trial has not ended and that the fit's
  token is the last.
- Leases run by the database's clock, so that the workers' clocks do not matter.
- A worker that dies spends an attempt only when it dies again and again without finishing a fold: after
  ``max_attempts`` such deaths in a row the ticket is spent as failed, because its trial kills its workers.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, and_, func, literal, or_, select
from sqlalchemy.dialects import mysql, sqlite

from ehrbench.core.errors import ConfigError, LeaseLost
from ehrbench.core.ledger import (
    NOTHING,
    SPENT,
    ArtifactStore,
    Claim,
    Fit,
    FitLease,
    StudyKey,
    Ticket,
    TicketState,
)
from ehrbench.infra import fit_leases, schema
from ehrbench.infra.database import read, write
from ehrbench.infra.ledger_reader import LedgerReader
from ehrbench.infra.ledger_rows import check_facts, check_key, columns_of, is_study, ticket_of
from ehrbench.infra.schema import fits, results, studies, tickets

#: The end of a lease that runs no more.
_OVER = literal(0.0)

T = TypeVar("T")


def _nothing(connection: Connection) -> Any:
    """No more than the fence."""


class SqlLedger(LedgerReader):
    """The ledger over an engine of ``ehrbench.infra.database``.

    lease_s: how long a claim lasts without renewal.
    max_attempts: failures (or deaths in a row) after which a ticket is spent as failed.
    clock: seconds since the epoch; the database's own clock unless a test gives another.
    """

    def __init__(
        self,
        engine: Engine,
        artifacts: ArtifactStore,
        lease_s: float = 60.0,
        max_attempts: int = 3,
        clock: Callable[[], float] | None = None,
    ) -> None:
        if lease_s <= 0 or max_attempts < 1:
            raise ConfigError("storage.lease_s, storage.max_attempts", "must be positive", "correct them")
        super().__init__(engine, artifacts, clock)
        self.lease_s, self.max_attempts = lease_s, max_attempts

    # --- studies -----------------------------------------------------------------------------------------

    def open_study(self, key: StudyKey, digest: str, facts: Mapping[str, Any]) -> None:
        check_key(key)
        text = json.dumps(facts, sort_keys=True)
        row = {**columns_of(key), "digest": digest, "facts": text}
        query = select(studies.c.digest, studies.c.facts).where(*is_study(key))

        def work(connection: Connection) -> tuple[str, str]:
            found = connection.execute(query).one_or_none()
            if found is None:
                connection.execute(self._insert_or_keep(studies, row))
                found = connection.execute(query).one()
            return found.digest, found.facts

        stored_digest, stored_facts = write(self.engine, work)
        if stored_digest != digest:
            check_facts(key, json.loads(stored_facts), json.loads(text))

    # --- claims ------------------------------------------------------------------------------------------

    def claim(self, key: StudyKey, n_trials: int, worker: str) -> Ticket | None:
        if n_trials < 1:
            raise ConfigError("n_trials", f"{n_trials} is not positive", "ask for at least one trial")
        study_id, name = self._study_id(key), uuid.uuid4().hex
        worker = worker[: schema.WORKER_LENGTH]
        return write(self.engine, lambda c: self._claim(c, key, study_id, n_trials, worker, name))

    def _claim(
        self, connection: Connection, key: StudyKey, study_id: int, n_trials: int, worker: str, name: str
    ) -> Ticket | None:
        connection.execute(select(studies.c.id).where(studies.c.id == study_id).with_for_update())
        n_tickets = connection.execute(
            select(func.count()).select_from(tickets).where(tickets.c.study_id == study_id)
        ).scalar_one()
        if n_tickets > n_trials:
            raise ConfigError(
                "n_trials",
                f"{n_trials} is fewer than the {n_tickets} trials that study {key} already has",
                f"ask for at least {n_tickets}, or take another study_name",
            )
        lease = {
            "state": "claimed",
            "claim": name,
            "worker": worker,
            "lease_until": self._until,
            "fold": None,
        }
        while (row := connection.execute(self._claimable(study_id, name)).one_or_none()) is not None:
            if row.claim == name:  # the answer to our own commit was lost
                return ticket_of(key, row, worker)
            # a late worker may write in between: only what still stands as it was seen is taken
            seen = and_(tickets.c.token == row.token, tickets.c.state == row.state, self._to_be_had)
            take = tickets.update().where(
                tickets.c.study_id == study_id, tickets.c.number == row.number, seen
            )
            deaths = row.deaths + (row.state == "claimed")
            if deaths >= self.max_attempts:
                error = (
                    f"its workers died {deaths} times in a row without finishing a fold, last {row.worker}"
                )
                spent = {"state": "failed", "deaths": deaths, "error": error, "finished": self._now}
                connection.execute(take.values(**spent))
                continue
            new = {"token": row.token + 1, "attempt": row.attempt + 1, "deaths": deaths}
            if connection.execute(take.values(**lease, **new)).rowcount == 1:
                return replace(ticket_of(key, row, worker), token=row.token + 1, attempt=row.attempt + 1)
        if n_tickets == n_trials:
            return None
        first = {"token": 1, "attempt": 1, "failures": 0, "deaths": 0, "started": self._now}
        connection.execute(tickets.insert().values(study_id=study_id, number=n_tickets, **lease, **first))
        return Ticket(key, n_tickets, 1, worker, 1)

    def _claimable(self, study_id: int, name: str) -> Any:
        """The lowest ticket that is to be had, or the one this very claim has taken already."""
        ours = and_(tickets.c.state == "claimed", tickets.c.claim == name)
        return (
            select(tickets)
            .where(tickets.c.study_id == study_id, or_(self._to_be_had, ours))
            .order_by((tickets.c.claim == name).desc(), tickets.c.number)
            .limit(1)
        )

    @property
    def _to_be_had(self) -> ColumnElement[bool]:
        """Tickets that are free, or whose lease has run out."""
        expired = and_(tickets.c.state == "claimed", tickets.c.lease_until < self._now)
        return or_(tickets.c.state == "free", expired)

    def claim_fit(self, key: StudyKey, n_folds: int, worker: str) -> FitLease | None:
        query = fit_leases.helpable(self._study_id(key), n_folds, self._now)
        worker = worker[: schema.WORKER_LENGTH]
        for number in read(self.engine, lambda c: c.execute(query).scalars().all()):
            work = partial(self._claim_fit, key=key, number=number, n_folds=n_folds, worker=worker)
            if (lease := write(self.engine, work)) is not None:
                return lease
        return None

    def _claim_fit(
        self, connection: Connection, key: StudyKey, number: int, n_folds: int, worker: str
    ) -> FitLease | None:
        running = fit_leases.running(self._study_id(key), self._now)
        query = select(tickets).where(running, tickets.c.number == number).with_for_update()
        if (row := connection.execute(query).one_or_none()) is None:
            return None
        fold = fit_leases.fold_for_helper(connection, row, n_folds, self.max_attempts, self._now)
        if fold is None:
            return None
        token = fit_leases.give(connection, row, fold, worker, self._until)
        return FitLease(key, number, fold, token, worker, json.loads(row.params))

    # --- fenced writes -----------------------------------------------------------------------------------

    def start(
        self,
        ticket: Ticket,
        params: Mapping[str, Any],
        seed: int,
        sampler_state: Mapping[str, Any] = NOTHING,
        *,
        train: bool = True,
    ) -> Ticket:
        values = {"params": _json(params), "seed": seed, "sampler_state": _json(sampler_state)}
        self._fenced(ticket, "claimed", {**values, **({"judged": 0, "fold": 0} if train else {})})
        return replace(ticket, params=dict(params), seed=seed)

    def take_fold(self, ticket: Ticket, n_folds: int, judged: int = 0) -> int | None:
        study_id, number = self._study_id(ticket.study), ticket.number

        def take(connection: Connection) -> int | None:
            fold = fit_leases.take(connection, study_id, number, n_folds, self._now)
            if fold != judged:
                connection.execute(tickets.update().where(self._here(ticket)).values(fold=fold))
            return fold

        # mostly nobody helps, and the next fold is the one after those that are judged
        return self._fenced(ticket, "claimed", {"judged": judged, "fold": judged}, take)

    def take_folds(self, ticket: Ticket, n_folds: int, judged: int = 0) -> tuple[int, ...]:
        study_id, number = self._study_id(ticket.study), ticket.number

        def take(connection: Connection) -> tuple[int, ...]:
            return tuple(fit_leases.take_all(connection, study_id, number, n_folds, self._now))

        return self._fenced(ticket, "claimed", {"judged": judged, "fold": fit_leases.ALL}, take)

    def renew(self, claim: Claim) -> None:
        if isinstance(claim, FitLease):
            self._fenced_fit(claim, self._until)
        else:
            self._fenced(claim, "claimed", {})

    def record_fit(self, claim: Claim, fit: Fit) -> None:
        row = {
            "study_id": self._study_id(claim.study),
            "number": claim.number,
            "token": claim.token,
            "fold": fit.fold,
            "seed": fit.seed,
            "score": None if math.isnan(fit.score) else fit.score,
            "best_step": fit.best_step,
            "duration_s": fit.duration_s,
            "predictions": fit.predictions,
            "model": fit.model,
            "fold_digest": fit.fold_digest,
            "curve": json.dumps(fit.curve),
            "steps": _json(fit.steps),
            "recorded": self._now,
        }
        insert = self._insert_or_keep(fits, row)
        if isinstance(claim, FitLease):
            alive = tickets.update().where(self._here(claim)).values(deaths=0)
            self._fenced_fit(claim, _OVER, then=lambda c: (c.execute(alive), c.execute(insert)))
        else:
            self._fenced(claim, "claimed", {"deaths": 0}, then=lambda c: c.execute(insert))

    def finish(
        self,
        ticket: Ticket,
        state: Literal["complete", "pruned"],
        value: float | None,
        judged: int | None = None,
    ) -> None:
        if value is not None and not math.isfinite(value):
            raise ValueError(f"ticket {ticket.number}: {value} is no value to finish with")
        values = {"value": value, "judged": judged, "error": None, "finished": self._now}
        self._fenced(ticket, state, values)

    def fail(self, ticket: Ticket, error: str, *, retry: bool) -> TicketState:
        here = self._here(ticket)

        def work(connection: Connection) -> TicketState:
            row = connection.execute(select(tickets).where(here).with_for_update()).one_or_none()
            if row is None or row.token != ticket.token or row.state not in ("claimed", "free", "failed"):
                raise _lost(ticket, row)
            if row.state != "claimed":  # the answer to our own commit was lost
                return "free" if row.state == "free" else "failed"
            failures = row.failures + 1
            state: TicketState = "free" if retry and failures < self.max_attempts else "failed"
            values = {"state": state, "failures": failures, "error": error[: schema.ERROR_LENGTH]}
            finished = {"finished": self._now} if state == "failed" else {}
            connection.execute(tickets.update().where(here).values(**values, **finished))
            return state

        return write(self.engine, work)

    def release(self, claim: Claim) -> None:
        if isinstance(claim, FitLease):
            self._fenced_fit(claim, _OVER)
        else:
            self._fenced(claim, "free", {"attempt": tickets.c.attempt - 1})

    def _fenced(
        self,
        ticket: Ticket,
        state: TicketState,
        values: Mapping[str, Any],
        then: Callable[[Connection], T] = _nothing,
    ) -> T:
        """Set the ticket's state and values, and do ``then``, if this claim is still the ticket's last."""
        here = self._here(ticket)
        lease = {"lease_until": self._until} if state == "claimed" else {}
        update = (
            tickets.update()
            .where(here, tickets.c.token == ticket.token, tickets.c.state == "claimed")
            .values(state=state, **lease, **values)
        )

        def work(connection: Connection) -> T:
            if connection.execute(update).rowcount != 1:
                row = connection.execute(select(tickets).where(here)).one_or_none()
                # the answer to our own commit may have been lost: then it stands as we wanted it
                if row is None or row.token != ticket.token or row.state != state:
                    raise _lost(ticket, row)
            return then(connection)

        return write(self.engine, work)

    def _fenced_fit(
        self, lease: FitLease, until: ColumnElement[float], then: Callable[[Connection], object] = _nothing
    ) -> None:
        """Let the lease last ``until``, and do ``then``, if it is its fold's last and the trial goes on."""
        ticket = select(tickets.c.state).where(self._here(lease)).with_for_update()
        mine = fit_leases.of(self._study_id(lease.study), lease.number, lease.fold)
        update = schema.fit_leases.update().where(mine, schema.fit_leases.c.token == lease.token)

        def work(connection: Connection) -> None:
            state = connection.execute(ticket).scalar_one()
            if state in SPENT or connection.execute(update.values(lease_until=until)).rowcount != 1:
                raise LeaseLost(
                    f"{lease.study} ticket {lease.number} ({state}) fold {lease.fold}: lease {lease.token} "
                    f"of {lease.worker} is over — nothing more is written for it"
                )
            then(connection)

        write(self.engine, work)

    # --- results -----------------------------------------------------------------------------------------

    def put_result(self, study_name: str, name: str, content: bytes) -> None:
        row = {"study_name": study_name, "name": name, "content": self.artifacts.put(content)}
        write(self.engine, lambda c: c.execute(self._insert_or_keep(results, row)))

    # --- small parts -------------------------------------------------------------------------------------

    @property
    def _until(self) -> ColumnElement[float]:
        return self._now + self.lease_s

    def _here(self, claim: Claim) -> ColumnElement[bool]:
        return and_(tickets.c.study_id == self._study_id(claim.study), tickets.c.number == claim.number)

    def _insert_or_keep(self, table: Any, row: Mapping[str, Any]) -> Any:
        """An INSERT that leaves a row of the same key as it is."""
        if self.engine.dialect.name == "sqlite":
            return sqlite.insert(table).values(**row).on_conflict_do_nothing()
        first = next(iter(table.primary_key.columns)).name
        return mysql.insert(table).values(**row).on_duplicate_key_update({first: table.c[first]})


def _json(mapping: Mapping[Any, Any]) -> str:
    return json.dumps(dict(mapping), sort_keys=True)


def _lost(ticket: Ticket, row: Any) -> LeaseLost:
    holder = "nobody knows" if row is None else f"{row.worker} ({row.state}, claim {row.token})"
    return LeaseLost(
        f"{ticket.study} ticket {ticket.number}: claim {ticket.token} of {ticket.worker} is over, now it is "
        f"with {holder} — nothing more is written for it"
    )
