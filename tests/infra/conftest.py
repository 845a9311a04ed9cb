"""Fixtures: a MariaDB for the session, and a fresh database for each test on every backend."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database
from ehrbench.infra.ledger import SqlLedger

from .ledger_conformance import Clock
from .servers import MariaDb


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    server = MariaDb(tmp_path_factory.mktemp("mariadb"))
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", pytest.param("mysql", marks=pytest.mark.server)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        database = Database.sqlite(tmp_path / "runs" / "ehrbench.db")
    else:
        database = request.getfixturevalue("mariadb").database(f"t{uuid.uuid4().hex[:12]}")
    yield database
    database.engine.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def artifacts(tmp_path: Path) -> FileArtifacts:
    return FileArtifacts(tmp_path / "artifacts")


@pytest.fixture
def ledger(database: Database, artifacts: FileArtifacts, clock: Clock) -> SqlLedger:
    """A ledger whose leases of 60 s run by ``clock``."""
    return SqlLedger(database.engine, artifacts, lease_s=60, max_attempts=3, clock=clock)
