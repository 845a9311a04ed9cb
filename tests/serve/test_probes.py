"""What operators ask: probes, metrics, limits of rate; and a server that is told to stop still answers."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ehrbench.serve import ServeSettings
from ehrbench.serve.service import Service
from tests.serve.conftest import RECORD, running, wait_until_ready
from tests.serve.test_serving import serving


def measured(client: httpx.Client) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Name to labels and value of each sample."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def test_metrics_count_requests_and_probabilities_and_name_no_record(any_bundles: dict[str, Path]) -> None:
    with running(any_bundles["multilabel"]) as client:
        record = {"id": "secret-17", "rows": [[0.5, 1.0, -1.0], [2.0, None, 0.0]]}
        units = client.post("/predict", json=record).json()["predictions"]
        for path in ("/records/secret-18", "/nothing/secret-19", "/pages/home.js"):
            client.get(path)
        client.post("/predict", content="{", headers={"Content-Type": "application/json"})
        time.sleep(0.2)  # a request is counted after its answer
        found, text = measured(client), client.get("/metrics").text
        version = client.get("/model").json()["version"]
    assert "secret" not in text
    requests = {(row["path"], row["status"]): n for row, n in found["ehrbench_requests_total"]}
    assert requests[("/predict", "200")] == requests[("/predict", "400")] == 1
    assert requests[("/records/{record}", "403")] == requests[("(unknown)", "404")] == 1
    assert requests[("/pages", "200")] == 1
    counts = {row["path"]: n for row, n in found["ehrbench_request_seconds_count"]}
    assert counts["/predict"] == 2
    assert found["ehrbench_records_total"] == [({"alias": "champion"}, 1)]
    labels = {"alias": "champion", "version": version[:12], "class": "shock"}
    assert (labels, 2) in found["ehrbench_probability_count"]
    p = [unit["probability"]["shock"] for unit in units]
    (total,) = [n for row, n in found["ehrbench_probability_sum"] if row == labels]
    assert total == pytest.approx(sum(p))
    for row, n in found["ehrbench_probability_bucket"]:
        if row["class"] == "shock" and row["le"] != "+Inf":
            assert n == sum(one <= float(row["le"]) for one in p)
    assert found["ehrbench_ready"] == [({}, 1)]
    assert found["process_cpu_seconds_total"][0][1] > 0


def test_ready_only_when_bundles_are_tested(
    any_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    go, opened = threading.Event(), Service._open

    def slow(self: Service) -> None:
        go.wait(300)
        opened(self)

    monkeypatch.setattr(Service, "_open", slow)
    with running(any_bundles["binary"], wait=False) as client:
        assert (client.get("/livez").status_code, client.get("/readyz").status_code) == (200, 503)
        assert client.get("/models").status_code == 503
        assert measured(client)["ehrbench_ready"] == [({}, 0)]
        go.set()
        wait_until_ready(client)
        assert (client.get("/livez").text, client.get("/readyz").text) == ("ok\n", "ok\n")


def test_a_server_that_is_stopped_says_so_and_answers_until_others_have_turned_away(bundle_dir: Path) -> None:
    with (
        serving(bundle_dir, drain_s=4) as (process, url),
        httpx.Client(base_url=url, timeout=120) as client,
    ):
        assert client.get("/readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 3
        while (ready := client.get("/readyz")).status_code == 200:
            assert time.monotonic() < deadline
        assert (ready.status_code, ready.text) == (503, "draining\n")
        assert client.get("/livez").status_code == 200
        with httpx.Client(base_url=url, timeout=120) as another:  # a new connection, too
            assert another.post("/predict", json=RECORD).status_code == 200
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_second_signal_does_not_wait(bundle_dir: Path) -> None:
    with serving(bundle_dir, drain_s=300) as (process, url):
        for _ in range(2):
            os.kill(process.pid, signal.SIGTERM)
            time.sleep(0.3)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert url


def test_a_client_that_asks_too_often_is_told_when_to_come_back(any_bundles: dict[str, Path]) -> None:
    with running(any_bundles["binary"], ServeSettings(rate=5)) as client:
        answers = [client.post("/predict", json=RECORD) for _ in range(40)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert {answer.status_code for answer in answers} == {200, 429}
        assert 10 <= 40 - len(refused) < 35
        assert refused[0].headers["retry-after"] == "1"
        assert refused[0].json()["error"]["problem"] == "too many requests"
        probes = ("/livez", "/readyz", "/healthz", "/metrics")
        assert [client.get(path).status_code for path in probes] == [200] * 4
        time.sleep(1)
        assert client.post("/predict", json=RECORD).status_code == 200
        assert json.loads(refused[0].text)["error"]["status"] == 429
