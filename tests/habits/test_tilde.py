"""``~`` is the home folder wherever a place is named: shells fill it in at some places and not at others."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from ehrbench.app.command.cli import main
from ehrbench.app.composed.blocks import Settings
from ehrbench.app.composed.checking import check
from ehrbench.app.composed.conf import CONF
from ehrbench.app.composed.entry import resolved, spell_out
from ehrbench.app.composed.overrides import as_texts
from ehrbench.core.errors import ConfigError
from ehrbench.core.places import home, place
from ehrbench.infra.settings import Environment
from ehrbench.publishers.caching import cache_folder
from tests.habits.conftest import SMALL, start


@pytest.fixture
def at_home(tmp_path, monkeypatch) -> Path:
    """A home of one's own, and a folder to work in."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def checked(*arguments: str) -> Settings:
    with initialize_config_dir(str(CONF)):
        return check(resolved(compose("config", as_texts(spell_out([*SMALL, *arguments])))))


def test_every_place_of_a_configuration(at_home, monkeypatch):
    monkeypatch.setenv("LOGS_DIR", "~/logs")
    monkeypatch.setenv("ARTIFACTS_URL", "~/artifacts")
    monkeypatch.setenv("CHECKPOINTS_DIR", "~/models")
    monkeypatch.setenv("EHRBENCH_DATA", "~/data")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///~/tracked.db")
    settings = checked("runs_dir=~/runs", "protocol=file", "protocol.path=~", "tracker=mlflow")
    found = {
        *(settings.runs_dir, settings.logs_dir, settings.data.root, settings.protocol.path),
        *(settings.storage.path, settings.storage.artifacts, settings.storage.checkpoints),
        settings.tracker.mlflow.uri,
    }
    names = ("runs", "logs", "data", "", "runs/ehrbench.db", "artifacts", "models")
    assert found == {str(at_home / name) for name in names} | {f"sqlite:///{at_home}/tracked.db"}


def test_every_place_of_the_environment(at_home):
    named = {name: f"~/{name}" for name in ("ARTIFACTS_URL", "CHECKPOINTS_DIR", "LOGS_DIR", "EHRBENCH_DATA")}
    settings = Environment.read(None, named | {"OPTUNA_TLS_CA": "~/ca.pem"})
    assert settings.artifacts_url == str(at_home / "ARTIFACTS_URL")
    assert settings.checkpoints_dir == str(at_home / "CHECKPOINTS_DIR")
    assert settings.logs_dir == str(at_home / "LOGS_DIR")
    assert settings.ehrbench_data == str(at_home / "EHRBENCH_DATA")
    assert settings.optuna_tls_ca == str(at_home / "ca.pem")
    assert Environment.read(None, {"ARTIFACTS_URL": "s3://~/x"}).artifacts_url == "s3://~/x"


def test_the_cache_and_an_argument_that_no_shell_fills_in(at_home, monkeypatch, capsys):
    monkeypatch.setenv("EHRBENCH_CACHE", "~/cache")
    assert cache_folder(Path("data")) == at_home / "cache"
    assert main(["data", "simulate", "mortality", "--records", "20", "--root=~/data"]) == 0
    assert main(["data", "describe", "mortality", "--root=~/data"]) == 0
    assert (at_home / "data" / "physionet2012").is_dir()
    assert list(Path.cwd().iterdir()) == []
    for command in (
        ["report", "~/none"],
        ["study", "status", "--runs-dir=~/none"],
        ["serve", "--bundle=~/none"],
    ):
        capsys.readouterr()
        assert main(command) == 2
        assert f"{at_home / 'none'}" in capsys.readouterr().err


def test_a_search_with_workers_of_its_own(at_home, simulated):
    shutil.copytree(simulated, at_home / "data")
    env_file = "EHRBENCH_DATA=~/data\nLOGS_DIR=~/logs\nEHRBENCH_CACHE=~/cache\n"
    (Path.cwd() / ".env").write_text(env_file, encoding="utf-8")
    named = ["study_name=s", "runs_dir=~/runs", "workers=2"]
    code, _, error = start("search.py", *SMALL, *named, folder=Path.cwd())
    assert code == 0, error
    assert (at_home / "runs" / "s" / "report.html").is_file()
    assert (at_home / "logs" / "s" / "worker-1.log").is_file()
    assert (at_home / "cache").is_dir()
    assert [path.name for path in Path.cwd().iterdir()] == [".env"]
    assert not list(at_home.rglob("~*"))
    assert main(["certify", "~/runs/s"]) == 0


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        (
            "~nobody-of-that-name/x",
            "~nobody-of-that-name is the home folder of nobody — write the folder in full",
        ),
        ("x" * 260, r"a name of 260 bytes is too long \(x+…\) — file systems take 255"),
        ("a\0b", "holds a NUL and names no file — take it out"),
    ],
)
def test_what_names_no_place_is_told_with_its_key(named, problem, at_home):
    with pytest.raises(ConfigError, match=f"^runs_dir: .*{problem}"):
        place(named, "runs_dir")
    with pytest.raises(ConfigError, match=f"LOGS_DIR: .*{problem}"):
        Environment.read(None, {"LOGS_DIR": named})


def test_a_name_that_begins_with_a_tilde_is_written_with_its_folder(at_home):
    assert place("./~x", "k") == Path.cwd() / "~x"
    assert home("./~x", "k") == Path.cwd() / "~x"
    assert home("a/~", "k") == Path("a/~")
    assert os.fspath(home("~", "k")) == str(at_home)
