"""The app over real HTTP: what it answers, and that this is what the bundle says offline."""

from __future__ import annotations

import inspect
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from ehrbench.core.task import RawInput
from ehrbench.ensemble.label_sets import LabelSets
from ehrbench.ensemble.venn_abers import VennAbers
from ehrbench.runtime import Bundle
from ehrbench.serve import ServeSettings, create_app
from ehrbench.serve.service import Service
from tests.runtime.building import seal
from tests.serve.conftest import RECORD, running, wait_until_ready


def offline(directory: Path, *records: dict[str, Any]) -> np.ndarray:
    bundle = Bundle.load(directory)
    inputs = [RawInput("offline", record) for record in records]
    return bundle.predict(bundle.task.parse(inputs, strict=True).records).probabilities


def test_a_posted_record_gets_its_offline_probability(
    client: httpx.Client, any_bundles: dict[str, Path]
) -> None:
    answer = client.post("/predict", json=RECORD)
    assert answer.status_code == 200
    (row,) = answer.json()["predictions"]
    expected = offline(any_bundles["binary"], RECORD)[0, 0]
    assert row["probability"]["death"] == pytest.approx(expected, abs=1e-5)
    assert row["decision"] == {"death": bool(expected >= 0.3)}
    assert (row["record"], row["unit"], row["flags"]) == ("p7", 0, [])
    assert "members" not in row


@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
def test_other_targets_and_several_units(any_bundles: dict[str, Path], kind: str) -> None:
    record = {"id": "x", "rows": [[0.5, 1.0, -1.0], [2.0, None, 0.0]]}
    with running(any_bundles[kind]) as client:
        answer = client.post("/predict", json={"records": [record, RECORD]}).json()
    expected = offline(any_bundles[kind], record, RECORD)
    assert [(row["record"], row["unit"]) for row in answer["predictions"]] == [("x", 0), ("x", 1), ("p7", 0)]
    got = [list(row["probability"].values()) for row in answer["predictions"]]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    classes = Bundle.load(any_bundles[kind]).manifest.target.classes
    assert tuple(answer["predictions"][0]["probability"]) == classes
    doubt = Bundle.load(any_bundles[kind]).uncertainty
    for row, p in zip(answer["predictions"], expected, strict=True):
        if isinstance(doubt, LabelSets):
            assert row["label_set"] == [
                c for c, held in zip(classes, doubt.sets(p[None])[0], strict=True) if held
            ]
            assert "interval" not in row
        else:
            assert isinstance(doubt, VennAbers)
            for name, ends in zip(classes, doubt.around(p[None])[0], strict=True):
                low, high = row["interval"][name]
                assert [low, high] == pytest.approx(ends.tolist(), abs=1e-12)
                assert low <= row["probability"][name] <= high


def test_explain_members(client: httpx.Client, any_bundles: dict[str, Path]) -> None:
    row = client.post("/predict?explain=members", json=RECORD).json()["predictions"][0]
    bundle = Bundle.load(any_bundles["binary"])
    by_model = bundle.predict(bundle.task.parse([RawInput("x", RECORD)], strict=True).records).by_model
    assert row["members"].keys() == by_model.keys()
    for name, p in by_model.items():
        assert row["members"][name]["death"] == pytest.approx(p[0, 0], abs=1e-5)


def test_flags(client: httpx.Client) -> None:
    row = client.post("/predict", json={"id": "n", "rows": [[None, None, None]]}).json()["predictions"][0]
    assert row["flags"] == ["no_measurements"]


def test_a_simulated_cohort_is_marked_everywhere(client: httpx.Client) -> None:
    answer = client.post("/predict", json=RECORD)
    assert answer.json()["model"]["cohort"] == "simulated"
    assert "SIMULATED" in answer.json()["model"]["warning"]
    assert answer.headers["x-cohort"] == "simulated"
    assert "SIMULATED" in client.get("/model").json()["warning"]


def test_a_publishers_cohort_carries_no_warning(any_bundles: dict[str, Path]) -> None:
    with running(any_bundles["multilabel"]) as client:
        model = client.post("/predict", json=RECORD).json()["model"]
        assert model["cohort"] == "publisher"
        assert "warning" not in model


def test_unknown_explanation(client: httpx.Client) -> None:
    answer = client.post("/predict?explain=all", json=RECORD)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "query.explain"


def test_unknown_path_and_method(client: httpx.Client) -> None:
    assert client.get("/nothing").json()["error"]["status"] == 404
    assert client.get("/predict").json()["error"]["status"] == 405


def test_request_ids(client: httpx.Client) -> None:
    given = client.post("/predict", json=RECORD, headers={"X-Request-ID": "ward-7.42"})
    assert given.headers["x-request-id"] == given.json()["request_id"] == "ward-7.42"
    strange = client.get("/healthz", headers={"X-Request-ID": "a b\tc"}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", strange)


def test_nothing_but_a_prediction_goes_to_another_thread(any_bundles: dict[str, Path]) -> None:
    """FastAPI calls plain functions in threads: 0.1 ms each, and a wait where all of them are at work."""

    def calls(dependant: Dependant) -> list[Any]:
        return [dependant.call, *(call for one in dependant.dependencies for call in calls(one))]

    routes = [route for route in create_app(any_bundles["binary"]).routes if isinstance(route, APIRoute)]
    assert {route.path for route in routes} >= {"/predict", "/healthz", "/model"}
    for route in routes:
        assert [call for call in calls(route.dependant) if not inspect.iscoroutinefunction(call)] == []


def test_health_and_model(client: httpx.Client, any_bundles: dict[str, Path]) -> None:
    bundle = Bundle.load(any_bundles["binary"])
    health = client.get("/healthz").json()
    assert health["status"] == "ok"
    assert health["self_test_difference"] <= 1e-5
    model = client.get("/model").json()
    assert model["version"] == health["version"] == bundle.digest
    assert model["models"] == {"trees": 2, "line": 1, "net": 1}
    assert model["thresholds"] == {"death": 0.3}
    assert model["metrics"]["auroc"]["interval"]["low"] == 0.79
    assert model["git_commit"] == "c" * 40
    assert model["data_digest"] == "d" * 64
    assert "Not a medical device" in model["intended_use"]


def test_the_documented_examples_work(client: httpx.Client) -> None:
    description = client.get("/openapi.json").json()
    content = description["paths"]["/predict"]["post"]["requestBody"]["content"]
    sent = 0
    for kind in ("application/json", "text/plain"):
        for example in content[kind]["examples"].values():
            body = example["value"] if isinstance(example["value"], str) else json.dumps(example["value"])
            answer = client.post("/predict", content=body, headers={"Content-Type": kind})
            assert answer.status_code == 200, answer.text
            sent += 1
    assert sent == 3
    schema = description["components"]["schemas"]["RawRecord"]
    reference = schema["properties"]["rows"]["items"]["$ref"]
    assert reference == "#/components/schemas/RawRecord/$defs/row"


def test_the_documented_batch_works_and_nothing_unread_is_documented(
    client: httpx.Client,
) -> None:
    batch = client.get("/openapi.json").json()["paths"]["/predict/batch"]["post"]["requestBody"]["content"]
    assert list(batch) == ["application/x-ndjson"]
    (example,) = batch["application/x-ndjson"]["examples"].values()
    headers = {"Content-Type": "application/x-ndjson"}
    answer = client.post("/predict/batch", content=example["value"], headers=headers)
    assert ["predictions" in json.loads(line) for line in answer.text.splitlines()] == [True, True]


def test_every_reference_of_the_description_resolves(client: httpx.Client) -> None:
    description = client.get("/openapi.json").json()

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [r for value in node.values() for r in references(value)]
        return [r for item in node for r in references(item)] if isinstance(node, list) else []

    found = references(description)
    assert len(found) > 5
    for reference in found:
        node = description
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_the_example(client: httpx.Client) -> None:
    assert client.get("/example").text == "p7,0.5,,-1\n"


def test_pages_load_nothing_from_elsewhere(client: httpx.Client) -> None:
    for path in ("/", "/docs"):
        page = client.get(path)
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        names = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert names
        for name in names:
            assert name.startswith("/")
            assert client.get(name).status_code == 200
    assert client.get("/favicon.ico").headers["content-type"].startswith("image/svg")


def test_four_at_once_get_what_one_gets(client: httpx.Client) -> None:
    records = [{"id": f"p{n}", "rows": [[n / 10, None if n % 3 else 1.0, -n / 7]]} for n in range(32)]
    alone = [client.post("/predict", json=record).json()["predictions"] for record in records]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda r: client.post("/predict", json=r).json()["predictions"], records))
    ids = [row.pop("id") for rows in (*alone, *together) for row in rows]
    assert together == alone
    assert len({*ids}) == len(ids) == 64


def test_never_more_at_once_than_allowed_and_the_queue_is_bounded(
    any_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, now, most, go = threading.Lock(), 0, 0, threading.Event()
    predict = Service._predict

    def slow(self: Service, *arguments: object) -> object:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        go.wait(300)
        with lock:
            now -= 1
        return predict(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Service, "_predict", slow)
    with (
        running(any_bundles["binary"], ServeSettings(concurrency=2, max_waiting=3)) as client,
        ThreadPoolExecutor(9) as pool,
    ):
        asked = [pool.submit(client.post, "/predict", json=RECORD) for _ in range(9)]
        done = as_completed(asked, 120)
        answers = [next(done).result() for _ in range(4)]
        assert [answer.status_code for answer in answers] == [503] * 4  # while two work and three wait
        go.set()
        answers = [one.result() for one in asked]
    statuses = sorted(answer.status_code for answer in answers)
    assert most == 2
    assert statuses == [200] * 5 + [503] * 4
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["retry-after"] == "1"
    assert "too many requests" in refused.json()["error"]["problem"]


def test_not_ready_while_loading(any_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    opened = Service._open

    def slow(self: Service) -> object:
        go.wait(300)
        return opened(self)

    monkeypatch.setattr(Service, "_open", slow)
    with running(any_bundles["binary"], wait=False) as client:
        health = client.get("/healthz")
        assert (health.status_code, health.json()["status"]) == (503, "loading")
        answer = client.post("/predict", json=RECORD)
        assert answer.status_code == 503
        assert "still being loaded" in answer.json()["error"]["problem"]
        assert "retry-after" in answer.headers
        assert client.get("/model").status_code == client.get("/example").status_code == 503
        assert client.get("/").status_code == client.get("/openapi.json").status_code == 200
        go.set()
        wait_until_ready(client)
        assert client.post("/predict", json=RECORD).status_code == 200


def test_a_bundle_that_computes_something_else_is_not_served(bundle_dir: Path) -> None:
    from dataclasses import replace

    manifest = Bundle.load(bundle_dir).manifest
    seal(bundle_dir, replace(manifest, reference={"probability": [[0.99]]}))
    with running(bundle_dir, wait=False) as client:
        deadline = time.monotonic() + 120
        while (health := client.get("/healthz").json())["status"] == "loading":
            assert time.monotonic() < deadline
        assert health["status"] == "failed"
        assert "differs" in health["problem"]
        assert client.post("/predict", json=RECORD).status_code == 503


def test_a_failure_of_ours_is_a_500_without_details(
    any_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("patient 4711 has odd values")

    monkeypatch.setattr(Service, "_predict", broken)
    with running(any_bundles["binary"]) as client, caplog.at_level("INFO"):
        answer = client.post("/predict", json=RECORD)
    assert answer.status_code == 500
    assert "4711" not in answer.text + caplog.text
    (line,) = [r for r in caplog.records if getattr(r, "fields", {}).get("status") == 500]
    assert line.fields["error"] == "RuntimeError"  # type: ignore[attr-defined]
    assert any("test_app.py" in place for place in line.fields["at"])  # type: ignore[attr-defined]


def begin_posting(client: httpx.Client) -> socket.socket:
    """A connection that has announced 500 bytes and sent one."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20)
    connection.sendall(
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 500\r\n\r\nx"
    )
    return connection


def test_a_slow_client_is_let_go_and_holds_nobody_up(any_bundles: dict[str, Path]) -> None:
    with running(any_bundles["binary"], ServeSettings(body_timeout_s=0.5)) as client:
        slow = [begin_posting(client) for _ in range(20)]
        assert client.post("/predict", json=RECORD).status_code == 200
        for connection in slow:
            assert b"408" in connection.recv(1000).splitlines()[0]
            connection.close()


def test_a_client_that_leaves_is_no_failure_of_ours(
    any_bundles: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with running(any_bundles["binary"]) as client, caplog.at_level("INFO"):
        begin_posting(client).close()
        deadline = time.monotonic() + 10
        while not (left := [r for r in caplog.records if getattr(r, "fields", {}).get("status") == 499]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert [line.levelname for line in left] == ["INFO"]


def test_logs_hold_no_patient_data(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    from ehrbench.serve.requests import JsonFormatter

    with caplog.at_level("INFO"):
        client.post("/predict?explain=members", json={"id": "secret-17", "rows": [[77.25, 1, 1]]})
        client.post("/predict", json={"id": "secret-17", "rows": [["secret-18", 1, 1]]})
        client.get("/nothing/secret-19?x=secret-20")
        client.get("/records/secret-21")
        time.sleep(0.2)  # a line is written after its answer
    lines = [JsonFormatter().format(record) for record in caplog.records if record.name[:8] == "ehrbench"]
    entries = [json.loads(line) for line in lines if json.loads(line)["event"] == "request"]
    assert [entry["status"] for entry in entries] == [200, 422, 404, 403]
    assert entries[0]["n_records"] == entries[0]["n_units"] == 1
    assert entries[0]["path"] == "/predict"
    assert [entry["path"] for entry in entries[2:]] == ["(unknown)", "/records/{record}"]
    assert all({"request_id", "duration_ms", "time"} <= entry.keys() for entry in entries)
    assert "secret" not in "".join(lines)
    assert "77.25" not in "".join(lines)
