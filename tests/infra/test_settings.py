"""Settings: the environment over ``.env``, and secrets that do not print."""

from __future__ import annotations

import pickle
import traceback
from pathlib import Path

import pytest

from ehrbench.core.errors import ConfigError
from ehrbench.infra.settings import Environment, Secret


def test_environment_wins_over_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "OPTUNA_HOST=filehost\nOPTUNA_PORT=3307\nOPTUNA_PASSWORD='pa$$ #{x}'\nAWS_DEFAULT_REGION=\n"
    )
    settings = Environment.read(file, {"OPTUNA_HOST": "envhost", "OPTUNA_PORT": ""})
    assert (settings.optuna_host, settings.optuna_port) == ("envhost", 3307)
    assert settings.optuna_password.reveal() == "pa$$ #{x}"
    assert settings.aws_default_region == ""


def test_no_file(tmp_path: Path) -> None:
    assert Environment.read(tmp_path / "none", {}).optuna_port == 3306


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("# Zürich\nOPTUNA_HOST=h\nOPTUNA_PASSWORD=hüfte\n".encode("cp1252"), "line 1 is not UTF-8"),
        ("OPTUNA_HOST=h\nOPTUNA_PASSWORD=hüfte\n".encode("cp1252"), "line 2 is not UTF-8"),
        ("OPTUNA_PASSWORD=hunter2\n".encode("utf-16"), "line 1 is not UTF-8"),
        ("OPTUNA_PASSWORD=hunter2\n".encode("utf-16-le"), "is not UTF-8 (it holds NUL, as UTF-16 does)"),
        (b"OPTUNA_PASSWORD=hunter2\0\n", "is not UTF-8 (it holds NUL, as UTF-16 does)"),
    ],
)
def test_a_file_in_another_encoding(content: bytes, problem: str, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(content)
    for reading in (Environment.read, Environment.load):
        with pytest.raises(ConfigError) as refused:
            reading(file, {})
        assert str(refused.value) == f"{file}: {problem} — save it as UTF-8 text"


def test_a_file_that_windows_marked_as_utf8(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes("OPTUNA_HOST=hüfte\n".encode("utf-8-sig"))
    assert Environment.read(file, {}).optuna_host == "hüfte"


def test_a_variable_that_is_no_text() -> None:
    with pytest.raises(ConfigError, match=r"OPTUNA_PASSWORD: is no text in utf-8") as refused:
        Environment.read(None, {"OPTUNA_PASSWORD": "hunter\udcff"})
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize("port", ["x", "0", "70000", "-1", "3_306", "３３０６"])
def test_port(port: str) -> None:
    with pytest.raises(ConfigError, match="OPTUNA_PORT"):
        Environment.read(None, {"OPTUNA_PORT": port})


def test_secrets_do_not_print() -> None:
    settings = Environment(optuna_password=Secret("hunter2"), aws_secret_access_key=Secret("hunter3"))
    assert "hunter" not in f"{settings} {settings!r} {settings.optuna_password}"
    with pytest.raises(TypeError):
        pickle.dumps(settings)


def test_loading_fills_in_what_the_environment_leaves_open_and_takes_out_what_is_empty(
    tmp_path: Path,
) -> None:
    """``oc.env`` of the configuration takes an empty variable for a value."""
    file = tmp_path / ".env"
    file.write_text("OPTUNA_HOST=filehost\nOPTUNA_PASSWORD='p${HOME}'\nARTIFACTS_URL=\nLOGS_DIR=logs\nX=1\n")
    environ = {"OPTUNA_HOST": "envhost", "MLFLOW_TRACKING_URI": "", "LOGS_DIR": "", "HOME": "/home/me"}
    settings = Environment.load(file, environ)
    assert (settings.optuna_host, settings.logs_dir) == ("envhost", "logs")
    assert settings.optuna_password.reveal() == "p${HOME}"
    given = {"OPTUNA_HOST": "envhost", "OPTUNA_PASSWORD": "p${HOME}", "LOGS_DIR": "logs", "X": "1"}
    assert environ == given | {"HOME": "/home/me"}


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("MLFLOW_TRACKING_URI", "https://me:hunter2@mlflow.invalid/x"),
        ("MLFLOW_TRACKING_URI", "https://hunter2@mlflow.invalid"),
        ("MLFLOW_TRACKING_URI", "mysql+pymysql://me:hunter2/@db.invalid/mlflow"),
        ("ARTIFACTS_URL", "s3://AKIA:hunter2@bucket/x"),
        ("CHECKPOINTS_DIR", "sftp://me:hunter2@host/x"),
    ],
)
def test_an_address_with_a_password_is_refused_and_not_shown(name: str, address: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: holds a user or password") as caught:
        Environment.read(None, {name: address})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("address", ["http://host:5000/x", "sqlite:////tmp/a@b/x.db", "/a@b/c", "s3://b/p:q"])
def test_addresses_without_one(address: str) -> None:
    assert Environment.read(None, {"MLFLOW_TRACKING_URI": address}).mlflow_tracking_uri == address


def test_require_names_the_variable() -> None:
    with pytest.raises(ConfigError, match="OPTUNA_USER"):
        Environment(optuna_host="h").require("optuna_host", "optuna_user")
    assert "hunter" not in traceback.format_exc()


def test_object_store_options() -> None:
    settings = Environment(aws_access_key_id="id", aws_secret_access_key=Secret("s"), aws_default_region="eu")
    assert settings.object_store_options() == {
        "key": "id",
        "secret": "s",
        "client_kwargs": {"region_name": "eu"},
    }
    assert Environment().object_store_options() == {}
