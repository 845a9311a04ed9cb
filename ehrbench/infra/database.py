"""Database: the SQLAlchemy engines of ``storage=sqlite`` and ``storage=mysql``, and transactions that last.

``Database`` knows how to connect; ``write`` and ``read`` run a function in a transaction and repeat it, with
growing pauses, while the fault is one that passes: a deadlock, a lock wait, a server that goes away and comes
back. Work handed to them must therefore be repeatable, also after a commit whose answer was lost.

SQLite runs in WAL mode with BEGIN IMMEDIATE for writes, so that a transaction never fails half-way for want
of the write lock; MySQL (or MariaDB) runs in READ COMMITTED and UTC. The password never enters a URL.
"""

from __future__ import annotations

import os
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError, InternalError

from ehrbench.core.errors import ConfigError, StorageError
from ehrbench.infra.faults import DATABASE_FAULTS, explain, is_transient
from ehrbench.infra.settings import Environment

#: How long a write waits for a database that is restarting.
PATIENCE_S = 300.0
#: How long a server may say nothing when it is first asked.
SILENCE_S = 10
_SQLITE_BUSY_S = 60.0
_READ_ONLY = {"ehrbench_read": True}

T = TypeVar("T")


@dataclass(frozen=True)
class Database:
    """How to connect; ``connect_args`` hold the password and are not shown."""

    url: URL
    connect_args: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @staticmethod
    def sqlite(path: Path) -> Database:
        """The database file ``path``; its folder is made. Raises StorageError where that is refused."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"storage: cannot make {path.parent} ({error.strerror}) — choose another runs_dir"
            ) from error
        return Database(URL.create("sqlite", database=str(path.absolute())), {"timeout": _SQLITE_BUSY_S})

    @staticmethod
    def mysql(settings: Environment) -> Database:
        """The server named by OPTUNA_HOST and its siblings. Raises ConfigError for what is not usable."""
        settings.require("optuna_host", "optuna_user", "optuna_database")
        try:
            settings.optuna_host.encode("idna")  # as the system's look-up will
        except UnicodeError as error:
            raise ConfigError(
                "OPTUNA_HOST", f"{settings.optuna_host!r} is no host's name", "correct it"
            ) from error
        url = URL.create(
            "mysql+pymysql",
            username=settings.optuna_user,
            host=settings.optuna_host,
            port=settings.optuna_port,
            database=settings.optuna_database,
            query={"charset": "utf8mb4"},
        )
        connect_args: dict[str, Any] = {
            "password": settings.optuna_password.reveal(),
            "connect_timeout": 10,
            "init_command": "SET SESSION time_zone = '+00:00', SESSION innodb_lock_wait_timeout = 20",
        }
        if settings.optuna_tls_ca:
            connect_args["ssl"] = _tls(settings.optuna_tls_ca)
        return Database(url, connect_args)

    @staticmethod
    def of(storage: str, sqlite_path: Path, settings: Environment) -> Database:
        """By the configuration key ``storage``: ``sqlite`` or ``mysql``."""
        if storage == "sqlite":
            return Database.sqlite(sqlite_path)
        if storage == "mysql":
            return Database.mysql(settings)
        raise ConfigError("storage", f"{storage!r} is unknown", "choose sqlite or mysql")

    def engine_arguments(self) -> dict[str, Any]:
        """Keyword arguments of ``create_engine``, for the ledger's engine and for Optuna's."""
        arguments: dict[str, Any] = {"connect_args": dict(self.connect_args), "hide_parameters": True}
        if self.url.get_backend_name() == "mysql":
            # no ping before each use: ``patiently`` repeats what meets a dead connection
            arguments |= {"pool_recycle": 1800, "isolation_level": "READ COMMITTED"}
        return arguments

    @cached_property
    def engine(self) -> Engine:
        """The ledger's engine: one pool for this process, safe for threads and for forks."""
        engine = create_engine(self.url, **self.engine_arguments())
        guard_forks(engine)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _sqlite_connect)
            event.listen(engine, "begin", _sqlite_begin)
        return engine

    def __reduce__(self) -> tuple[object, ...]:
        """To another process without the engine, whose connections stay here."""
        return Database, (self.url, dict(self.connect_args))

    def check(self, patience_s: float = 5.0) -> None:
        """Connect once. Raises StorageError with one line on what is wrong and what to do.

        Also of another service's port, which may say something else or nothing.
        """
        arguments = self.engine_arguments()
        if self.url.get_backend_name() == "mysql":
            arguments["connect_args"]["read_timeout"] = SILENCE_S
        engine = create_engine(self.url, **arguments)
        try:
            read(engine, lambda connection: connection.exec_driver_sql("SELECT 1"), patience_s=patience_s)
        except InternalError as error:  # the driver's, of the order of packets
            raise StorageError(
                f"{self.url.host}:{self.url.port}: answers, but not as MySQL does — check OPTUNA_HOST and "
                f"OPTUNA_PORT"
            ) from error
        finally:
            engine.dispose()

    def check_writable(self, patience_s: float = 5.0) -> None:
        """Ask to write to the ledger's tables, but write nothing. StorageError where that is refused."""
        nothing = "UPDATE ehrbench_version SET version = version WHERE 1 = 0"
        write(self.engine, lambda connection: connection.exec_driver_sql(nothing), patience_s=patience_s)
        self.engine.dispose()


def write(engine: Engine, work: Callable[[Connection], T], *, patience_s: float = PATIENCE_S) -> T:
    """``work`` in one transaction that may write, repeated while the fault is transient.

    Raises StorageError for faults of the database that repeating cannot mend.
    """
    return _patiently(engine, work, patience_s, {})


def read(engine: Engine, work: Callable[[Connection], T], *, patience_s: float = PATIENCE_S) -> T:
    """As ``write``, for work that only reads; takes no write lock in SQLite."""
    return _patiently(engine, work, patience_s, _READ_ONLY)


def _patiently(
    engine: Engine, work: Callable[[Connection], T], patience_s: float, options: Mapping[str, Any]
) -> T:
    def attempt() -> T:
        with engine.connect().execution_options(**options) as connection, connection.begin():
            return work(connection)

    return patiently(attempt, patience_s=patience_s, where=engine.url)


def patiently(
    attempt: Callable[[], T],
    *,
    patience_s: float,
    where: URL,
    faults: tuple[type[BaseException], ...] = DATABASE_FAULTS,
) -> T:
    """``attempt()``, repeated with growing, jittered pauses (20 ms to 5 s) while its fault is transient."""
    deadline = time.monotonic() + patience_s
    pause_s = 0.02
    while True:
        try:
            return attempt()
        except faults as error:
            if not is_transient(error):
                if (clear := explain(error, where)) is not None:
                    raise clear from error
                raise
            if time.monotonic() + pause_s > deadline:
                clear = explain(error, where)
                raise clear or StorageError(f"{where.host or where.database}: gave up ({error})") from error
        time.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(2 * pause_s, 5.0)


def guard_forks(engine: Engine) -> None:
    """Make a forked child open its own connections: one shared with the parent would mix their traffic."""

    def connect(connection: Any, record: Any) -> None:
        record.info["pid"] = os.getpid()

    def checkout(connection: Any, record: Any, proxy: Any) -> None:
        if record.info["pid"] != os.getpid():
            record.dbapi_connection = proxy.dbapi_connection = None
            raise DisconnectionError("this connection belongs to the parent process")

    event.listen(engine, "connect", connect)
    event.listen(engine, "checkout", checkout)


def _sqlite_connect(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours, below
    connection.execute("PRAGMA synchronous = NORMAL")


def _sqlite_begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get("ehrbench_read", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _tls(authority: str) -> ssl.SSLContext:
    """Checks certificate and host name against ``authority``: a PEM file, or ``system`` for the system's."""
    try:
        return ssl.create_default_context(cafile=None if authority == "system" else authority)
    except OSError as error:
        raise ConfigError(
            "OPTUNA_TLS_CA", f"cannot read {authority}", "name a PEM file, or 'system'"
        ) from error
