"""Optuna's tables, written in a few statements.

Optuna's storage asks the database several questions for each parameter, attribute and step of a trial that is
added; with a race's steps that makes hundreds. Here the rows of many trials go in together, as objects of
Optuna's own table classes (``optuna.storages._rdb.models``; the lock file names the version they are of).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, func, select
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
                for change in changed[at : at + _MOST]:
                    _change(session, change)


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
    first = session.execute(
        select(func.count()).select_from(table).where(table.study_id == study_id)
    ).scalar_one()
    rows = [
        table(
            study_id=study_id,
            number=first + i,
            state=trial.state,
            datetime_start=trial.datetime_start,
            datetime_complete=trial.datetime_complete,
        )
        for i, trial in enumerate(trials)
    ]
    session.add_all(rows)
    session.flush()  # gives them their ids
    for row, trial in zip(rows, trials, strict=True):
        session.add_all(_parts(int(row.trial_id), trial))


def _parts(trial_id: int, trial: FrozenTrial) -> Iterator[Any]:
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        yield models.TrialParamModel(
            trial_id=trial_id,
            param_name=name,
            param_value=distribution.to_internal_repr(value),
            distribution_json=distribution_to_json(distribution),
        )
    for table, attributes in (
        (models.TrialUserAttributeModel, trial.user_attrs),
        (models.TrialSystemAttributeModel, trial.system_attrs),
    ):
        for key, value in attributes.items():
            yield table(trial_id=trial_id, key=key, value_json=json.dumps(value))
    yield from _values(trial_id, trial.values or ())
    yield from _steps(trial_id, trial.intermediate_values)


def _values(trial_id: int, values: Sequence[float]) -> Iterator[Any]:
    table = models.TrialValueModel
    for objective, value in enumerate(values):
        stored, kind = table.value_to_stored_repr(value)
        yield table(trial_id=trial_id, objective=objective, value=stored, value_type=kind)


def _steps(trial_id: int, steps: Mapping[int, float]) -> Iterator[Any]:
    table = models.TrialIntermediateValueModel
    for step, value in steps.items():
        stored, kind = table.intermediate_value_to_stored_repr(value)
        yield table(trial_id=trial_id, step=step, intermediate_value=stored, intermediate_value_type=kind)


def _change(session: Session, change: Change) -> None:
    session.add_all(_steps(change.trial_id, change.steps))
    if change.end is not None:
        row = session.get_one(models.TrialModel, change.trial_id)
        row.state, row.datetime_complete = change.end.state, change.end.datetime_complete
        session.add_all(_values(change.trial_id, change.end.values or ()))
