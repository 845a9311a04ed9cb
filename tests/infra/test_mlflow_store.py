"""MLflow's address, and its store of one file: of any name, and where it lies now."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ehrbench.core.errors import ConfigError
from ehrbench.infra.mlflow_store import make_store, sqlite_address, sqlite_path, tracking_address
from ehrbench.infra.mlflow_tracker import MlflowTracker

from .tracked import leave, open_search


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fresh") / "mlflow.db"
    make_store(path)
    return path


def track(runs: Path, key: str) -> None:
    """One search with one file, in the store of a runs folder."""
    run = leave(runs)
    (run / "report.html").write_text(f"of {key}", encoding="utf-8")
    search = replace(open_search(runs).finished(run), identity=key)
    search = replace(search, about={**search.about, "study_name": key})
    MlflowTracker(tracking_address(None, runs, "tracker.mlflow.uri"), "e").catch_up(search)


def notes(runs: Path) -> dict[str, str]:
    """What MLflow finds: run -> its artifact's text."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=sqlite_address(runs / "mlflow.db"))
    experiment: Any = client.get_experiment_by_name("e")
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        place = Path(client.download_artifacts(run.info.run_id, "report.html"))
        found[str(run.info.run_name)] = place.read_text(encoding="utf-8")
    return found


@pytest.fixture
def tracked(store: Path, tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    runs.mkdir()
    shutil.copy(store, runs)
    track(runs, "first")
    return runs


def test_a_moved_store_has_its_artifacts_beside_it(tracked: Path, tmp_path: Path) -> None:
    moved = tracked.rename(tmp_path / "moved")
    track(moved, "second")
    assert notes(moved) == {"first": "of first", "second": "of second"}
    assert not tracked.exists()
    assert len(list((moved / "mlartifacts").rglob("report.html"))) == 2


def test_a_copied_store_leaves_the_other_alone(tracked: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tracked, tmp_path / "copy")
    track(copy, "second")
    (tracked / "mlartifacts").rename(tmp_path / "gone")
    assert notes(copy) == {"first": "of first", "second": "of second"}
    (tmp_path / "gone").rename(tracked / "mlartifacts")
    assert notes(tracked) == {"first": "of first"}


def test_artifacts_that_stayed_behind_are_found_where_they_are(tracked: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(tracked / "mlflow.db", alone)
    track(alone, "second")
    assert notes(alone) == {"first": "of first", "second": "of second"}
    assert len(list((alone / "mlartifacts").rglob("report.html"))) == 1


def test_a_store_behind_a_link_is_one_store(tracked: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tracked)
    track(tmp_path / "link", "second")
    (tmp_path / "link").unlink()
    assert notes(tracked) == {"first": "of first", "second": "of second"}


@pytest.mark.parametrize(
    "name", ["50%", "p%20q", "que?stion", "ha#sh", "[br]", "ü {b}", "it's a:b@c&d=e;f+g"]
)
def test_a_store_of_any_name(name: str, store: Path, tmp_path: Path) -> None:
    runs = tmp_path / name
    runs.mkdir()
    shutil.copy(store, runs)
    assert sqlite_path(sqlite_address(runs / "mlflow.db")) == runs / "mlflow.db"
    track(runs, "first")
    assert notes(runs) == {"first": "of first"}
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "address",
    [
        *(
            "localhost:5000",
            "127.0.0.1:5000/x",
            "./mlruns",
            "mlruns",
            "/a/mlruns",
            "file:///a/mlruns",
            "htp://h",
        ),
        *("http://", "http:///x", "http://h:port", "http://h:0", "http://a b", "h", ":5000"),
        *("sqlite://x.db", "sqlite:///", "sqlite:///:memory:", "sqlite:x.db", "mysql://"),
    ],
)
def test_what_can_be_no_address_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        tracking_address(address, tmp_path, "tracker.mlflow.uri")
    assert str(refused.value).startswith(
        f"tracker.mlflow.uri: {address!r} is no address that MLflow keeps runs at — "
    )
    assert (f"http://{address}" in str(refused.value)) == (address in ("localhost:5000", "127.0.0.1:5000/x"))


@pytest.mark.parametrize(
    "address",
    [
        *("http://h:5000", "https://h/x", "databricks", "databricks://p", "postgresql://h/d"),
        *("mysql+pymysql://h/d", "sqlite:///x.db?timeout=9", "sqlite:////a/b.db"),
    ],
)
def test_addresses_that_can_be(address: str, tmp_path: Path) -> None:
    assert tracking_address(address, tmp_path, "tracker.mlflow.uri") == address


def test_a_file_s_address_is_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking_address("sqlite:///x.db", tmp_path, "k") == f"sqlite:///{tmp_path}/x.db"
    assert tracking_address(None, Path("/r 1"), "k") == "sqlite:////r 1/mlflow.db"
