"""``serve`` as a process: starts, drains, and ends with one clear line when it cannot serve."""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from ehrbench.core.errors import BundleError, ConfigError
from ehrbench.serve import ServeSettings
from ehrbench.serve.serving import _listen, serve

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from tests.runtime import toy
toy.install()
from ehrbench.core.errors import EhrbenchError
from ehrbench.serve.serving import serve
try:
    serve(sys.argv[1], port=int(sys.argv[2]), drain_s=float(sys.argv[3]))
except EhrbenchError as error:
    sys.exit(f"error: {error}")
heavy = {"torch", "sklearn", "lightgbm", "pandas", "optuna", "hydra", "mlflow"}
print(sorted(heavy & set(sys.modules)))
"""
#: The same, with a second's notice before each prediction.
SLOW = """
import sys, time
from ehrbench.serve.service import Service
predict = Service._predict
def slow(*arguments):
    print("at work", file=sys.stderr, flush=True)
    time.sleep(1)
    return predict(*arguments)
Service._predict = slow
"""


def start(bundle: Path, port: int = 0, before: str = "", drain_s: float = 0) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", before + PROGRAM, *map(str, (bundle, port, drain_s))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@contextmanager
def serving(
    bundle: Path, before: str = "", drain_s: float = 0
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process that is ready, and its address."""
    process = start(bundle, before=before, drain_s=drain_s)
    try:
        assert process.stderr is not None
        events = (json.loads(line) for line in process.stderr)
        url = next(event["url"] for event in events if event["event"] == "listening")
        assert next(event for event in events if event["event"] == "ready")["cohort"] == "simulated"
        yield process, url
    finally:
        process.kill()
        process.communicate()


def test_serves_and_drains_on_sigterm(bundle_dir: Path) -> None:
    with serving(bundle_dir, SLOW) as (process, url), httpx.Client(base_url=url, timeout=120) as client:
        body = json.dumps({"records": [{"id": "p", "rows": [[1, 2, 3]] * 20_000}]})
        answers: list[httpx.Response] = []
        headers = {"Content-Type": "application/json"}
        thread = threading.Thread(
            target=lambda: answers.append(client.post("/predict", content=body, headers=headers))
        )
        thread.start()
        assert process.stderr is not None
        assert next(line for line in process.stderr if "at work" in line)
        process.send_signal(signal.SIGTERM)
        thread.join(120)
        out, err = process.communicate(timeout=120)
    assert [answer.status_code for answer in answers] == [200]  # what was running was answered
    assert len(answers[0].json()["predictions"]) == 20_000
    assert process.returncode == 0, err
    assert out.strip() == "[]"  # and nothing of the training stack was imported


def test_no_answer_waits_for_the_receipt_of_its_header(bundle_dir: Path) -> None:
    with _listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    with serving(bundle_dir) as (_, url), httpx.Client(base_url=url, timeout=120) as client:
        taken = [client.get("/healthz").elapsed for _ in range(60)]
    assert statistics.median(taken) < timedelta(milliseconds=30)  # what waits takes 40 or more


def test_a_client_that_sends_too_much_is_told_so(bundle_dir: Path) -> None:
    body = b"x" * (2 * ServeSettings().max_body_bytes)
    with serving(bundle_dir) as (_, url):  # urllib sends all before it reads, as many clients do
        request = urllib.request.Request(f"{url}/predict", body, {"Content-Type": "text/plain"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=120)
        answer = json.load(refused.value)
    assert refused.value.code == 413
    assert "post fewer records at once" in answer["error"]["remedy"]


def test_an_interrupt_ends_well(bundle_dir: Path) -> None:
    with serving(bundle_dir) as (process, _):
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "Traceback" not in err


def test_a_damaged_bundle_ends_the_server_with_one_line(bundle_dir: Path) -> None:
    (bundle_dir / "members/trees/0/model.txt").write_text("tree")
    process = start(bundle_dir)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    lines = [line for line in err.splitlines() if not line.startswith("{")]
    assert len(lines) == 1
    assert "model.txt: altered since export" in lines[0]


def test_a_port_in_use(bundle_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"port: cannot listen on 127\.0\.0\.1:{port} \(address already"
        ):
            serve(bundle_dir, port=port)


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("127.0.0.1", 70000, "70000 is not between"),
        ("256.1.1.1", 0, "host: 256.1.1.1 is no address"),
        ("192.0.2.1", 0, "host: 192"),
        ("", 0, "host: is empty — give an address"),
        (" ", 0, "host: is empty"),
    ],
)
def test_addresses_that_cannot_be(bundle_dir: Path, host: str, port: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        serve(bundle_dir, host, port)


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere: no such folder"):
        serve(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("threads", 0), ("concurrency", 0), ("max_waiting", -1), ("max_body_bytes", 0)),
        *(("body_timeout_s", 0), ("device", "tpu")),
    ],
)
def test_settings_out_of_range(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"serve\.{key}"):
        ServeSettings(**{key: value})  # type: ignore[arg-type]
