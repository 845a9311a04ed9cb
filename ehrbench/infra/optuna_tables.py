"""Optuna's tables, written in a few statements.

Optuna's storage asks the database several questions for each parameter, attribute and step of a trial that is
added; with a race's steps that makes hundreds. Here the rows of many trials go in together, by Optuna's own
table classes (``optuna.storages._rdb.models``; the lock file names the version they are of).
"""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, func, insert, select, update
from sqlalchemy.orm import Session

from ehrbench.infra.database import read
from ehrbench.spine.mirror import TICKET, Change, Known

#: Trials of one transaction.
_MOST = 100


class OptunaTables:
    """``spine.mirror.Mirror`` in the tables behind ``engine``. One process at a time may write."""

    def __init__(self, engine: Engine, study_id: int) -> None:
        self._engine, self._study_id = engine, study_id

    def known(self) -> dict[int, Known]:
        trial, ticket, step = (
            models.TrialModel,
            models.TrialUserAttributeModel,
            models.TrialIntermediateValueModel,
        )
        trials = (
            select(trial.trial_id, trial.state, ticket.value_json)
            .join(ticket, ticket.trial_id == trial.trial_id)
            .where(trial.study_id == self._study_id, ticket.key == TICKET)
        )
        running = select(trial.trial_id).where(
            trial.study_id == self._study_id, trial.state == TrialState.RUNNING
        )
        of_running = select(step.trial_id, step.step).where(step.trial_id.in_(running))
        rows, step_rows = read(self._engine, lambda c: (c.execute(trials).all(), c.execute(of_running).all()))
        steps: dict[int, set[int]] = {}
        for trial_id, at in step_rows:
            steps.setdefault(trial_id, set()).add(at)
        return {
            int(json.loads(number)): Known(trial_id, state.is_finished(), steps.get(trial_id, ()))
            for trial_id, state, number in rows
        }

    def write(self, made: Sequence[FrozenTrial], changed: Sequence[Change]) -> None:
        for at in range(0, len(made), _MOST):
            with Session(self._engine) as session, session.begin():
                _add(session, self._study_id, made[at : at + _MOST])
        for at in range(0, len(changed), _MOST):
            with Session(self._engine) as session, session.begin():
                _change(session, changed[at : at + _MOST])


def count_ended(connection: Connection, study_name: str) -> int:
    """How many trials of the study of this name have ended."""
    study, trial = models.StudyModel, models.TrialModel
    ended = [state for state in TrialState if state.is_finished()]
    query = (
        select(func.count())
        .select_from(trial)
        .join(study, study.study_id == trial.study_id)
        .where(study.study_name == study_name, trial.state.in_(ended))
    )
    return connection.execute(query).scalar_one()


def _add(session: Session, study_id: int, trials: Sequence[FrozenTrial]) -> None:
    table = models.TrialModel
    of_study = table.study_id == study_id
    first = session.execute(select(func.count()).select_from(table).where(of_study)).scalar_one()
    rows = [
        {
            "study_id": study_id,
            "number": number,
            "state": trial.state,
            "_datetime_start_utc": _utc(trial.datetime_start),
            "_datetime_complete_utc": _utc(trial.datetime_complete),
        }
        for number, trial in enumerate(trials, first)
    ]
    session.execute(insert(table), rows)
    query = select(table.trial_id).where(of_study, table.number >= first).order_by(table.number)
    ids = session.execute(query).scalars().all()
    _insert(session, itertools.chain.from_iterable(map(_parts, ids, trials)))


Row = tuple[Any, dict[str, Any]]  # table, values


def _insert(session: Session, rows: Iterable[Row]) -> None:
    """One statement for each table."""
    by_table: dict[Any, list[dict[str, Any]]] = {}
    for table, row in rows:
        by_table.setdefault(table, []).append(row)
    for table, values in by_table.items():
        session.execute(insert(table), values)


def _parts(trial_id: int, trial: FrozenTrial) -> Iterator[Row]:
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        stored = {"param_name": name, "param_value": distribution.to_internal_repr(value)}
        text = distribution_to_json(distribution)
        yield models.TrialParamModel, {"trial_id": trial_id, **stored, "distribution_json": text}
    for table, attributes in (
        (models.TrialUserAttributeModel, trial.user_attrs),
        (models.TrialSystemAttributeModel, trial.system_attrs),
    ):
        for key, value in attributes.items():
            yield table, {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
    yield from _values(trial_id, trial.values or ())
    yield from _steps(trial_id, trial.intermediate_values)


def _values(trial_id: int, values: Sequence[float]) -> Iterator[Row]:
    table = models.TrialValueModel
    for objective, value in enumerate(values):
        stored, kind = table.value_to_stored_repr(value)
        yield table, {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}


def _steps(trial_id: int, steps: Mapping[int, float]) -> Iterator[Row]:
    table = models.TrialIntermediateValueModel
    for step, value in steps.items():
        stored, kind = table.intermediate_value_to_stored_repr(value)
        values = {"intermediate_value": stored, "intermediate_value_type": kind}
        yield table, {"trial_id": trial_id, "step": step, **values}


def _change(session: Session, changes: Sequence[Change]) -> None:
    rows: list[Row] = []
    for change in changes:
        rows += _steps(change.trial_id, change.steps)
        if change.end is not None:
            rows += _values(change.trial_id, change.end.values or ())
    _insert(session, rows)
    ends = [
        {
            "trial_id": change.trial_id,
            "state": change.end.state,
            "_datetime_complete_utc": _utc(change.end.datetime_complete),
        }
        for change in changes
        if change.end is not None
    ]
    if ends:
        session.execute(update(models.TrialModel), ends)


def _utc(local: datetime.datetime | None) -> datetime.datetime | None:
    """As Optuna stores times: UTC, without saying so."""
    return None if local is None else local.astimezone(datetime.UTC).replace(tzinfo=None)
