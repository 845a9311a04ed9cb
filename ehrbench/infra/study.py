"""Optuna's storage and studies in the ledger's database, and the projection of the ledger onto them.

``PatientStorage`` is Optuna's ``RDBStorage`` whose calls survive deadlocks and a restart of the server.
``reconcile`` makes Optuna's rows say what the ledger says, as often as one likes and from any worker:
samplers then see every finished trial, and no trial of a dead worker stays RUNNING.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event

from ehrbench.core.errors import StudyMismatch
from ehrbench.core.ledger import SPENT, Ledger, StudyKey, TicketRow
from ehrbench.infra.database import PATIENCE_S, Database, guard_forks, patiently
from ehrbench.infra.faults import DATABASE_FAULTS
from ehrbench.infra.schema import setup_lock

#: What Optuna's cache calls of its backend beside the public storage calls.
_ALSO = ("_create_new_trial", "_get_trials", "_set_trial_param", "_get_best_trial_id")


class PatientStorage(RDBStorage):
    """RDBStorage that repeats a call while the database's fault is transient.

    Repeating is safe: a trial made twice stays RUNNING and unclaimed, and ``reconcile`` fails it; parameters
    and attributes are written by key; a state already set as asked is taken as set.
    """

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        try:
            return super().set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            trial = self.get_trial(trial_id)
            if trial.state == state and (values is None or trial.values == list(values)):
                return True
            raise


def _patient(name: str) -> Callable[..., Any]:
    method = getattr(PatientStorage, name)

    @functools.wraps(method)
    def call(self: PatientStorage, *args: Any, **kwargs: Any) -> Any:
        return patiently(
            lambda: method(self, *args, **kwargs),
            patience_s=PATIENCE_S,
            where=self.engine.url,
            faults=(*DATABASE_FAULTS, StorageInternalError),
        )

    return call


for _name in (*sorted(BaseStorage.__abstractmethods__), *_ALSO):
    setattr(PatientStorage, _name, _patient(_name))


def optuna_storage(database: Database) -> PatientStorage:
    """Optuna's storage in ``database``; its tables are made by one worker while the others wait."""
    url = database.url.render_as_string(hide_password=False)  # holds no password: see Database
    with setup_lock(database.engine):
        storage = PatientStorage(url.replace("{", "{{").replace("}", "}}"), database.engine_arguments())
    storage.engine.dispose()
    guard_forks(storage.engine)
    if storage.engine.dialect.name == "sqlite":
        event.listen(storage.engine, "connect", lambda c, _: c.execute("PRAGMA synchronous = NORMAL"))
    return storage


def open_study(
    storage: BaseStorage,
    key: StudyKey,
    *,
    direction: Literal["minimize", "maximize"],
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> optuna.Study:
    """The Optuna study of ``key``, made by whoever comes first; ``attributes`` become its user attributes.

    Raises StudyMismatch when it exists with the other direction.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=str(key),
        direction=direction,
        sampler=sampler,
        pruner=pruner,
        load_if_exists=True,
    )
    if study.direction.name.lower() != direction:
        raise StudyMismatch(
            f"study {key} exists and would {study.direction.name.lower()}, not {direction} — take another "
            f"study_name"
        )
    held = study.user_attrs
    for name, value in (attributes or {}).items():
        if held.get(name, _UNSET) != value:
            study.set_user_attr(name, value)
    return study


_UNSET = object()


def reconcile(study: optuna.Study, ledger: Ledger, key: StudyKey) -> int:
    """Tell Optuna what the ledger knows; the number of trials told.

    - A RUNNING trial whose ticket is spent is told how it ended.
    - A RUNNING trial that no ticket names is failed: its worker died before it could write the trial into
      its ticket. While some ticket is claimed and has no trial yet, such a trial may be that ticket's, so it
      is left for the next call; a search's last call finds none.

    Trials are read before tickets: a ticket is claimed before its trial is asked for, so whatever trial was
    seen here has its ticket in the second reading. Safe from several workers at once.
    """
    running = {t.number: t for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))}
    if not running:
        return 0
    tickets = ledger.tickets(key)
    owner = {row.trial_number: row for row in tickets if row.trial_number is not None}
    asking = any(row.state == "claimed" and row.trial_number is None for row in tickets)
    told = 0
    for number, trial in sorted(running.items()):
        row = owner.get(number)
        if row is not None and row.state in SPENT:
            told += _tell(study, trial, row)
        elif row is None and not asking:
            told += _tell(study, trial, None)
    return told


def _tell(study: optuna.Study, trial: FrozenTrial, row: TicketRow | None) -> bool:
    """Whether this call, not another worker's, finished the trial."""
    try:
        if row is not None and row.state == "complete":
            study.tell(trial.number, row.value, TrialState.COMPLETE, skip_if_finished=True)
        elif row is not None and row.state == "pruned":
            study.tell(trial.number, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    except UpdateFinishedTrialError:
        return False
    return True
