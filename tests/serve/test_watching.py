"""Monitoring over real HTTP and a real database: as JSON, as a page, as a file, as gauges."""

from __future__ import annotations

import importlib.util
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import func, select

from ehrbench.core.profile import UNKNOWN
from ehrbench.infra.database import Database
from ehrbench.runtime import Bundle
from ehrbench.serve.kept_observed import kept_rows, observed
from ehrbench.serve.kept_tables import described
from ehrbench.serve.limits import ServeSettings
from ehrbench.serve.store import PredictionStore
from tests.serve.conftest import running
from tests.serve.test_store import KEY, KEYS

N = 260


def rows_of(shift: float, n: int, seed: int) -> list[dict[str, Any]]:
    """As the toy cohort, but for column a."""
    rng, made = np.random.default_rng(seed), []
    for k in range(n):
        rows = (rng.normal(size=(int(rng.integers(1, 4)), 3)) + np.array([shift, 0, 0])).round(3)
        cells = np.where(rng.random(rows.shape) < 0.1, None, rows)
        made.append({"id": f"p{seed}-{k}", "rows": cells.tolist()})
    return made


@pytest.fixture(scope="module")
def watched(
    any_bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx.Client, PredictionStore]]:
    """A server that has predicted 260 records, column a another than in training, and was told of 60."""
    store = PredictionStore(Database.sqlite(tmp_path_factory.mktemp("watched") / "kept.db").engine)
    settings = ServeSettings(monitor_s=0.3)
    with running(any_bundles["binary"], settings, store=store, keys=KEYS) as client:
        answer = client.post("/predict", json={"records": rows_of(1.5, N, 1)}).json()
        for unit in answer["predictions"][:60]:
            told = {"prediction": unit["id"], "outcome": unit["probability"]["death"] > 0.3}
            assert client.post("/feedback", json=told, headers=KEY).status_code == 201
        yield client, store


def test_what_was_predicted_and_told_is_monitored(watched: tuple[httpx.Client, PredictionStore]) -> None:
    client, _ = watched
    deadline = time.monotonic() + 60
    while (found := client.get("/monitoring").json())["labelled"] < 60 and time.monotonic() < deadline:
        time.sleep(0.1)  # until a look of before is old
    assert (found["records"], found["labelled"]) == (N, 60)
    assert {(alarm["kind"], alarm["of"]) for alarm in found["alarms"]} == {("drift", "a")}
    assert found["drift"]["looks"] == 2 + 1
    assert found["classes"]["death"]["labelled"] == 60
    assert found["proposal"]["retrain"]
    assert [row["n"] for row in client.get("/monitoring?n=150").json()["drift"]["compared"]][:1] == [150]


def test_the_arrays_are_what_was_answered(
    watched: tuple[httpx.Client, PredictionStore], any_bundles: dict[str, Path]
) -> None:
    _, store = watched
    bundle = Bundle.load(any_bundles["binary"])
    rows = store.ask(lambda connection: kept_rows(connection, bundle.digest)).result(30)
    seen = observed(rows, 1, 3)
    assert bundle.profile is not None
    posted = rows_of(1.5, N, 1)
    values = np.array([np.array(row["rows"], dtype=float).mean(axis=0) for row in posted], dtype=np.float32)
    assert seen.patient.tolist() == [row["id"] for row in posted]
    assert seen.number.tolist() == list(range(1, N + 1))
    assert (seen.first, seen.last) == (1, N)
    for k, bins in enumerate(bundle.profile.variables.values()):
        counts, missing = bins.count(values[:, k])
        place = seen.places[:, k]
        assert np.bincount(place[place >= 0], minlength=len(counts)).tolist() == counts.tolist()
        assert (place == UNKNOWN).sum() == missing
    assert (~np.isnan(seen.y[:60])).all()
    assert np.isnan(seen.y[60:]).all()
    assert (seen.told[:60] >= 0).all()
    assert seen.called[:, 0].tolist() == (seen.p[:, 0] >= 0.3).tolist()


def test_a_browser_gets_a_page_and_the_report_is_whole_in_itself(
    watched: tuple[httpx.Client, PredictionStore],
) -> None:
    client, _ = watched
    page = client.get("/monitoring", headers={"Accept": "text/html,application/xhtml+xml"})
    assert page.headers["content-type"].startswith("text/html")
    report = client.get("/report?n=200").text
    assert not re.search(r'(src|href)="/', report.partition("<nav")[0].replace('"/pages/icon.svg"', ""))
    (data,) = re.findall(r'<script type="application/json" id="found">(.*?)</script>', report)
    assert json.loads(data)["records"] == N


def test_gauges_say_the_same(watched: tuple[httpx.Client, PredictionStore]) -> None:
    client, _ = watched
    client.get("/monitoring")
    text = client.get("/metrics").text
    assert re.search(r'^ehrbench_drift_columns\{version="\w{12}"\} 1\.0$', text, re.MULTILINE)
    assert re.search(r'^ehrbench_monitoring_alarms\{kind="drift",version="\w+"\} 1\.0$', text, re.MULTILINE)
    assert re.search(r"^ehrbench_retrain_proposed\{.*\} 1\.0$", text, re.MULTILINE)
    assert 'of="promised"' in text


@pytest.mark.parametrize("query", ["?n=99", "?n=50001", "?n=x", "?model=nobody"])
def test_what_cannot_be_asked_is_refused(watched: tuple[httpx.Client, PredictionStore], query: str) -> None:
    client, _ = watched
    for path in ("/monitoring", "/report"):
        answer = client.get(path + query)
        assert answer.status_code == (404 if "nobody" in query else 422)
        assert answer.json()["error"]["field"].endswith("model" if "nobody" in query else "n")


def test_a_server_that_keeps_nothing_has_nothing_to_watch(client: httpx.Client) -> None:
    for path in ("/monitoring", "/report"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "keeps no predictions" in answer.json()["error"]["problem"]
    assert "ehrbench_drift_columns{" not in client.get("/metrics").text


@pytest.mark.skipif(
    not importlib.util.find_spec("evidently"), reason="Evidently is installed by who wants it"
)
def test_evidently_draws_it(watched: tuple[httpx.Client, PredictionStore]) -> None:
    client, _ = watched
    answer = client.get("/report?by=evidently")
    assert answer.status_code == 200, answer.text[:500]
    assert "DataDriftPreset" in answer.text or "drift" in answer.text


@pytest.mark.skipif(bool(importlib.util.find_spec("evidently")), reason="Evidently is installed")
def test_without_evidently_it_says_how_to_have_it(watched: tuple[httpx.Client, PredictionStore]) -> None:
    client, _ = watched
    answer = client.get("/report?by=evidently")
    assert answer.status_code == 404
    assert "pip install evidently" in answer.json()["error"]["problem"]


def test_what_is_deleted_is_not_looked_at(any_bundles: dict[str, Path], tmp_path: Path) -> None:
    store = PredictionStore(Database.sqlite(tmp_path / "kept.db").engine)
    with running(any_bundles["binary"], store=store, keys=KEYS) as client:
        client.post("/predict", json={"records": rows_of(0, 3, 2)})
        assert client.get("/monitoring").json()["records"] == 3
        client.delete("/records/p2-1", headers=KEY)
        left = store.ask(lambda c: c.scalar(select(func.count()).select_from(described))).result(30)
        client.post("/predict", json={"records": rows_of(0, 1, 3)})
        last = store.ask(lambda c: c.scalar(select(func.max(described.c.number)))).result(30)
    assert (left, last) == (2, 4)


@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
def test_every_kind_of_target_and_records_of_several_units(
    any_bundles: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    store = PredictionStore(Database.sqlite(tmp_path / "kept.db").engine)
    posted = rows_of(0, 120, 4)
    with running(any_bundles[kind], replace(ServeSettings(), monitor_s=60), store=store) as client:
        client.post("/predict", json={"records": posted})
        found = client.get("/monitoring").json()
    assert (found["records"], found["units"]) == (120, sum(len(row["rows"]) for row in posted))
    assert all("several units" in of["expected"]["auroc"]["why"] for of in found["classes"].values())
    assert len(found["classes"]) == {"multilabel": 2, "multiclass": 3}[kind]
