"""MLflow as a copy of the ledger: in SQLite, in files, and behind a real ``mlflow server`` that is killed."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ehrbench.infra import tracking
from ehrbench.infra.mlflow_tracker import KEY_TAG, MlflowTracker
from ehrbench.infra.tracked_search import TrackedRun, TrackedSearch
from ehrbench.infra.tracking import Tracking

from .servers import MlflowServer, free_port, wait_until
from .tracked import CHOSEN, KEYS, N_EPOCHS, N_FOLDS, N_TRIALS, NAME, leave, open_search, spend

#: Less than one request to a server that never answers takes; what waits for none is done long before.
PATIENT_S = 25.0


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_EVERY_S", 0.2)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, whose making takes longer than any test that fills them."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)
    return path


@pytest.fixture
def sqlite_uri(tmp_path: Path, empty_store: Path) -> str:
    return f"sqlite:///{shutil.copy(empty_store, tmp_path)}"


def all_runs(client: Any, experiment: str = "e") -> list[Any]:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id]))


def check_search(
    uri: str, experiment: str = "e", *, finished: bool = True, passed_over: Sequence[int] = ()
) -> None:
    """Every trial and metric is there, once, as they should be.

    passed_over: trials that were chosen before others were better.
    """
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    runs = all_runs(client, experiment)
    by_key = {run.data.tags[KEY_TAG]: run for run in runs}
    assert len(by_key) == len(runs) == 1 + len(KEYS) * N_TRIALS
    whole = by_key[NAME]
    assert whole.info.run_name == NAME
    assert whole.data.tags["cohort"] == "simulated"
    assert whole.data.tags["budget"] == f"mlp {N_TRIALS}"
    assert whole.info.status == ("FINISHED" if finished else "RUNNING")
    starts, ends = [], []
    for number in range(N_TRIALS):
        for key in KEYS:
            run = by_key[f"{key}/trial{number}"]
            starts.append(run.info.start_time)
            ends.append(run.info.end_time)
            chosen = finished and number == CHOSEN
            assert run.data.tags.get("chosen") == ("yes" if chosen else None)
            check_trial(client, run, number, curved=chosen or number in passed_over)
            assert run.data.tags["mlflow.parentRunId"] == whole.info.run_id
    assert starts == sorted(starts)
    assert all(end >= start for start, end in zip(starts, ends, strict=True))
    if finished:
        assert whole.data.metrics == {"auroc": 0.75, "mlp.auroc": 0.7}
        assert {file.path for file in client.list_artifacts(whole.info.run_id)} >= {"summary.json", "figures"}
        (model,) = client.search_logged_models([whole.info.experiment_id])
        assert (model.source_run_id, model.status) == (whole.info.run_id, "READY")


def check_trial(client: Any, run: Any, number: int, *, curved: bool) -> None:
    assert run.data.params == {"model": "mlp", "lr": str(0.1 * number), "norm": "layer"}
    assert run.data.tags["state"] == ("failed" if number == 1 else "complete")
    assert run.info.status == ("FAILED" if number == 1 else "FINISHED")
    courses = {f"valid_loss.fold{fold}": N_EPOCHS for fold in range(N_FOLDS if curved else 0)}
    of_folds = [f"{name}.fold{fold}" for name in ("inner_auroc", "best_step") for fold in range(N_FOLDS)]
    plain = ["seconds", *([] if number == 1 else [*of_folds, "inner_auroc"])]
    assert set(run.data.metrics) == {*plain, *courses}
    for name in run.data.metrics:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
        assert sorted(steps) == list(range(courses.get(name, 1)))


def track(uri: str, folder: Path, experiment: str = "e") -> Tracking:
    return Tracking(MlflowTracker(uri, experiment), open_search(folder))


def test_sqlite_store(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = track(uri, tmp_path)
    spend(open_search(tmp_path))
    assert tracker.close(leave(tmp_path), 300)
    check_search(uri)
    assert (tmp_path / "mlartifacts").is_dir()
    assert capfd.readouterr() == ("", "")  # no banner, no git warning, no migration log


def test_a_disk_that_is_full_while_the_store_is_made_costs_nothing(tmp_path: Path) -> None:
    """MLflow alone would leave tables that no later start of it accepts."""
    spend(open_search(tmp_path))
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    search = multiprocessing.get_context("spawn").Process(target=track_on_a_full_disk, args=(uri, tmp_path))
    search.start()
    search.join()
    assert search.exitcode == 0
    assert track(uri, tmp_path).close(leave(tmp_path), 300)
    check_search(uri)
    assert not (tmp_path / "mlflow.db.draft").exists()


def track_on_a_full_disk(uri: str, folder: Path) -> None:
    """A search whose files may not grow above 300 kB: less than MLflow's tables take."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    tracker = track(uri, folder)
    wait_until(lambda: tracker._away, 240)
    assert not tracker.close(timeout_s=1)


class Dying:
    """MLflow's client, whose answer to the ``last`` call that writes is lost."""

    def __init__(self, client: Any, last: int) -> None:
        self.client, self.left = client, last

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.client, name)
        if not name.startswith(("create", "log_", "set_", "update", "finalize", "delete")):
            return call

        def calling(*arguments: Any, **named: Any) -> Any:
            answer = call(*arguments, **named)
            self.left -= 1
            if self.left == 0:
                raise ConnectionError("no answer")
            return answer

        return calling


class DyingTracker(MlflowTracker):
    def __init__(self, uri: str, last: int) -> None:
        super().__init__(uri, "e")
        self.last = last

    def _connect(self) -> Any:
        return Dying(super()._connect(), self.last)


@pytest.mark.parametrize("store", ["files", "sqlite"])
def test_whatever_call_a_process_dies_in_leaves_everything_once(
    store: str, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store of files keeps whatever it is given as often as it is given it."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    if store == "sqlite":
        uri = f"sqlite:///{shutil.copy(empty_store, tmp_path)}"
    search = open_search(tmp_path)
    spend(search, 2)
    died = 0
    for last in range(1, 9):
        with suppress(ConnectionError):
            DyingTracker(uri, last).catch_up(search)
    spend(search, 2)
    found = search.finished(leave(tmp_path))
    for last in range(1, 200):
        try:
            DyingTracker(uri, last).catch_up(found)
        except ConnectionError:
            died += 1
        else:
            break
    assert died > 5
    check_search(uri)


def test_nothing_is_written_again(tmp_path: Path, sqlite_uri: str) -> None:
    search = open_search(tmp_path)
    spend(search)
    found = search.finished(leave(tmp_path))
    MlflowTracker(sqlite_uri, "e").catch_up(found)
    DyingTracker(sqlite_uri, 1).catch_up(found)


def test_runs_that_two_processes_made_at_once_become_one(tmp_path: Path, sqlite_uri: str) -> None:
    """Of a database that has lost a connection, and with it the lock."""
    search = open_search(tmp_path)
    spend(search)
    one, other = MlflowTracker(sqlite_uri, "e"), MlflowTracker(sqlite_uri, "e")
    other.catch_up(search)
    other._look = lambda search: None  # type: ignore[method-assign]
    other.forget()
    other.catch_up(search)
    assert len(all_runs(other._client)) == 2 * (1 + len(KEYS) * N_TRIALS)
    one.catch_up(search.finished(leave(tmp_path)))
    check_search(sqlite_uri)


def test_searches_of_one_name_in_two_ledgers_are_two(tmp_path: Path, sqlite_uri: str) -> None:
    for folder in (tmp_path / "one", tmp_path / "other"):
        search = open_search(folder, identity=folder.name)
        spend(search, 1)
        MlflowTracker(sqlite_uri, "e").catch_up(search)
    from mlflow import MlflowClient

    assert len(all_runs(MlflowClient(sqlite_uri))) == 2 * (1 + len(KEYS))


def test_workers_of_one_search_write_it_once(tmp_path: Path, sqlite_uri: str, monkeypatch) -> None:
    monkeypatch.setattr(tracking, "_TURN_S", 0.5)
    trackers = [track(sqlite_uri, tmp_path) for _ in range(3)]
    for _ in range(N_TRIALS):
        spend(open_search(tmp_path), 1)
        time.sleep(1)
    first, *others = trackers
    assert all(other.close(timeout_s=300) for other in others)
    check_search(sqlite_uri, finished=False)
    assert first.close(leave(tmp_path), 300)
    check_search(sqlite_uri)


def test_a_search_that_is_judged_again_shows_the_new_figures(tmp_path: Path, sqlite_uri: str) -> None:
    """And the trial that is chosen now, as one of a greater budget may be."""
    search = open_search(tmp_path)
    spend(search, CHOSEN)
    tracker = MlflowTracker(sqlite_uri, "e")
    tracker.catch_up(search.finished(leave(tmp_path, auroc=0.5, ticket=0)))
    spend(search, N_TRIALS - CHOSEN)
    tracker.catch_up(search)
    assert [run.info.status for run in all_runs(tracker._client) if run.info.run_name == NAME] == ["RUNNING"]
    tracker.catch_up(search.finished(leave(tmp_path)))
    check_search(sqlite_uri, passed_over=[0])


def test_a_look_that_finds_nothing_new_reads_no_trial(tmp_path: Path) -> None:
    search = open_search(tmp_path)
    spend(search)
    held = {run.key for run in search.trials(())}
    assert len(held) == len(KEYS) * N_TRIALS
    assert list(search.trials(held)) == []
    assert [run.key for run in search.trials(held - {f"{KEYS[0]}/trial3"})] == [f"{KEYS[0]}/trial3"]


class Busy(BaseHTTPRequestHandler):
    """A server that answers everything with ``code``: 507 when its disk is full."""

    code = 507

    def answer(self) -> None:
        body = b'{"error_code": "INTERNAL_ERROR", "message": "No space left on device"}'
        self.send_response(self.code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = answer

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Broken(Busy):
    code = 500


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def answering(handler: type[Busy]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("server", [silent, partial(answering, Busy), partial(answering, Broken)])
def test_a_server_that_takes_nothing_delays_nothing_and_loses_nothing(
    server: Callable[[], AbstractContextManager[str]], tmp_path: Path, sqlite_uri: str
) -> None:
    with server() as uri:
        started = time.perf_counter()
        tracker = track(uri, tmp_path)
        assert time.perf_counter() - started < PATIENT_S
        spend(open_search(tmp_path))
        time.sleep(1)
        started = time.perf_counter()
        assert not tracker.close(leave(tmp_path), 1)
        assert time.perf_counter() - started < PATIENT_S
    MlflowTracker(sqlite_uri, "e").catch_up(open_search(tmp_path).finished(leave(tmp_path)))
    check_search(sqlite_uri)


def test_a_server_that_is_down_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not a line of urllib3's for each attempt."""
    tracker = track(f"http://127.0.0.1:{free_port()}", tmp_path)
    wait_until(lambda: tracker._away, 60)
    time.sleep(2)
    assert not tracker.close(timeout_s=20)
    assert [record.name for record in caplog.records] == ["ehrbench.infra.tracking"]


class OddSearch(TrackedSearch):
    def whole(self) -> TrackedRun:
        """With parameters that MLflow takes for one, and two values of it."""
        plain = super().whole()
        return TrackedRun(**{**vars(plain), "params": {"odd %": "1", "odd &": "2"}})


def test_what_is_refused_blocks_nothing(tmp_path: Path, sqlite_uri: str, caplog) -> None:
    search = open_search(tmp_path)
    spend(search)
    found = search.finished(leave(tmp_path))
    MlflowTracker(sqlite_uri, "e").catch_up(OddSearch(**vars(found)))
    assert "MLflow refuses a part of run it's s" in caplog.text
    check_search(sqlite_uri)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    shutil.copy(empty_store, server.folder)
    server.start()
    yield server
    server.stop()


@pytest.mark.server
class TestServer:
    def test_killed_for_a_while(self, tmp_path: Path, server: MlflowServer) -> None:
        tracker, search = track(server.uri, tmp_path), open_search(tmp_path)
        spend(search, 1)
        mlflow = tracker.tracker
        assert isinstance(mlflow, MlflowTracker)
        wait_until(lambda: len(mlflow._shown) > 1, 300)
        server.kill()
        spend(search, 1)
        wait_until(lambda: tracker._away, 120)
        server.start()
        spend(search, 2)
        assert tracker.close(leave(tmp_path), 300)
        check_search(server.uri)

    def test_a_killed_process_is_caught_up_with(self, tmp_path: Path, server: MlflowServer) -> None:
        """SIGKILL while it writes; the next process finishes, once."""
        code = (
            "import sys, time; from pathlib import Path\n"
            "from ehrbench.infra import tracking\n"
            "from tests.infra.test_tracking import open_search, spend, track\n"
            "tracking._EVERY_S = 0.2\n"
            "folder = Path(sys.argv[2])\n"
            "t = track(sys.argv[1], folder, 'crash')\n"
            "for i in range(3): spend(open_search(folder), 1); print('.', flush=True); time.sleep(0.5)\n"
            "time.sleep(600)\n"
        )
        where = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        arguments = [sys.executable, "-c", code, server.uri, str(tmp_path)]
        from mlflow import MlflowClient

        client = MlflowClient(server.uri)
        with subprocess.Popen(arguments, env=where, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(3):
                assert process.stdout.readline()
            wait_until(lambda: client.get_experiment_by_name("crash") is not None, 300)
            wait_until(lambda: len(all_runs(client, "crash")) > 2, 300)
            process.send_signal(signal.SIGKILL)
        spend(open_search(tmp_path), 1)
        assert track(server.uri, tmp_path, "crash").close(leave(tmp_path), 300)
        check_search(server.uri, "crash")
