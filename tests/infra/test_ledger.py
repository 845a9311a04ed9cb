"""SqlLedger on SQLite and on MariaDB: conformance, and a machine of workers that crash."""

from __future__ import annotations

import itertools
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from sqlalchemy import event

from ehrbench.core.errors import LeaseLost
from ehrbench.core.ledger import SPENT, FitLease, Ticket
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database
from ehrbench.infra.ledger import SqlLedger

from .ledger_conformance import DIGEST, KEY, Clock, LedgerConformance, a_fit
from .servers import MariaDb

N_TRIALS, N_FOLDS = 4, 3


class TestSqlLedger(LedgerConformance):
    """The fixtures run it on every backend."""

    def test_a_claim_is_found_again_after_a_lost_answer(self, ledger: SqlLedger) -> None:
        """The same claim, repeated as after a commit whose answer was lost, is the same ticket."""
        study_id = ledger._study_id(KEY)
        with ledger.engine.begin() as connection:
            first = ledger._claim(connection, KEY, study_id, 3, "w1", "name" * 8)
        with ledger.engine.begin() as connection:
            again = ledger._claim(connection, KEY, study_id, 3, "w1", "name" * 8)
        assert first == again
        assert len(ledger.tickets(KEY)) == 1

    def test_leases_run_by_the_database_clock(self, database: Database, artifacts: FileArtifacts) -> None:
        long, short = (SqlLedger(database.engine, artifacts, lease_s) for lease_s in (600, 0.1))
        before = time.time()
        assert long.claim(KEY, 1, "w1") is not None
        (row,) = long.tickets(KEY)
        assert row.started is not None
        assert before - 1 < row.started < time.time() + 1
        ticket = short.claim(KEY, 2, "w1")
        time.sleep(0.2)
        taken = short.claim(KEY, 2, "w2")
        assert ticket is not None
        assert taken is not None
        assert (taken.number, taken.token) == (1, ticket.token + 1)  # the other's lease lasts


@pytest.mark.server
@pytest.mark.parametrize("end", ["complete", "failed", "renewed"])
def test_a_late_worker_that_writes_during_a_claim(
    mariadb: MariaDb, artifacts: FileArtifacts, clock: Clock, end: str
) -> None:
    """What it writes between the claim's look at its expired ticket and the claim's own write stays."""
    engine = mariadb.database(f"t{uuid.uuid4().hex[:12]}").engine
    ledger = SqlLedger(engine, artifacts, lease_s=60, clock=clock)
    ledger.open_study(KEY, DIGEST, {})
    late = ledger.claim(KEY, 2, "w1")
    assert late is not None
    clock.now += 61
    looked = []

    def look(connection: object, cursor: object, statement: str, *_: object) -> None:
        if "LIMIT" in statement and not looked:
            looked.append(statement)
            if end == "complete":
                ledger.finish(late, "complete", 0.5)
            elif end == "failed":
                ledger.fail(late, "boom", retry=False)
            else:
                ledger.renew(late)

    event.listen(engine, "after_cursor_execute", look)
    taken = ledger.claim(KEY, 2, "w2")
    event.remove(engine, "after_cursor_execute", look)
    assert looked
    assert taken is not None
    assert taken.number == 1
    assert ledger.tickets(KEY)[0].state == {"renewed": "claimed"}.get(end, end)
    engine.dispose()


class LedgerMachine(RuleBasedStateMachine):
    """Workers claim, help, fit, finish, fail, die and wake late, in any order; the budget stays exact."""

    held, leased = Bundle("held"), Bundle("leased")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        database = Database.sqlite(Path(self.folder.name) / "l.db")
        self.engine = database.engine
        artifacts = FileArtifacts(Path(self.folder.name) / "a")
        self.ledger = SqlLedger(database.engine, artifacts, lease_s=60, max_attempts=2, clock=self.clock)
        self.ledger.open_study(KEY, DIGEST, {})
        self.holder: dict[int, int] = {}  # ticket -> token of its last claim, while it is claimed
        self.first_fit: dict[tuple[int, int], float] = {}
        self.spent: dict[int, str] = {}
        self.at: dict[int, int] = {}  # ticket -> fold that its holder trains
        self.helped: dict[tuple[int, int], tuple[int, float]] = {}  # fold -> token of its lease, and its end
        self.scores = itertools.count()

    def teardown(self) -> None:
        self.engine.dispose()
        self.folder.cleanup()

    @rule(target=held, worker=st.sampled_from(["w1", "w2", "w3"]))
    def claim(self, worker: str) -> object:
        ticket = self.ledger.claim(KEY, N_TRIALS, worker)
        self._see_the_dead()
        if ticket is None:
            return multiple()
        assert ticket.number not in self.spent
        self.holder[ticket.number] = ticket.token
        self.at.pop(ticket.number, None)
        if ticket.params is None:
            ticket = self.ledger.start(ticket, {"x": 0.5}, 1)
            self.at[ticket.number] = 0
        return ticket

    @rule(ticket=held, fold=st.integers(0, N_FOLDS - 1))
    def record(self, ticket: Ticket, fold: int) -> None:
        score = float(next(self.scores))
        if self._fenced(ticket, lambda: self.ledger.record_fit(ticket, a_fit(fold, score))):
            self.first_fit.setdefault((ticket.number, fold), score)

    @rule(ticket=held)
    def take(self, ticket: Ticket) -> None:
        folds: list[int | None] = []
        if self._fenced(ticket, lambda: folds.append(self.ledger.take_fold(ticket, N_FOLDS))):
            (fold,) = folds
            free = [f for f in range(N_FOLDS) if not self._trained(ticket.number, f)]
            assert fold == next(iter(free), None)
            if fold is not None:
                self.at[ticket.number] = fold
                self.helped.pop((ticket.number, fold), None)

    @rule(target=leased)
    def help(self) -> object:
        lease = self.ledger.claim_fit(KEY, N_FOLDS, "helper")
        if lease is None:
            return multiple()
        assert lease.number in self.holder
        assert self.at[lease.number] != lease.fold
        assert not self._trained(lease.number, lease.fold)
        self.helped[lease.number, lease.fold] = lease.token, self.clock.now + 60
        return lease

    @rule(lease=leased, end=st.sampled_from(["record", "release", "renew"]))
    def go_on_helping(self, lease: FitLease, end: str) -> None:
        fold, score = (lease.number, lease.fold), float(next(self.scores))
        live = self.helped.get(fold, (0, 0.0))[0] == lease.token and lease.number not in self.spent
        try:
            if end == "record":
                self.ledger.record_fit(lease, a_fit(lease.fold, score))
            else:
                getattr(self.ledger, end)(lease)
        except LeaseLost:
            assert not live
            return
        assert live
        if end == "record":
            self.first_fit.setdefault(fold, score)
        self.helped[fold] = lease.token, self.clock.now + 60 if end == "renew" else 0.0

    def _trained(self, number: int, fold: int) -> bool:
        """Whether the fold has a Fit or a living helper."""
        return (number, fold) in self.first_fit or self.helped.get((number, fold), (0, 0.0))[
            1
        ] >= self.clock.now

    @rule(ticket=held, state=st.sampled_from(["complete", "pruned"]))
    def finish(self, ticket: Ticket, state: Literal["complete", "pruned"]) -> None:
        live = self._live(ticket)
        try:
            self.ledger.finish(ticket, state, 0.5)
            assert live or self.spent.get(ticket.number) == state  # else only as a repetition
        except LeaseLost:
            assert not live
        if live:
            self._end(ticket, state)

    @rule(ticket=held, retry=st.booleans())
    def fail(self, ticket: Ticket, retry: bool) -> None:
        live = self._live(ticket)
        try:
            state = self.ledger.fail(ticket, "boom", retry=retry)
        except LeaseLost:
            assert not live
            return
        if live:
            assert retry or state == "failed"
            if state == "failed":
                self._end(ticket, "failed")
            else:
                del self.holder[ticket.number]

    @rule(ticket=held)
    def release(self, ticket: Ticket) -> None:
        live = self._live(ticket)
        try:
            self.ledger.release(ticket)
        except LeaseLost:
            assert not live
        if live:
            del self.holder[ticket.number]

    @rule(ticket=held)
    def renew(self, ticket: Ticket) -> None:
        self._fenced(ticket, lambda: self.ledger.renew(ticket))

    @rule(seconds=st.sampled_from([10, 61]))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def budget_is_exact(self) -> None:
        rows = self.ledger.tickets(KEY)
        assert [row.number for row in rows] == list(range(len(rows)))
        assert len(rows) <= N_TRIALS
        assert {row.number: row.state for row in rows if row.state in SPENT} == self.spent
        assert self.ledger.spent(KEY) == len(self.spent)
        fits = {(row.number, fit.fold): fit.score for row in rows for fit in row.fits}
        assert fits == self.first_fit

    def _live(self, ticket: Ticket) -> bool:
        return self.holder.get(ticket.number) == ticket.token

    def _fenced(self, ticket: Ticket, write: Callable[[], object]) -> bool:
        try:
            write()
        except LeaseLost:
            assert not self._live(ticket)
            return False
        assert self._live(ticket)
        return True

    def _end(self, ticket: Ticket, state: str) -> None:
        self.spent[ticket.number] = state
        del self.holder[ticket.number]

    def _see_the_dead(self) -> None:
        for row in self.ledger.tickets(KEY):
            if row.state == "failed" and row.number not in self.spent:
                assert "died 2 times" in str(row.error)
                self.spent[row.number] = "failed"
                self.holder.pop(row.number, None)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
