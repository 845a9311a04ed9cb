"""Heart beats over HTTP: a list or a table, of one beat or of a day; a bad one is refused by its number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ehrbench.core.task import RawInput
from ehrbench.runtime import Bundle
from tests.serve.conftest import running
from tests.serve.rr_rhythm import rr_bundle

CSV = {"Content-Type": "text/csv"}
RR = [812, 798, 805, 640, 622, 790, 801]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rr_bundle(tmp_path_factory.mktemp("rr"))


@pytest.fixture(scope="module")
def served(bundle: Path) -> Iterator[httpx.Client]:
    with running(bundle) as client:
        yield client


def probabilities(answer: httpx.Response) -> list[float]:
    assert answer.status_code == 200, answer.text
    return [unit["probability"]["anomaly"] for unit in answer.json()["predictions"]]


def table(rr: list[int]) -> bytes:
    times = np.cumsum(rr) - rr[0]
    lines = ["id,time,x", *(f"7,{time},{x}" for time, x in zip(times, rr, strict=True))]
    return ("\n".join(lines) + "\n").encode()


def test_a_list_and_a_table_get_the_offline_probabilities(served: httpx.Client, bundle: Path) -> None:
    opened = Bundle.load(bundle)
    offline = opened.predict(opened.task.parse([RawInput("7", {"rr_ms": RR})], strict=True).records)
    answer = served.post("/predict?explain=members", json={"rr_ms": RR})
    np.testing.assert_allclose(probabilities(answer), offline.probabilities[:, 0], rtol=0, atol=1e-9)
    assert [unit["unit"] for unit in answer.json()["predictions"]] == list(range(len(RR)))
    assert answer.json()["series"]["values"] == RR  # what the page draws
    posted = served.post("/predict", content=table(RR), headers=CSV)
    np.testing.assert_allclose(probabilities(posted), probabilities(answer), rtol=0, atol=1e-9)


def test_one_beat_and_a_day_are_recordings(served: httpx.Client) -> None:
    assert len(probabilities(served.post("/predict", json={"rr_ms": [812]}))) == 1
    day = (800 + 50 * np.sin(np.arange(100_000) / 20)).round().astype(int).tolist()
    # on a connection of its own: reading the answer takes longer than a server keeps an idle one
    found = probabilities(httpx.post(served.base_url.join("/predict"), json={"rr_ms": day}, timeout=300))
    assert len(found) == 100_000
    assert np.isfinite(found).all()


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "negative": ({"json": {"rr_ms": [812, -5]}}, "rr_ms[1]", "-5 is not an interval of more than 0"),
    "text": ({"json": {"rr_ms": [812, "fast"]}}, "rr_ms[1]", "'fast' is not a number"),
    "no beat": ({"json": {"rr_ms": []}}, "rr_ms", "is not a list of one or more intervals"),
    "time goes back": (
        {"json": {"rr_ms": [812, 798], "time_ms": [812, 11]}},
        "time_ms[1]",
        "11 goes back: the beat before was at 812 ms",
    ),
    "negative in a table": ({"content": table([812, -798]), "headers": CSV}, "x", "-798 is not an interval"),
    "time of a table goes back": (
        {"content": b"id,time,x\n7,800,800\n7,3,790\n", "headers": CSV},
        "time",
        "3 goes back",
    ),
    "a header alone": ({"content": b"id,time,x\n", "headers": CSV}, "", "holds no beats"),
    "more than two days": ({"json": {"rr_ms": [800] * 200_001}}, "", "200,001 beats in one request"),
}


@pytest.mark.parametrize("which", BAD)
def test_what_is_no_rhythm_names_the_beat_and_the_server_stays(served: httpx.Client, which: str) -> None:
    request, field, problem = BAD[which]
    answer = served.post("/predict", **request)
    assert answer.status_code in (413, 422), answer.text
    error = answer.json()["error"]
    assert error.get("field", "") == field
    assert problem in error["problem"]
    assert error["remedy"]
    assert served.get("/healthz").status_code == 200
