"""Real servers for tests, on free loopback ports: MariaDB and MLflow. They can be killed and restarted."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pymysql
import pytest

from ehrbench.infra.database import Database
from ehrbench.infra.settings import Environment, Secret

PASSWORD = "p{a}:ss/w@rd%40"  # what breaks a URL or a format string
#: MySQL 8's default, stricter than MariaDB's.
SQL_MODE = "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def absent(what: str, remedy: str) -> None:
    """Skip, loudly; in CI, fail: there a missing server is a broken job, not a reason to test less."""
    message = f"{what} is not installed: the tests against a real server do NOT run — {remedy}"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(message)
    pytest.skip(message)


class Server(ABC):
    """A process on ``port``, with all it starts; ``stop`` lets it finish, ``kill`` does not."""

    process: subprocess.Popen[bytes] | None = None
    environment: ClassVar[dict[str, str]] = {}

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.answered = folder, free_port(), False

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def ready(self) -> bool: ...

    def start(self) -> None:
        """Wait until it answers; on another port, the first time, where somebody has just taken this one."""
        for _ in range(5):
            self._launch()
            assert self.process is not None
            if self.process.poll() is None:
                self.answered = True
                return
            said = (self.folder / "server.log").read_text(errors="replace")
            if self.answered or "address already in use" not in said.lower():
                raise RuntimeError(said[-2000:])
            (self.folder / "server.log").unlink()
            self.port = free_port()
        raise RuntimeError("five ports were taken, each before the server began")

    def _launch(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=os.environ | self.environment,
                start_new_session=True,
            )
        wait_until(lambda: self.ready() or self.process is None or self.process.poll() is not None, 240)

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(60)
            self.process = None

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)  # MLflow's answers come from a child of its own
            self.process.wait(60)
            self.process = None


class MariaDb(Server):
    """A MariaDB with an account ``ehrbench`` that may do everything and one ``reader`` that only reads."""

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder)
        self.options = options
        if not shutil.which("mariadbd") or not shutil.which("mariadb-install-db"):
            absent("mariadb-server", "apt-get install mariadb-server")
        install = ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal"]
        install += ["--skip-test-db", f"--datadir={folder / 'data'}", *self._as_root()]
        subprocess.run(install, check=True, capture_output=True)
        self.start()
        self.execute(
            f"CREATE USER 'ehrbench'@'%' IDENTIFIED BY '{PASSWORD}'",
            "GRANT ALL ON *.* TO 'ehrbench'@'%'",
            f"CREATE USER 'reader'@'%' IDENTIFIED BY '{PASSWORD}'",
            "GRANT SELECT ON *.* TO 'reader'@'%'",
        )

    @staticmethod
    def _as_root() -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []

    def command(self) -> list[str]:
        own = ["mariadbd", "--no-defaults", *self._as_root(), "--skip-name-resolve", "--max-connections=500"]
        own += [f"--datadir={self.folder / 'data'}", f"--socket={self.folder / 'm.sock'}"]
        return [
            *own,
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--pid-file={self.folder / 'm.pid'}",
            f"--sql-mode={SQL_MODE},NO_ENGINE_SUBSTITUTION",
            *self.options,
        ]

    def _connect(self) -> pymysql.Connection:
        address = {"host": "127.0.0.1", "port": self.port, "user": "root"}
        return pymysql.connect(**address, ssl_disabled=True, autocommit=True, read_timeout=60)

    def ready(self) -> bool:
        try:
            self._connect().close()
        except pymysql.err.OperationalError:
            return False
        return True

    def execute(self, *statements: str) -> list[tuple[object, ...]]:
        with self._connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def settings(self, name: str, user: str = "ehrbench", password: str = PASSWORD) -> Environment:
        return Environment(
            optuna_host="127.0.0.1",
            optuna_port=self.port,
            optuna_user=user,
            optuna_password=Secret(password),
            optuna_database=name,
        )

    def database(self, name: str) -> Database:
        self.execute(f"CREATE DATABASE IF NOT EXISTS {name}")
        return Database.mysql(self.settings(name))


class MlflowServer(Server):
    """``mlflow server`` over SQLite in ``folder``; without its job runner, which outlives it."""

    environment: ClassVar[dict[str, str]] = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        store = ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        files = ["--artifacts-destination", str(self.folder / "artifacts"), "--workers", "1"]
        return [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), *store, *files]

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def wait_until(true: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing happened within {timeout_s} s")
        time.sleep(0.05)
