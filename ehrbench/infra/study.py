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
from ehrbench.infra.database import PATIENCE_S, Database, guard_forks, patiently, read
from ehrbench.infra.faults import DATABASE_FAULTS
from ehrbench.infra.optuna_tables import OptunaTables, count_ended
from ehrbench.infra.schema import named_lock, setup_lock
from ehrbench.spine.mirror import catch_up
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

    One worker at a time copies, while the others go on; together about every ``EVERY_S`` seconds.
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
        self._due: float | None = None
        self._tables: OptunaTables | None = None

    def __call__(self, *, last: bool = False) -> None:
        """Copy if it is due; ``last``: now, unless somebody else has copied everything."""
        if self._due is None:
            self._due = self._later(0.0, 1.0)
        if not last and time.monotonic() < self._due:
            return
        patiently(
            self._copy_all if last else self._copy,
            patience_s=PATIENCE_S,
            where=self._engine.url,
            faults=(*DATABASE_FAULTS, StorageInternalError),
        )
        self._due = self._later(0.5, 1.5)

    def _later(self, least: float, most: float) -> float:
        """Workers take turns, so that all together they copy every ``EVERY_S`` seconds."""
        n_workers = max(self._ledger.claimed(self._key), 1)
        return time.monotonic() + self.EVERY_S * n_workers * random.uniform(least, most)

    def _copy_all(self) -> None:
        if not self._whole():  # of many workers that end at once the first one copies
            self._copy(PATIENCE_S)

    def _whole(self) -> bool:
        """Whether every ticket that was spent has its trial, and its end."""
        shown = read(self._engine, lambda connection: count_ended(connection, str(self._key)))
        return shown == self._ledger.spent(self._key)

    def _copy(self, patience_s: float = 0.0) -> None:
        with named_lock(self._engine, "mirror", patience_s) as held:
            if held and not (patience_s and self._whole()):
                if self._tables is None:
                    study = optuna_study(self._storage, self._key, self._maximize)
                    self._tables = OptunaTables(self._engine, study._study_id)
                catch_up(self._tables, self._ledger, self._key, self._space)
