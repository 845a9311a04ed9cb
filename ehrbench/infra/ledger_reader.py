"""LedgerReader: what anybody may read of the ledger in SQLite or MySQL; ``SqlLedger`` adds the writing."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, Table, func, literal, literal_column, select

from ehrbench.core.errors import ConfigError
from ehrbench.core.ledger import SPENT, ArtifactStore, Fit, FitLease, Ledger, StudyKey, TicketRow
from ehrbench.infra import fit_leases, schema
from ehrbench.infra.database import read
from ehrbench.infra.ledger_rows import fit_of, is_study, row_of, study_of
from ehrbench.infra.schema import fits, results, studies, tickets

_DATABASE_CLOCK = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    "mysql": "UNIX_TIMESTAMP(NOW(6))",
    "mariadb": "UNIX_TIMESTAMP(NOW(6))",
}


class LedgerReader(Ledger):
    """Reads, each in one transaction, over an engine of ``ehrbench.infra.database``; makes missing tables.

    clock: seconds since the epoch; the database's own clock unless a test gives another.
    """

    def __init__(
        self, engine: Engine, artifacts: ArtifactStore, clock: Callable[[], float] | None = None
    ) -> None:
        schema.ensure(engine)
        self.engine, self.artifacts = engine, artifacts
        self._clock = clock
        self._ids: dict[StudyKey, int] = {}

    def facts(self, key: StudyKey) -> dict[str, Any]:
        """What shapes the study's scores, as it was when the study was made."""
        query = select(studies.c.facts).where(studies.c.id == self._study_id(key))
        found: dict[str, Any] = json.loads(read(self.engine, lambda c: c.execute(query).scalar_one()))
        return found

    def studies(self, study_name: str | None = None) -> list[StudyKey]:
        query = select(studies).order_by(studies.c.id)
        if study_name is not None:
            query = query.where(studies.c.study_name == study_name)
        return [study_of(row) for row in read(self.engine, lambda c: c.execute(query).all())]

    def tickets(self, key: StudyKey, first: int = 0, last: int | None = None) -> list[TicketRow]:
        study_id = self._study_id(key)

        def wanted(table: Table) -> Select[Any]:
            range_ = [table.c.number >= first, *([table.c.number <= last] if last is not None else [])]
            return select(table).where(table.c.study_id == study_id, *range_)

        some_tickets = wanted(tickets).order_by(tickets.c.number)
        some_fits = wanted(fits).order_by(fits.c.number, fits.c.fold)
        rows, fit_rows = read(
            self.engine, lambda c: (c.execute(some_tickets).all(), c.execute(some_fits).all())
        )
        by_number: dict[int, list[Fit]] = {}
        for row in fit_rows:
            by_number.setdefault(row.number, []).append(fit_of(row))
        return [row_of(key, row, by_number.get(row.number, ())) for row in rows]

    def fit_leases(self, key: StudyKey) -> list[FitLease]:
        query = fit_leases.living(self._study_id(key), self._now)
        rows = read(self.engine, lambda c: c.execute(query).all())
        return [FitLease(key, r.number, r.fold, r.token, r.worker, json.loads(r.params)) for r in rows]

    def spent(self, key: StudyKey) -> int:
        return self._count(key, SPENT)

    def claimed(self, key: StudyKey) -> int:
        return self._count(key, {"claimed"})

    def _count(self, key: StudyKey, states: Collection[str]) -> int:
        query = (
            select(func.count())
            .select_from(tickets)
            .where(tickets.c.study_id == self._study_id(key), tickets.c.state.in_(sorted(states)))
        )
        return read(self.engine, lambda c: c.execute(query).scalar_one())

    def models_elsewhere(self, study_name: str, among: Collection[str] | None = None) -> set[str]:
        query = (
            select(fits.c.model)
            .distinct()
            .join(studies, studies.c.id == fits.c.study_id)
            .where(studies.c.study_name != study_name, fits.c.model.is_not(None))
        )
        if among is not None:
            query = query.where(fits.c.model.in_(among))
        return set(read(self.engine, lambda c: c.execute(query).scalars().all()))

    def result(self, study_name: str, name: str) -> bytes | None:
        query = select(results.c.content).where(results.c.study_name == study_name, results.c.name == name)
        digest = read(self.engine, lambda c: c.execute(query).scalar())
        return None if digest is None else self.artifacts.get(digest)

    def result_names(self, study_name: str, prefix: str) -> list[str]:
        query = select(results.c.name).where(
            results.c.study_name == study_name, results.c.name.startswith(prefix, autoescape=True)
        )
        return sorted(read(self.engine, lambda c: c.execute(query).scalars().all()))

    @property
    def _now(self) -> ColumnElement[float]:
        if self._clock is not None:
            return literal(self._clock())
        return literal_column(_DATABASE_CLOCK[self.engine.dialect.name])

    def _study_id(self, key: StudyKey) -> int:
        if key not in self._ids:
            found = read(
                self.engine, lambda c: c.execute(select(studies.c.id).where(*is_study(key))).scalar()
            )
            if found is None:
                raise ConfigError(
                    "study_name", f"no study {key}", "`ehrbench study status` lists what there is"
                )
            self._ids[key] = found
        return self._ids[key]
