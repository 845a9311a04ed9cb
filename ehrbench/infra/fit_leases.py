"""The SQL of fit leases, for ``SqlLedger``'s transactions; what they mean stands in ``ehrbench.core.ledger``.

Whoever takes a fold, or changes a fit's lease, has locked the ticket's row before, so all of this is serial
for each ticket. A lease's row stays when its fit is recorded or given up: its token must go on growing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, func, literal, or_, select

from ehrbench.infra.schema import fit_leases, fits, tickets

#: In the place of the fold that a ticket's holder trains: it trains all that are left.
ALL = -1

Seconds = ColumnElement[float]  # since the epoch, by the database's clock


def running(study_id: int, now: Seconds) -> ColumnElement[bool]:
    """Tickets whose holders are alive and train one fold."""
    claimed = and_(tickets.c.study_id == study_id, tickets.c.state == "claimed")
    return and_(claimed, tickets.c.lease_until >= now, tickets.c.fold >= 0)


def of(study_id: int, number: int, fold: int) -> ColumnElement[bool]:
    """The lease of one fold."""
    table = fit_leases.c
    return and_(table.study_id == study_id, table.number == number, table.fold == fold)


def helpable(study_id: int, n_folds: int, now: Seconds) -> Select[Any]:
    """Numbers of running tickets with folds for a helper, by a count that is checked again under lock."""

    def count(table: Table, *where: ColumnElement[bool]) -> Any:
        same = and_(table.c.study_id == study_id, table.c.number == tickets.c.number)
        return select(func.count()).select_from(table).where(same, *where).scalar_subquery()

    taken = count(fits) + count(fit_leases, fit_leases.c.lease_until >= now)
    free = taken < n_folds - 1  # one is the holder's
    return select(tickets.c.number).where(running(study_id, now), free).order_by(tickets.c.number)


def take_all(connection: Connection, study_id: int, number: int, n_folds: int, now: Seconds) -> list[int]:
    """The folds that have no Fit and no living helper; silent ones write nothing more for them."""
    folds = _folds(connection, study_id, number, fit_leases.c.lease_until >= now)
    left = [fold for fold in range(n_folds) if not folds.get(fold)]
    for fold in folds.keys() & set(left):
        _silence(connection, study_id, number, fold)
    return left


def take(connection: Connection, study_id: int, number: int, n_folds: int, now: Seconds) -> int | None:
    """The lowest fold that has no Fit and no living helper; a silent one writes nothing more for it."""
    folds = _folds(connection, study_id, number, fit_leases.c.lease_until >= now)
    fold = next((fold for fold in range(n_folds) if not folds.get(fold)), None)
    if fold is not None and fold in folds:
        _silence(connection, study_id, number, fold)
    return fold


def _silence(connection: Connection, study_id: int, number: int, fold: int) -> None:
    here = of(study_id, number, fold)
    connection.execute(fit_leases.update().where(here).values(token=fit_leases.c.token + 1))


def fold_for_helper(connection: Connection, ticket: Any, n_folds: int, most: int, now: Seconds) -> int | None:
    """The lowest fold that nobody trains and that was not leased ``most`` times in vain."""
    kept = or_(fit_leases.c.lease_until >= now, fit_leases.c.token >= most)
    folds = _folds(connection, ticket.study_id, ticket.number, kept)
    return next((f for f in range(n_folds) if not folds.get(f) and f != ticket.fold), None)


def _folds(connection: Connection, study_id: int, number: int, kept: ColumnElement[bool]) -> dict[int, bool]:
    """Fold -> whether it has a Fit or a lease that is ``kept``; those that had neither are absent."""
    done, leased = (
        select(table.c.fold, taken).where(table.c.study_id == study_id, table.c.number == number)
        for table, taken in ((fits, literal(True)), (fit_leases, kept))
    )
    folds: dict[int, bool] = {}
    for fold, taken in connection.execute(done.union_all(leased)):
        folds[fold] = bool(taken) or folds.get(fold, False)
    return folds


def give(connection: Connection, ticket: Any, fold: int, worker: str, until: Seconds) -> int:
    """Lease the fold to ``worker``; the lease's token."""
    here, values = of(ticket.study_id, ticket.number, fold), {"worker": worker, "lease_until": until}
    before = connection.execute(select(fit_leases.c.token).where(here)).scalar()
    if before is None:
        key = {"study_id": ticket.study_id, "number": ticket.number, "fold": fold}
        connection.execute(fit_leases.insert().values(**key, token=1, **values))
        return 1
    connection.execute(fit_leases.update().where(here).values(token=before + 1, **values))
    return int(before) + 1


def living(study_id: int, now: Seconds) -> Select[Any]:
    """Leases that run, with their tickets' parameters."""
    same = and_(tickets.c.study_id == fit_leases.c.study_id, tickets.c.number == fit_leases.c.number)
    return (
        select(fit_leases, tickets.c.params)
        .join(tickets, same)
        .where(fit_leases.c.study_id == study_id, fit_leases.c.lease_until >= now)
        .where(tickets.c.state.in_(["claimed", "free"]))
        .order_by(fit_leases.c.number, fit_leases.c.fold)
    )
