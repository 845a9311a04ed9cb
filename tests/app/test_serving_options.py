"""``ehrbench serve`` and ``load-test`` as commands, on a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehrbench.app.command.cli import main
from ehrbench.app.command.serving_options import PASSWORD, store_database
from ehrbench.core.errors import ConfigError
from tests.runtime.conftest import toy_bundle
from tests.serve.conftest import running


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("served") / "bundle", "binary")


def test_a_load_test_says_how_fast_and_whether_that_is_enough(
    bundle: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with running(bundle) as client:
        url = str(client.base_url)
        assert main(["load-test", url, "--clients", "2", "--seconds", "0.5", "--p99", "10000"]) == 0
        said = capsys.readouterr().out
        assert "2 clients" in said
        assert "p99" in said
        assert "requirement met: p99 at most 10000 ms, no error" in said
        assert main(["load-test", url, "--seconds", "0.5", "--p99", "0.001"]) == 1
        assert "above 0.001 ms" in capsys.readouterr().err
        (tmp_path / "wrong.txt").write_text("p7,x,1,1")
        assert main(["load-test", url, "--seconds", "0.2", "--body", str(tmp_path / "wrong.txt")]) == 1
        captured = capsys.readouterr()
        assert "status 422" in captured.out
        assert "requests failed" in captured.err
    assert main(["load-test", url]) == 2
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keep-inputs"], "--keep-inputs: there is no store"),
        (["--store", "kept.db", "--host", "0.0.0.0"], "--api-keys: anybody who reaches 0.0.0.0"),
        (["--store", "mysql://a:b@host/kept"], f"--store: holds a password.*{PASSWORD}"),
        (["--store", "postgresql://host/kept"], "names no MySQL database"),
        (["--store", "kept.db", "--retention-days", "0"], "serve.retention_days: 0 days keep nothing"),
        (["--api-keys", "nowhere.txt"], "nowhere.txt: cannot be read"),
        (["--rate", "-1"], "serve.rate: -1.0 is negative"),
    ],
)
def test_options_that_do_not_go_together(
    bundle: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    import re

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EHRBENCH_API_KEYS", raising=False)
    assert main(["serve", "--bundle", str(bundle), *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_store_is_a_file_or_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "p{a}:ss")
    assert store_database(str(tmp_path / "kept.db")).url.database == str(tmp_path / "kept.db")
    server = store_database("mysql://ehrbench@db.example:3307/kept")
    assert (server.url.host, server.url.port, server.url.drivername) == (
        "db.example",
        3307,
        "mysql+pymysql",
    )
    assert server.connect_args["password"] == "p{a}:ss"
    assert "ss" not in str(server)
    with pytest.raises(ConfigError, match="--store"):
        store_database("mysql://host")
