"""Schema: the ledger's tables, and how the first worker makes or migrates them while others start too.

Tables carry the prefix ``ehrbench_`` because Optuna's live in the same database. Keys are ASCII with explicit
lengths, so that MySQL compares them byte by byte and indexes them whole; everything long (predictions,
models, results) is an artifact, and the row holds its digest. Times are seconds since the epoch by the
database's clock.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Engine,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    select,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from ehrbench.core.errors import StorageError
from ehrbench.infra.database import PATIENCE_S, patiently, read, write

#: Raised with every change of the tables below; ``_MIGRATIONS`` then says how tables of the version before
#: become those of this one.
VERSION = 3
NAME_LENGTH, WORKER_LENGTH, ERROR_LENGTH = 120, 120, 2000

metadata = MetaData()


def _key(length: int) -> TypeEngine[str]:
    return String(length).with_variant(
        mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
    )


def _text() -> TypeEngine[str]:
    return Text().with_variant(mysql.MEDIUMTEXT(charset="utf8mb4"), "mysql", "mariadb")


version = Table(
    "ehrbench_version",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
)

studies = Table(
    "ehrbench_studies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_name", _key(NAME_LENGTH), nullable=False),
    Column("task", _key(NAME_LENGTH), nullable=False),
    Column("model", _key(NAME_LENGTH), nullable=False),
    Column("outer_fold", Integer, nullable=False),  # -1: over all records
    Column("digest", _key(64), nullable=False),
    Column("facts", _text(), nullable=False),  # JSON
    UniqueConstraint("study_name", "task", "model", "outer_fold", name="ehrbench_studies_key"),
)

tickets = Table(
    "ehrbench_tickets",
    metadata,
    Column("study_id", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", _key(10), nullable=False),
    Column("token", Integer, nullable=False),  # the fence: grows with each claim
    Column("claim", _key(32), nullable=False),  # names the claim, to find it again after a lost answer
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("deaths", Integer, nullable=False),  # workers lost in a row without a new Fit
    Column("worker", String(WORKER_LENGTH)),
    Column("lease_until", Double),
    Column("params", _text()),  # JSON
    Column("sampler_state", _text()),  # JSON
    Column("seed", BigInteger),
    Column("value", Double),
    Column("error", _text()),
    Column("started", Double),
    Column("finished", Double),
    Column("fold", Integer),  # the one its holder trains; -1: all that are left; NULL: none yet
    Column("judged", Integer),  # folds that its holder has judged; NULL: all
    PrimaryKeyConstraint("study_id", "number"),
    Index("ehrbench_tickets_state", "study_id", "state"),
)

fits = Table(
    "ehrbench_fits",
    metadata,
    Column("study_id", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("fold", Integer, nullable=False),
    Column("token", Integer, nullable=False),  # of the claim that trained it
    Column("seed", BigInteger, nullable=False),
    Column("score", Double),  # NULL: not a number
    Column("best_step", Integer, nullable=False),
    Column("duration_s", Double, nullable=False),
    Column("predictions", _key(64), nullable=False),
    Column("model", _key(64)),
    Column("fold_digest", _key(64), nullable=False),
    Column("curve", _text(), nullable=False),  # JSON
    Column("steps", _text()),  # JSON
    Column("recorded", Double, nullable=False),
    PrimaryKeyConstraint("study_id", "number", "fold"),
)

fit_leases = Table(
    "ehrbench_fit_leases",
    metadata,
    Column("study_id", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("fold", Integer, nullable=False),
    Column("token", Integer, nullable=False),  # the fence: grows with each lease of the fold
    Column("worker", String(WORKER_LENGTH), nullable=False),
    Column("lease_until", Double, nullable=False),  # 0: over
    PrimaryKeyConstraint("study_id", "number", "fold"),
)

results = Table(
    "ehrbench_results",
    metadata,
    Column("study_name", _key(NAME_LENGTH), nullable=False),
    Column("name", _key(NAME_LENGTH), nullable=False),
    Column("content", _key(64), nullable=False),  # artifact digest
    PrimaryKeyConstraint("study_name", "name"),
)


def ensure(engine: Engine) -> None:
    """Make the tables, or migrate those of an earlier version; any number of workers may do this at once.

    Raises StorageError for a database made by a later version, and for another program's.
    """
    if (found := _found(engine)) is None or found < VERSION:
        with setup_lock(engine):
            if (found := _found(engine)) is None:
                if engine.dialect.name == "sqlite":
                    _write_ahead(engine)
                write(engine, _make)
            for before in range(found or VERSION, VERSION):
                write(engine, functools.partial(_migrate, before=before))
    if (found := _found(engine)) != VERSION:
        raise StorageError(
            f"{engine.url.host or engine.url.database}: tables are of version {found}, later than {VERSION} "
            f"— use the ehrbench that made them, or another database"
        )


def _make(connection: Connection) -> None:
    found = inspect(connection)
    for table, column in (("studies", "study_id"), ("trials", "trial_id")):  # Optuna's, also half made
        if found.has_table(table) and column not in {one["name"] for one in found.get_columns(table)}:
            raise StorageError(
                f"{connection.engine.url.database}: has another program's table {table} — CREATE DATABASE "
                f"one for searches alone"
            )
    metadata.create_all(connection)
    if connection.execute(select(version.c.version)).scalar() is None:
        connection.execute(version.insert().values(id=1, version=VERSION))


#: Version -> columns that the next one adds and drops; its new tables are made. MySQL commits each change of
#: a table at once, so a migration that was cut off goes on at the first column that is not as it should be.
_MIGRATIONS: Mapping[int, tuple[Sequence[Column[Any]], Sequence[tuple[Table, str]]]] = {
    1: ((tickets.c.sampler_state, fits.c.steps), ((tickets, "trial_number"),)),
    2: ((tickets.c.fold, tickets.c.judged), ()),
}


def _migrate(connection: Connection, before: int) -> None:
    added, dropped = _MIGRATIONS[before]

    def has(table: Table, column: str) -> bool:
        return column in {found["name"] for found in inspect(connection).get_columns(table.name)}

    metadata.create_all(connection)
    for column in added:
        if not has(column.table, column.name):
            kind = column.type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {column.table.name} ADD COLUMN {column.name} {kind}")
    for table, name in dropped:
        if has(table, name):
            connection.exec_driver_sql(f"ALTER TABLE {table.name} DROP COLUMN {name}")
    connection.execute(version.update().values(version=before + 1))


def _found(engine: Engine) -> int | None:
    """The version that the tables say they have; None before they are whole (the row is written last)."""

    def look(connection: Connection) -> int | None:
        if not inspect(connection).has_table(version.name):
            return None
        return connection.execute(select(version.c.version)).scalar()

    return read(engine, look, patience_s=5.0)


@contextmanager
def setup_lock(engine: Engine) -> Iterator[None]:
    """Held while tables are made. Raises StorageError when it is taken for minutes."""
    with named_lock(engine, "setup", PATIENCE_S) as held:
        if not held:
            raise StorageError(
                f"{engine.url.host or engine.url.database}: its setup lock is taken for minutes — end the "
                f"worker that hangs"
            )
        yield


@contextmanager
def named_lock(engine: Engine, name: str, patience_s: float) -> Iterator[bool]:
    """Whether the lock was had; one worker at a time holds it, over all machines.

    It is freed by the system when its holder dies. MySQL's named lock, or, since SQLite's own lock would shut
    out everybody, a second small file beside the database.
    """
    if engine.dialect.name == "sqlite":
        path = Path(f"{engine.url.database}-{name}")
        connection = _lock_of(path, patience_s)
        try:
            yield connection is not None
        finally:
            if connection is not None:
                connection.close()
        return
    lock = f"ehrbench.{engine.url.database}.{name}"[-64:]
    with engine.connect() as holder:
        got = holder.exec_driver_sql("SELECT GET_LOCK(%s, %s)", (lock, int(patience_s))).scalar() == 1
        try:
            yield got
        finally:
            if got:
                holder.exec_driver_sql("SELECT RELEASE_LOCK(%s)", (lock,))


def _lock_of(path: Path, patience_s: float) -> sqlite3.Connection | None:
    """What holds the whole file's lock until it is closed; None where another has it.

    Raises StorageError when the file or its folder cannot be written.
    """
    try:
        connection = sqlite3.connect(path, timeout=patience_s, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except BaseException:
            connection.close()
            raise
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            return None
        raise StorageError(
            f"{path}: cannot be locked ({error}) — check rights and free space of its folder"
        ) from error
    return connection


def _write_ahead(engine: Engine) -> None:
    """WAL is a property of the file: set once, by the one worker that holds the set-up lock.

    SQLite does not wait for another connection that may write: it answers "locked" at once.
    """

    def change() -> None:
        with closing(sqlite3.connect(str(engine.url.database), timeout=PATIENCE_S)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")

    patiently(change, patience_s=PATIENCE_S, where=engine.url, faults=(sqlite3.OperationalError,))
