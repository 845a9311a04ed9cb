"""MlflowTracker against SQLite and against a real ``mlflow server`` that is killed and started again."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ehrbench.infra.spool import Spool
from ehrbench.infra.tracking import MlflowTracker

from .servers import MlflowServer, free_port, wait_until

N_TRIALS, N_STEPS = 6, 10
#: Less than one request to a server that never answers takes; what waits for none is done long before.
PATIENT_S = 25.0


def track_search(tracker: MlflowTracker, folder: Path, first: int = 0, last: int = N_TRIALS) -> None:
    tracker.run("s", name="search", tags={"cohort": "simulated"})
    for i in range(first, last):
        key = f"s/ssm/{i}"
        tracker.run(key, name=f"trial {i}", parent="s")
        tracker.params(key, {"lr": 0.1 * i, "norm": "layer"})
        for step in range(N_STEPS):
            tracker.metrics(key, {"fold/auroc": 0.5 + step / 100}, step)
        plot = folder / "plot.txt"
        plot.write_text(f"plot of {i}")
        tracker.artifact(key, plot, "plots")
        plot.write_text("overwritten at once")
        tracker.end(key)


def check_search(uri: str, experiment: str = "e") -> None:
    """Every trial and metric is there, once."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    runs = all_runs(client, experiment)
    by_key = {run.data.tags["ehrbench.key"]: run for run in runs}
    assert len(by_key) == len(runs) == N_TRIALS + 1
    assert by_key["s"].data.tags["cohort"] == "simulated"
    for i in range(N_TRIALS):
        run = by_key[f"s/ssm/{i}"]
        assert run.data.tags["mlflow.parentRunId"] == by_key["s"].info.run_id
        assert run.data.params == {"lr": str(0.1 * i), "norm": "layer"}
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "fold/auroc")
        assert [(m.step, m.value) for m in history] == [(s, 0.5 + s / 100) for s in range(N_STEPS)]
        assert [f.path for f in client.list_artifacts(run.info.run_id, "plots")] == ["plots/plot.txt"]
    place = client.download_artifacts(by_key["s/ssm/3"].info.run_id, "plots/plot.txt")
    assert Path(place).read_text() == "plot of 3"


def all_runs(client: Any, experiment: str) -> list[Any]:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id]))


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


def test_sqlite_store(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sqlite_uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = MlflowTracker(sqlite_uri, "e", tmp_path / "spool")
    track_search(tracker, tmp_path)
    assert tracker.close(300) == 0
    check_search(sqlite_uri)
    assert not list((tmp_path / "spool").glob("*.jsonl"))
    assert (tmp_path / "mlartifacts").is_dir()
    assert capfd.readouterr() == ("", "")  # no banner, no git warning, no migration log


def test_a_disk_that_is_full_while_the_store_is_made_costs_nothing(tmp_path: Path) -> None:
    """MLflow alone would leave tables that no later start of it accepts."""
    uri, spool = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "spool"
    search = multiprocessing.get_context("spawn").Process(target=track_on_a_full_disk, args=(uri, spool))
    search.start()
    search.join()
    assert search.exitcode == 0
    assert MlflowTracker(uri, "e", spool).close(300) == 0
    check_search(uri)
    assert not (tmp_path / "mlflow.db.draft").exists()


def track_on_a_full_disk(uri: str, spool: Path) -> None:
    """A search whose files may not grow above 300 kB: less than MLflow's tables take, more than its calls."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    tracker = MlflowTracker(uri, "e", spool)
    track_search(tracker, spool.parent)
    wait_until(lambda: tracker._away, 240)
    assert tracker.close(1) > 0


def test_the_whole_spool_twice_leaves_everything_once(tmp_path: Path, sqlite_uri: str) -> None:
    """A crash after the server took a batch and before the offset was kept: the worst one repeats all."""
    tracker = MlflowTracker(sqlite_uri, "e", tmp_path / "spool")
    spool = tracker._spool.path
    track_search(tracker, tmp_path)
    copy = tmp_path / "copy"
    copy.write_bytes(spool.read_bytes())
    assert tracker.close(300) == 0
    spool.write_bytes(copy.read_bytes())
    assert MlflowTracker(sqlite_uri, "e", tmp_path / "spool").close(300) == 0
    check_search(sqlite_uri)


def test_a_spool_that_is_just_being_made_is_nobodys_orphan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker starts between the file's making and its lock, finds it empty and clears up."""
    lock = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        for spool in Spool.adopt_orphans(tmp_path):
            spool.close()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    spool = Spool.create(tmp_path)
    spool.append({"do": "run"})
    assert spool.batch(10)[0] == [{"do": "run"}]


def test_a_spool_that_cannot_be_opened_stops_no_other(tmp_path: Path) -> None:
    """As that of another user of a shared folder."""
    (tmp_path / "0.jsonl").mkdir()
    tracker = MlflowTracker(f"http://127.0.0.1:{free_port()}", "e", tmp_path)
    tracker.run("s", name="search")
    wait_until(lambda: tracker._away, 60)
    assert tracker.close() == 1


class SlowEvent(threading.Event):
    """Whose ``clear`` comes only after what another thread does: ``meanwhile``."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def clear(self) -> None:
        self.meanwhile()
        super().clear()


def test_an_end_that_comes_while_the_thread_looks_for_news_is_not_missed(tmp_path: Path) -> None:
    tracker = MlflowTracker("http://127.0.0.1:9", "e", tmp_path / "spool")  # nothing is ever sent
    time.sleep(0.5)  # now it waits
    before, tracker._news = tracker._news, SlowEvent()

    def close() -> None:
        tracker._closing.set()
        tracker._news.set()

    tracker._news.meanwhile = close
    before.set()
    tracker._thread.join(10)
    assert not tracker._thread.is_alive()
    assert tracker.close() == 0


def test_a_lost_answer_repeats_no_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In MLflow's store of files, which keeps whatever it is given as often as it is given it."""
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    tracker = MlflowTracker(uri, "e", tmp_path / "spool")
    send, lost = tracker._replay.send, []

    def lose_an_answer(events: Sequence[Mapping[str, Any]], **options: bool) -> None:
        send(events, **options)
        if len(events) > 2 and not lost:
            lost.append(events)
            raise ConnectionError("no answer")

    monkeypatch.setattr(tracker._replay, "send", lose_an_answer)
    tracker.run("s", name="search")
    for step in range(20):
        tracker.metrics("s", {"loss": 1.0}, step)
    wait_until(lambda: tracker._spool.waiting() == 0, 60)
    assert lost
    assert tracker.close() == 0
    (run,) = all_runs(MlflowClient(uri), "e")
    history = MlflowClient(uri).get_metric_history(run.info.run_id, "loss")
    assert sorted(metric.step for metric in history) == list(range(20))


def test_calls_cost_the_caller_little(tmp_path: Path) -> None:
    """With a server that does not answer at all."""
    tracker = MlflowTracker("http://127.0.0.1:9", "e", tmp_path / "spool")
    took = []
    for step in range(1000):
        started = time.perf_counter()
        tracker.metrics("s", {"loss": 1.0}, step)
        took.append(time.perf_counter() - started)
    assert statistics.median(took) < 1e-3
    started = time.perf_counter()
    assert tracker.close(0.2) == 1000
    assert time.perf_counter() - started < PATIENT_S


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
        tracker = MlflowTracker(uri, "e", tmp_path / "spool")
        started = time.perf_counter()
        track_search(tracker, tmp_path)
        assert tracker.close(1) == 1 + N_TRIALS * (N_STEPS + 4)
        assert time.perf_counter() - started < PATIENT_S
    with suppress(OSError):  # closed already, unless the thread still waits for an answer
        os.close(tracker._spool._descriptor)  # as the process's end would: the spool is an orphan now
    assert MlflowTracker(sqlite_uri, "e", tmp_path / "spool").close(300) == 0
    check_search(sqlite_uri)


def test_a_server_that_is_down_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not a line of urllib3's for each attempt."""
    tracker = MlflowTracker(f"http://127.0.0.1:{free_port()}", "e", tmp_path / "spool")
    tracker.run("s", name="search")
    wait_until(lambda: tracker._away, 60)
    assert tracker.close(5) == 1
    assert [record.name for record in caplog.records] == ["ehrbench.infra.tracking"]


def test_a_refused_call_blocks_nothing(tmp_path: Path, sqlite_uri: str) -> None:
    tracker = MlflowTracker(sqlite_uri, "e", tmp_path / "spool")
    tracker.run("s", name="search")
    tracker.params("s", {"lr": 1, "depth": 2})
    tracker.end("s")
    tracker.run("s", name="search")
    tracker.params("s", {"lr": 2, "width": 3})  # MLflow never changes a parameter
    tracker.metrics("s", {"odd %": 1.0})
    tracker.end("s", "FAILED")
    assert tracker.close(300) == 0
    from mlflow import MlflowClient

    client = MlflowClient(sqlite_uri)
    (run,) = all_runs(client, "e")
    assert run.data.params["depth"] == "2"
    assert run.data.params["width"] == "3" or run.data.params["lr"] == "2"
    assert run.data.metrics == {"odd _": 1.0}
    assert run.info.status == "FAILED"


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
        tracker = MlflowTracker(server.uri, "e", tmp_path / "spool")
        track_search(tracker, tmp_path, 0, 2)
        wait_until(lambda: tracker._spool.offset > 0, 300)
        server.kill()
        track_search(tracker, tmp_path, 2, 4)
        time.sleep(2)
        server.start()
        track_search(tracker, tmp_path, 4, N_TRIALS)
        assert tracker.close(300) == 0
        check_search(server.uri)

    def test_a_killed_process_is_caught_up_with(self, tmp_path: Path, server: MlflowServer) -> None:
        """SIGKILL while replaying; the next process finishes, once."""
        code = (
            "import sys, time; from pathlib import Path\n"
            "from tests.infra.test_tracking import track_search\n"
            "from ehrbench.infra.tracking import MlflowTracker\n"
            "folder = Path(sys.argv[2])\n"
            "t = MlflowTracker(sys.argv[1], 'crash', folder / 'spool')\n"
            "for i in range(6): track_search(t, folder, i, i + 1); print('.', flush=True); time.sleep(0.2)\n"
            "time.sleep(600)\n"
        )
        where = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        arguments = [sys.executable, "-c", code, server.uri, str(tmp_path)]
        with subprocess.Popen(arguments, env=where, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(N_TRIALS):
                assert process.stdout.readline()
            wait_until(lambda: any((tmp_path / "spool").glob("*.offset")), 300)
            process.send_signal(signal.SIGKILL)
        assert MlflowTracker(server.uri, "crash", tmp_path / "spool").close(300) == 0
        check_search(server.uri, "crash")
