"""Database: clear errors, retries, and a schema that two workers may make at once."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import socket
import sqlite3
import threading
import time
import traceback
from contextlib import closing, suppress
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Connection, inspect, select, text

from ehrbench.core.errors import ConfigError, StorageError
from ehrbench.infra import schema
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database, read, write
from ehrbench.infra.ledger import SqlLedger
from ehrbench.infra.settings import Environment, Secret
from ehrbench.infra.study import optuna_storage

from .servers import PASSWORD, MariaDb, free_port

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


def test_storage_by_name(tmp_path: Path) -> None:
    assert Database.of("sqlite", tmp_path / "x.db", Environment()).url.database == str(tmp_path / "x.db")
    with pytest.raises(ConfigError, match="OPTUNA_HOST"):
        Database.of("mysql", tmp_path / "x.db", Environment())
    with pytest.raises(ConfigError, match="choose sqlite or mysql"):
        Database.of("oracle", tmp_path / "x.db", Environment())


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make"):
        Database.sqlite(tmp_path / "file" / "runs" / "x.db")


def test_a_lock_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "x.db-mirror").mkdir()
    engine = Database.sqlite(tmp_path / "x.db").engine
    with (
        pytest.raises(StorageError, match=r"x\.db-mirror: cannot be locked \(unable to open"),
        schema.named_lock(engine, "mirror", 0.0),
    ):
        pass


def test_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageError, match="not an SQLite database"):
        schema.ensure(Database.sqlite(tmp_path / "x.db").engine)


def test_another_version(database: Database) -> None:
    schema.ensure(database.engine)
    write(database.engine, lambda c: c.execute(schema.version.update().values(version=99)))
    with pytest.raises(StorageError, match="version 99, later than"):
        schema.ensure(database.engine)


#: What makes this version's tables those of an earlier one, up to what a migration does last.
BACK = {
    2: ("DROP TABLE ehrbench_fit_leases", "ALTER TABLE ehrbench_tickets DROP COLUMN judged"),
    1: (
        "ALTER TABLE ehrbench_tickets ADD COLUMN trial_number INTEGER",
        "ALTER TABLE ehrbench_fits DROP COLUMN steps",
    ),
}
#: What its migration does first.
WHOLLY_BACK = {
    2: "ALTER TABLE ehrbench_tickets DROP COLUMN fold",
    1: "ALTER TABLE ehrbench_tickets DROP COLUMN sampler_state",
}


@pytest.mark.parametrize("half_done", [False, True])
@pytest.mark.parametrize("version", [1, 2])
def test_tables_of_an_earlier_version_become_those_of_this_one(
    database: Database, version: int, half_done: bool
) -> None:
    schema.ensure(database.engine)
    for back in range(schema.VERSION - 1, version - 1, -1):
        whole = [WHOLLY_BACK[back]] * (back > version or not half_done)
        for statement in (*whole, *BACK[back]):
            write(database.engine, lambda c, s=statement: c.exec_driver_sql(s))
    write(database.engine, lambda c: c.execute(schema.version.update().values(version=version)))
    schema.ensure(database.engine)
    found = inspect(database.engine)
    for table in schema.metadata.tables.values():
        assert {c["name"] for c in found.get_columns(table.name)} == {c.name for c in table.columns}
    stored = read(database.engine, lambda c: c.execute(select(schema.version.c.version)).scalar())
    assert stored == schema.VERSION


def test_the_database_of_another_program_stays_as_it_is(database: Database) -> None:
    write(database.engine, lambda c: c.exec_driver_sql("CREATE TABLE studies (patient INTEGER)"))
    with pytest.raises(StorageError, match="has another program's table studies — CREATE DATABASE one"):
        schema.ensure(database.engine)
    assert inspect(database.engine).get_table_names() == ["studies"]


def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    schema.ensure(database.engine)

    def work(connection: Connection) -> None:
        connection.execute(schema.version.update().values(version=5))
        raise KeyError("stop")

    with pytest.raises(KeyError):
        write(database.engine, work)
    assert read(database.engine, lambda c: c.execute(schema.version.select()).one().version) == schema.VERSION


def test_sqlite_waits_for_the_write_lock(tmp_path: Path) -> None:
    database = Database.sqlite(tmp_path / "x.db")
    schema.ensure(database.engine)
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    threading.Timer(0.5, lambda: other.execute("COMMIT")).start()
    write(database.engine, lambda c: c.execute(schema.version.update().values(version=schema.VERSION)))
    assert time.monotonic() - started >= 0.5


def test_an_empty_file_is_made_ready_while_another_holds_it(tmp_path: Path) -> None:
    """SQLite does not wait by itself for another writer when a file's journal mode is set."""
    database = Database.sqlite(tmp_path / "x.db")
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE t (i)")
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, lambda: other.execute("COMMIT")).start()
    schema.ensure(database.engine)
    with closing(sqlite3.connect(tmp_path / "x.db")) as fresh:
        assert fresh.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_fork_opens_its_own_connection(database: Database) -> None:
    schema.ensure(database.engine)
    child = os.fork()
    if child == 0:
        try:
            found = read(database.engine, lambda c: c.execute(schema.version.select()).one().version)
            os._exit(0 if found == schema.VERSION else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert read(database.engine, lambda c: c.execute(schema.version.select()).one().version) == schema.VERSION


def initialise(database: Database, barrier: Barrier, out: Any) -> None:
    barrier.wait()
    try:
        schema.ensure(database.engine)
        optuna_storage(database)
        out.put("ok")
    except BaseException:
        out.put(traceback.format_exc())


def test_workers_initialise_an_empty_database_at_once(database: Database) -> None:
    n_workers = 4
    barrier, out = PROCESSES.Barrier(n_workers), PROCESSES.Queue()
    workers = [PROCESSES.Process(target=initialise, args=(database, barrier, out)) for _ in range(n_workers)]
    for worker in workers:
        worker.start()
    assert [out.get(timeout=120) for _ in workers] == ["ok"] * n_workers
    for worker in workers:
        worker.join()


@pytest.mark.server
class TestMySql:
    def test_wrong_password(self, mariadb: MariaDb) -> None:
        self.refused(mariadb.settings("test", password="hunter2"), "user ehrbench was refused")

    def test_unknown_host(self) -> None:
        settings = Environment(optuna_host="no such host", optuna_user="u", optuna_database="d")
        self.refused(settings, "no such host: no such host", patience_s=3600)  # said at once

    @pytest.mark.parametrize("host", ["db..hospital", "a" * 64, "::1", "db.hospital", "dü.example"])
    def test_host_names_that_cannot_be(self, host: str) -> None:
        settings = Environment(optuna_host=host, optuna_user="u", optuna_database="d")
        if host in ("db..hospital", "a" * 64):
            with pytest.raises(ConfigError, match=f"OPTUNA_HOST: '{host}' is no host's name"):
                Database.mysql(settings)
        else:
            assert Database.mysql(settings).url.host == host

    def test_nobody_listens(self) -> None:
        settings = Environment(
            optuna_host="127.0.0.1", optuna_port=free_port(), optuna_user="u", optuna_database="d"
        )
        self.refused(settings, "cannot connect")

    @pytest.mark.parametrize(
        ("greeting", "message"),
        [
            (b"", r"lost connection .* check OPTUNA_HOST, OPTUNA_PORT and the server"),
            (
                b"SSH-2.0-OpenSSH_9.2p1\r\n",
                r"answers, but not as MySQL does — check OPTUNA_HOST and OPTUNA_PORT",
            ),
        ],
    )
    def test_the_port_of_another_service(
        self, greeting: bytes, message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ehrbench.infra.database.SILENCE_S", 1)
        with socket.create_server(("127.0.0.1", 0)) as service:

            def greet() -> None:
                with suppress(OSError):  # the end of the test
                    while True:
                        callers.append(service.accept()[0])
                        callers[-1].sendall(greeting)

            callers: list[socket.socket] = []
            threading.Thread(target=greet, daemon=True).start()
            port = service.getsockname()[1]
            settings = Environment(
                optuna_host="127.0.0.1", optuna_port=port, optuna_user="u", optuna_database="d"
            )
            self.refused(settings, message)
            for caller in callers:
                caller.close()

    def test_unknown_database(self, mariadb: MariaDb) -> None:
        self.refused(mariadb.settings("nowhere"), "no database nowhere")

    def test_an_account_of_another_database(self, mariadb: MariaDb) -> None:
        """The server does not tell it whether there is one."""
        mariadb.execute(
            f"CREATE USER 'narrow'@'%' IDENTIFIED BY '{PASSWORD}'", "GRANT ALL ON elsewhere.* TO 'narrow'@'%'"
        )
        said = "user narrow has no rights on a database nowhere — correct OPTUNA_DATABASE"
        self.refused(mariadb.settings("nowhere", user="narrow"), said)

    def test_read_only_user(self, mariadb: MariaDb) -> None:
        database = mariadb.database("readonly")
        with pytest.raises(StorageError, match="user reader may not write to readonly"):
            schema.ensure(Database.mysql(mariadb.settings("readonly", user="reader")).engine)
        schema.ensure(database.engine)
        reader = Database.mysql(mariadb.settings("readonly", user="reader"))
        schema.ensure(reader.engine)
        with pytest.raises(StorageError, match="may not write") as caught:
            write(reader.engine, lambda c: c.execute(schema.version.update().values(version=2)))
        assert "\n" not in str(caught.value)

    def test_the_server_without_tls_is_refused_when_tls_is_asked(self, mariadb: MariaDb) -> None:
        plain = mariadb.settings("test")
        settings = Environment(
            optuna_host=plain.optuna_host,
            optuna_port=plain.optuna_port,
            optuna_user=plain.optuna_user,
            optuna_password=plain.optuna_password,
            optuna_database="mysql",
            optuna_tls_ca="system",
        )
        self.refused(settings, "OPTUNA_TLS_CA")

    def test_tls_authority_that_cannot_be_read(self, tmp_path: Path) -> None:
        settings = Environment(
            optuna_host="h", optuna_user="u", optuna_database="d", optuna_tls_ca=str(tmp_path / "no.pem")
        )
        with pytest.raises(ConfigError, match="OPTUNA_TLS_CA"):
            Database.mysql(settings)

    def test_the_password_shows_nowhere(self, mariadb: MariaDb, caplog: pytest.LogCaptureFixture) -> None:
        database = mariadb.database("secret")
        with caplog.at_level(logging.DEBUG):
            schema.ensure(database.engine)
            storage = optuna_storage(database)
            try:
                write(database.engine, lambda c: c.execute(text("SELECT nonsense")))
            except Exception:
                shown = traceback.format_exc()
        shown += f"{database} {database!r} {database.engine} {database.url} {storage.url} {caplog.text}"
        assert PASSWORD not in shown
        assert str(Secret(PASSWORD)) == "'***'"

    def test_a_deadlock_is_retried(self, mariadb: MariaDb) -> None:
        database = mariadb.database("deadlock")
        mariadb.execute("CREATE TABLE deadlock.t (id INT PRIMARY KEY, n INT)")
        mariadb.execute("INSERT INTO deadlock.t VALUES (1, 0), (2, 0)")
        meet = threading.Barrier(2)
        attempts: list[int] = []

        def worker(first: int, second: int) -> None:
            mine: list[int] = []

            def work(connection: Connection) -> None:
                mine.append(1)
                connection.execute(text(f"UPDATE t SET n = n + 1 WHERE id = {first}"))
                if len(mine) == 1:
                    meet.wait(10)
                connection.execute(text(f"UPDATE t SET n = n + 1 WHERE id = {second}"))

            write(database.engine, work)
            attempts.append(len(mine))

        threads = [threading.Thread(target=worker, args=pair) for pair in ((1, 2), (2, 1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(attempts) == [1, 2]  # one was the victim, once
        assert mariadb.execute("SELECT n FROM deadlock.t") == [(2,), (2,)]

    def test_the_documented_account_is_enough(self, mariadb: MariaDb, tmp_path: Path) -> None:
        """docs/storage.md: its SQL, under another name than the session's own, and that account's tables."""
        page = (Path(__file__).parents[2] / "docs" / "storage.md").read_text()
        (sql,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
        sql = sql.replace("ehrbench", "clinic")
        mariadb.execute(*filter(None, (line.strip().rstrip(";") for line in sql.splitlines())))
        named = mariadb.settings("clinic", user="clinic")
        (password,) = re.findall(r"IDENTIFIED BY '(.*)'", sql)
        database = Database.mysql(replace(named, optuna_password=Secret(password)))
        database.check()
        SqlLedger(database.engine, FileArtifacts(tmp_path))
        optuna_storage(database)
        database.check_writable()
        database.engine.dispose()

    def test_composes_server_lets_a_plain_user_make_triggers(self, tmp_path: Path) -> None:
        """As MLflow does; MySQL 8 keeps a binary log unless told otherwise. Then, nobody may connect."""
        compose = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())
        server = MariaDb(tmp_path, "--log-bin", *compose["services"]["mysql"]["command"])
        try:
            server.execute(
                f"CREATE USER 'plain'@'%' IDENTIFIED BY '{PASSWORD}'", "GRANT ALL ON mlflow.* TO 'plain'@'%'"
            )
            server.database("mlflow").engine.dispose()
            database = Database.mysql(server.settings("mlflow", user="plain"))
            with database.engine.begin() as connection:
                connection.execute(text("CREATE TABLE t (n INT)"))
                connection.execute(text("CREATE TRIGGER one BEFORE UPDATE ON t FOR EACH ROW SET NEW.n = 1"))
                level = "SHOW VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')"
                assert {value for _, value in connection.execute(text(level))} == {"READ-COMMITTED"}
            database.engine.dispose()
            ((accounts,),) = server.execute(  # MariaDB's and MySQL's
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'mysql' "
                "AND table_type = 'BASE TABLE' AND table_name IN ('global_priv', 'user')"
            )
            server.execute(f"DELETE FROM mysql.{accounts}", "FLUSH PRIVILEGES")
            self.refused(
                server.settings("mlflow"), "no user may connect from this machine — CREATE USER ehrbench"
            )
        finally:
            server.stop()

    @staticmethod
    def refused(settings: Environment, message: str, patience_s: float = 0.5) -> None:
        with pytest.raises(StorageError, match=message) as caught:
            Database.mysql(settings).check(patience_s)
        assert "\n" not in str(caught.value)
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))
