"""What a server keeps: over real HTTP and a real database, one that goes away among them."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event, select

from ehrbench.core.errors import ConfigError
from ehrbench.core.target import Target
from ehrbench.core.task import RawInput
from ehrbench.infra.database import Database
from ehrbench.serve.feedback import labels_of
from ehrbench.serve.forgetting import sweep
from ehrbench.serve.fresh_names import FreshNames
from ehrbench.serve.kept_tables import audit, inputs, outcomes, predictions, utc_now
from ehrbench.serve.keys import ApiKeys
from ehrbench.serve.limits import ServeSettings, StoreSettings
from ehrbench.serve.problems import Problem
from ehrbench.serve.service import Service
from ehrbench.serve.store import PredictionStore
from tests.infra.servers import MariaDb, wait_until
from tests.serve.conftest import RECORD, running

KEY = {"Authorization": "Bearer sesame-opens-the-door"}
KEYS = ApiKeys.of_text("ward-7 sesame-opens-the-door", "test")


@contextmanager
def keeping(
    bundle: Path, database: Database, settings: StoreSettings | None = None, keys: ApiKeys | None = None
) -> Iterator[tuple[httpx.Client, PredictionStore]]:
    store = PredictionStore(database.engine, settings)
    with running(bundle, store=store, keys=keys) as client:
        yield client, store


def rows(store: PredictionStore, table: Any) -> list[Any]:
    return list(store.ask(lambda connection: connection.execute(select(table)).all()).result(30))


@pytest.fixture
def sqlite(tmp_path: Path) -> Database:
    return Database.sqlite(tmp_path / "kept.db")


def posted(client: httpx.Client, *records: dict[str, Any]) -> list[dict[str, Any]]:
    answer = client.post("/predict", json={"records": list(records)} if len(records) > 1 else records[0])
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["predictions"]
    return found


@pytest.mark.parametrize("kept", [False, True])
def test_a_prediction_is_kept_and_its_input_only_where_asked_for(
    any_bundles: dict[str, Path], sqlite: Database, kept: bool
) -> None:
    with keeping(any_bundles["binary"], sqlite, StoreSettings(inputs=kept)) as (client, store):
        said = client.get("/model").json()
        assert said["keeps"] == {
            "predictions": True,
            "inputs": kept,
            "retention_days": 90,
            "feedback": "open",
        }
        units = posted(client, RECORD, {"id": "x", "rows": [[1, 2, 3], [3, 2, 1]]})
        found = rows(store, predictions)
        bodies = rows(store, inputs)
    assert [row.record for row in found] == ["p7", "x"]
    assert found[0].version == said["version"]
    assert [f"{row.id}-{unit}" for row in found for unit in json.loads(row.units)] == [u["id"] for u in units]
    told = [p for row in found for (p,) in json.loads(row.probabilities)]
    assert told == pytest.approx([unit["probability"]["death"] for unit in units], abs=1e-6)
    assert [row.input for row in found] == ([body.id for body in bodies] if kept else [None, None])
    assert [json.loads(body.body) for body in bodies[:1]] == [RECORD] * kept


def test_nothing_is_kept_by_default(client: httpx.Client) -> None:
    assert client.get("/model").json()["keeps"] == {"predictions": False, "inputs": False, "feedback": "none"}
    (unit,) = posted(client, RECORD)
    answer = client.post("/feedback", json={"prediction": unit["id"], "outcome": True})
    assert answer.status_code == 404
    assert "keeps no predictions" in answer.json()["error"]["problem"]


def test_an_outcome_is_told_at_once_and_again(any_bundles: dict[str, Path], sqlite: Database) -> None:
    with keeping(any_bundles["multilabel"], sqlite) as (client, store):
        (unit,) = posted(client, RECORD)
        first = client.post("/feedback", json={"prediction": unit["id"], "outcome": {"fever": True}})
        assert first.status_code == 201, first.text
        assert first.json() == {
            "prediction": unit["id"],
            "outcome": {"fever": True, "shock": None},
            "times_told": 1,
            "status": "kept",
        }
        again = client.post("/feedback", json={"prediction": unit["id"], "outcome": {"shock": False}})
        assert again.json()["times_told"] == 2
        for told, place in (
            ({"prediction": unit["id"], "outcome": {"sepsis": True}}, "outcome.sepsis"),
            ({"prediction": unit["id"], "outcome": True}, "outcome"),
            ({"prediction": unit["id"], "outcome": {"fever": None}}, "outcome"),
            ({"prediction": "0" * 16 + "-0-0", "outcome": {"fever": True}}, "prediction"),
            ({"prediction": unit["id"][:-1] + "9", "outcome": {"fever": True}}, "prediction"),
            ({"prediction": "x", "outcome": {"fever": True}}, "prediction"),
        ):
            refused = client.post("/feedback", json=told)
            status = 404 if place == "prediction" and told["prediction"] != "x" else 422
            assert refused.status_code == status, refused.text
            assert refused.json()["error"]["field"] == place
        for body, kind, status in (
            (b"\xff", "application/json", 400),
            (b"", "application/json", 400),
            (b"[" * 70_000, "application/json", 413),
            (b"{}", "text/plain", 415),
        ):
            refused = client.post("/feedback", content=body, headers={"Content-Type": kind})
            assert (refused.status_code, refused.json()["error"]["status"]) == (status, status)
        assert [json.loads(row.labels) for row in rows(store, outcomes)] == [[1, None], [None, 0]]


@pytest.mark.parametrize(
    ("outcome", "kind", "labels"),
    [
        (True, "binary", {"a": True}),
        ("a", "binary", {"a": True}),
        ({"a": False}, "binary", {"a": False}),
        ("b", "multiclass", {"a": False, "b": True, "c": False}),
        ({"b": True}, "multiclass", {"a": False, "b": True, "c": False}),
        ({"b": False}, "multiclass", None),
        ({"a": True, "b": True}, "multiclass", None),
        ("z", "multiclass", None),
        ({"a": True, "c": None}, "multilabel", {"a": True, "b": None, "c": None}),
    ],
)
def test_outcomes_are_checked_against_the_target(outcome: Any, kind: Any, labels: Any) -> None:
    target = Target(kind, ("a",) if kind == "binary" else ("a", "b", "c"))
    if labels is None:
        with pytest.raises(Problem):
            labels_of(outcome, target)
    else:
        assert labels_of(outcome, target) == labels


def test_keys(any_bundles: dict[str, Path], sqlite: Database) -> None:
    with keeping(any_bundles["binary"], sqlite, keys=KEYS) as (client, store):
        (unit,) = posted(client, RECORD)  # predicting takes none
        told = {"prediction": unit["id"], "outcome": True}
        assert client.get("/model").json()["keeps"]["feedback"] == "key"
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY["Authorization"][7:]}):
            assert client.post("/feedback", json=told, headers=headers).status_code == 401
            assert client.get("/records/p7", headers=headers).status_code == 401
            assert client.delete("/records/p7", headers=headers).status_code == 401
        assert client.post("/feedback", json=told, headers=KEY).status_code == 201
        assert [row.told_by for row in rows(store, outcomes)] == ["ward-7"]


def test_a_server_without_keys_shows_and_deletes_nothing(
    any_bundles: dict[str, Path], sqlite: Database
) -> None:
    with keeping(any_bundles["binary"], sqlite) as (client, store):
        posted(client, RECORD)
        assert client.get("/records/p7").status_code == client.delete("/records/p7").status_code == 403
        assert len(rows(store, predictions)) == 1


def test_a_patient_is_forgotten_whole_and_an_audit_line_stays(
    any_bundles: dict[str, Path], sqlite: Database
) -> None:
    with keeping(any_bundles["binary"], sqlite, StoreSettings(inputs=True), KEYS) as (client, store):
        (unit,) = posted(client, RECORD)
        posted(client, RECORD, {"id": "x", "rows": [[1, 2, 3]]})
        client.post("/feedback", json={"prediction": unit["id"], "outcome": True}, headers=KEY)
        kept = client.get("/records/p7", headers=KEY).json()
        assert [one["record"] for one in kept["predictions"]] == ["p7", "p7"]
        assert kept["outcomes"][0]["outcome"] == {"death": True}
        gone = client.delete("/records/p7", headers={**KEY, "X-Request-ID": "letter-12"})
        assert gone.json() == {"predictions": 2}
        assert client.get("/records/p7", headers=KEY).status_code == 404
        assert client.delete("/records/p7", headers=KEY).json() == {"predictions": 0}
        assert [row.record for row in rows(store, predictions)] == ["x"]
        assert [json.loads(row.body)["id"] for row in rows(store, inputs)] == ["x"]
        assert rows(store, outcomes) == []
        first, second = rows(store, audit)
    assert (first.what, first.done_by, first.request_id) == ("deletion", "ward-7", "letter-12")
    assert (first.n_predictions, first.n_inputs, first.n_outcomes) == (2, 2, 1)
    assert second.n_predictions == 0
    assert "p7" not in str([*first, *second])


def test_what_is_too_old_is_deleted(any_bundles: dict[str, Path], sqlite: Database) -> None:
    with keeping(any_bundles["binary"], sqlite, StoreSettings(inputs=True)) as (client, store):
        posted(client, RECORD)
        assert store.ask(lambda c: sweep(c, utc_now() - timedelta(days=1))).result(30) == 0
        assert store.ask(lambda c: sweep(c, utc_now() + timedelta(days=1))).result(30) == 1
        assert rows(store, predictions) == rows(store, inputs) == []
        assert [(row.what, row.n_inputs) for row in rows(store, audit)] == [("retention", 1)]


def test_a_database_that_is_away_costs_no_prediction_and_loses_what_does_not_fit(
    any_bundles: dict[str, Path], sqlite: Database
) -> None:
    """Somebody else holds SQLite's write lock; the server waits for it in the background."""
    settings = StoreSettings(max_waiting_records=3)
    impatient = Database(sqlite.url, {"timeout": 0.1})
    with keeping(any_bundles["binary"], impatient, settings) as (client, store):
        posted(client, RECORD)
        wait_until(lambda: store.written == 1, 30)
        with closing(sqlite3.connect(str(sqlite.url.database), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(5):
                (unit,) = posted(client, RECORD)
            wait_until(lambda: store.problem is not None, 30)
            refused = client.post("/feedback", json={"prediction": unit["id"], "outcome": True})
            assert refused.status_code == 503
            assert "retry-after" in refused.headers
            assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
            told = client.get("/metrics").text
            assert "ehrbench_store_up 0.0" in told
            assert "ehrbench_store_dropped_records_total 2.0" in told
            assert "ehrbench_store_waiting_records 3.0" in told
            other.execute("ROLLBACK")
        wait_until(lambda: store.waiting == 0, 60)
        assert (store.written, store.dropped, store.problem) == (4, 2, None)


def test_a_database_that_cannot_be_had_is_no_reason_not_to_serve(
    any_bundles: dict[str, Path], tmp_path: Path
) -> None:
    nowhere = Database.sqlite(tmp_path / "folder" / "kept.db")
    (tmp_path / "folder").rmdir()
    with keeping(any_bundles["binary"], nowhere) as (client, store):
        assert len(posted(client, RECORD)) == 1
        wait_until(lambda: store.problem is not None, 30)
    assert (store.written, store.dropped) == (0, 1)


@pytest.mark.server
def test_mysql_keeps_goes_and_comes_back(any_bundles: dict[str, Path], mariadb: MariaDb) -> None:
    database = mariadb.database("kept")
    with keeping(any_bundles["binary"], database, StoreSettings(inputs=True), KEYS) as (client, store):
        (unit,) = posted(client, {"id": "Ä1", "rows": [[1, 2, 3]]})
        posted(client, {"id": "ä1", "rows": [[1, 2, 3]]})
        told = {"prediction": unit["id"], "outcome": {"death": False}}
        assert client.post("/feedback", json=told, headers=KEY).status_code == 201
        assert client.delete("/records/Ä1", headers=KEY).json() == {"predictions": 1}
        assert [row.record for row in rows(store, predictions)] == ["ä1"]  # another patient
        mariadb.stop()
        posted(client, RECORD)
        wait_until(lambda: store.problem is not None, 60)
        assert client.post("/feedback", json=told, headers=KEY).status_code == 503
        mariadb.start()
        wait_until(lambda: store.waiting == 0, 60)
        assert sorted(row.record for row in rows(store, predictions)) == ["p7", "ä1"]
    assert store.dropped == 0


def test_many_requests_are_written_at_once(any_bundles: dict[str, Path], sqlite: Database) -> None:
    commits: list[object] = []
    event.listen(sqlite.engine, "commit", commits.append)
    store = PredictionStore(sqlite.engine)
    service = Service(any_bundles["binary"], ServeSettings())
    service._open()
    inputs = [RawInput("x", RECORD)]
    served, _ = service._predict(service.deployments.current["champion"], inputs, False)
    for n in range(300):
        store.keep(replace(served, token=f"{n:016x}"), inputs, "r")
        time.sleep(0.002)
    store.close()
    assert (store.written, store.dropped) == (300, 0)
    assert len(commits) < 30


def test_a_closing_server_writes_what_waits(any_bundles: dict[str, Path], sqlite: Database) -> None:
    with keeping(any_bundles["binary"], sqlite) as (client, store):
        posted(client, *({"id": f"p{n}", "rows": [[n, 0, 0]]} for n in range(20)))
    assert (store.written, store.dropped, store.waiting) == (20, 0, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ward-7", "key 1 is no name and key|the key is no name and key"),
        ("ward-7 short", "shorter than 16"),
        ("a sesame-opens-the-door\na sesame-opens-a-window", "twice"),
        ("a sesame-opens-the-door\nb sesame-opens-the-door", "twice"),
    ],
)
def test_keys_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        ApiKeys.of_text(text, "keys.txt")
    assert "sesame" not in str(refused.value)


def test_a_row_that_no_database_takes_does_not_hold_up_the_others(
    any_bundles: dict[str, Path], sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with keeping(any_bundles["binary"], sqlite) as (client, store):
        monkeypatch.setattr(FreshNames, "fresh", lambda names, n_bytes: "00" * n_bytes)  # the same key twice
        posted(client, RECORD)
        wait_until(lambda: store.written == 1, 30)
        posted(client, RECORD)
        wait_until(lambda: store.dropped == 1, 30)
        monkeypatch.undo()
        posted(client, RECORD)
        wait_until(lambda: store.written == 2, 30)
    assert store.problem is None
