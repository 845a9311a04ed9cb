"""TLS to the database: OPTUNA_TLS_CA checks who answers, and says so when it is somebody else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ehrbench.core.errors import ConfigError, StorageError
from ehrbench.infra import schema
from ehrbench.infra.database import Database, read

from .servers import PASSWORD, MariaDb

pytestmark = pytest.mark.server


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def make_authority(folder: Path, name: str) -> None:
    """``<name>.pem`` and its key."""
    key, certificate = str(folder / f"{name}-key.pem"), str(folder / f"{name}.pem")
    subject = ["-subj", f"/CN={name}", "-days", "2", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *subject)


def make_certificate(folder: Path, authority: str) -> None:
    """``server.pem`` for 127.0.0.1, signed by ``authority``."""
    key, request = str(folder / "server-key.pem"), str(folder / "server.csr")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=server")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    signed_by = ["-CA", str(folder / f"{authority}.pem"), "-CAkey", str(folder / f"{authority}-key.pem")]
    signed = ["-in", request, "-out", str(folder / "server.pem"), "-extfile", str(folder / "names")]
    openssl("x509", "-req", "-CAcreateserial", "-days", "2", *signed_by, *signed)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_authority(folder, "ours")
    make_authority(folder, "another")
    make_certificate(folder, "ours")
    return folder


@pytest.fixture(scope="module")
def server(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    files = {"cert": "server.pem", "key": "server-key.pem", "ca": "ours.pem"}
    options = [f"--ssl-{name}={certificates / file}" for name, file in files.items()]
    server = MariaDb(tmp_path_factory.mktemp("mariadb-tls"), *options)
    server.execute(
        f"CREATE USER 'careful'@'%' IDENTIFIED BY '{PASSWORD}' REQUIRE SSL",
        "GRANT ALL ON *.* TO 'careful'@'%'",
        "CREATE DATABASE tls",
    )
    yield server
    server.stop()


def test_the_right_authority(server: MariaDb, certificates: Path) -> None:
    settings = replace(server.settings("tls", user="careful"), optuna_tls_ca=str(certificates / "ours.pem"))
    database = Database.mysql(settings)
    database.check()
    schema.ensure(database.engine)
    query = "SHOW SESSION STATUS LIKE 'Ssl_cipher'"
    assert read(database.engine, lambda c: c.exec_driver_sql(query).one())[1]
    database.engine.dispose()


@pytest.mark.parametrize("authority", ["another.pem", "system"])
def test_another_authority_is_refused(authority: str, server: MariaDb, certificates: Path) -> None:
    ca = authority if authority == "system" else str(certificates / authority)
    said = refused(replace(server.settings("tls"), optuna_tls_ca=ca))
    assert "certificate verify failed" in said
    assert "OPTUNA_TLS_CA" in said


def test_another_host_is_refused(server: MariaDb, certificates: Path) -> None:
    settings = replace(server.settings("tls"), optuna_tls_ca=str(certificates / "ours.pem"))
    said = refused(replace(settings, optuna_host="localhost"))  # the certificate names 127.0.0.1
    assert "ostname mismatch" in said


def test_no_certificates_at_all(server: MariaDb, certificates: Path) -> None:
    with pytest.raises(ConfigError, match="name a PEM file, or 'system'"):
        Database.mysql(replace(server.settings("tls"), optuna_tls_ca=str(certificates / "names")))


def refused(settings) -> str:
    with pytest.raises(StorageError) as caught:
        Database.mysql(settings).check(patience_s=0.5)
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)
