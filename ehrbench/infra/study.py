"""Optuna's tables in the ledger's database: a mirror of the ledger that optuna-dashboard can show."""

from __future__ import annotations

import random
import time
from typing import Literal

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import Engine, event

from ehrbench.core.errors import StorageError, StudyMismatch
from ehrbench.core.ledger import Ledger, StudyKey
from ehrbench.infra.database import PATIENCE_S, Database, guard_forks, patiently
from ehrbench.infra.faults import DATABASE_FAULTS
from ehrbench.infra.optuna_tables import OptunaTables
from ehrbench.infra.schema import named_lock, setup_lock
from ehrbench.spine.mirror import mirror
from ehrbench.spine.space import Space


def optuna_storage(database: Database) -> RDBStorage:
    """Optuna's storage in ``database``; its tables are made by one worker while the others wait.

    Raises StorageError for tables that another version of Optuna made.
    """
    url = database.url.render_as_string(hide_password=False)  # holds no password: see Database
    with setup_lock(database.engine):
        try:
            storage = RDBStorage(url.replace("{", "{{").replace("}", "}}"), database.engine_arguments())
        except RuntimeError as error:  # Optuna's word for tables of another version; databases raise others
            raise StorageError(
                f"{database.url.host or database.url.database}: Optuna's tables are not of version "
                f"{optuna.__version__} — use the ehrbench that made them, or another database"
            ) from error
    storage.engine.dispose()
    guard_forks(storage.engine)
    if storage.engine.dialect.name == "sqlite":
        event.listen(storage.engine, "connect", lambda c, _: c.execute("PRAGMA synchronous = NORMAL"))
    return storage


def optuna_study(storage: BaseStorage, key: StudyKey, maximize: bool) -> optuna.Study:
    """The Optuna study of ``key``, made by whoever comes first.

    Raises StudyMismatch when it exists with the other direction.
    """
    direction: Literal["maximize", "minimize"] = "maximize" if maximize else "minimize"
    study = optuna.create_study(
        storage=storage, study_name=str(key), direction=direction, load_if_exists=True
    )
    if study.direction.name.lower() != direction:
        raise StudyMismatch(
            f"study {key} exists and would {study.direction.name.lower()}, not {direction} — take another "
            f"study_name"
        )
    return study


class Dashboard:
    """Mirrors one study's tickets into Optuna's tables; nothing reads them back, so being late harms nothing.

    One worker at a time copies, each at most every ``EVERY_S`` seconds, while the others go on: copying costs
    as much as the ticket itself.
    """

    EVERY_S = 10.0

    def __init__(
        self,
        storage: BaseStorage,
        engine: Engine,
        ledger: Ledger,
        key: StudyKey,
        space: Space,
        maximize: bool,
    ) -> None:
        self._storage, self._engine, self._maximize = storage, engine, maximize
        self._ledger, self._key, self._space = ledger, key, space
        self._due = time.monotonic() + random.uniform(0, self.EVERY_S)  # workers take turns
        self._study: optuna.Study | None = None  # kept: it remembers finished trials

    def __call__(self, *, last: bool = False) -> None:
        """Copy if it is due; ``last``: now, after whoever else does."""
        if not last and time.monotonic() < self._due:
            return
        patiently(
            lambda: self._copy(PATIENCE_S if last else 0.0),
            patience_s=PATIENCE_S,
            where=self._engine.url,
            faults=(*DATABASE_FAULTS, StorageInternalError),
        )
        self._due = time.monotonic() + self.EVERY_S

    def _copy(self, patience_s: float) -> None:
        with named_lock(self._engine, "mirror", patience_s) as held:
            if held:
                self._study = self._study or optuna_study(self._storage, self._key, self._maximize)
                mirror(self._study, self._ledger, self._key, self._space, OptunaTables(self._engine))
