"""Batches over real HTTP: streamed both ways, errors in place, and clients of every manner."""

from __future__ import annotations

import csv
import io
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehrbench.serve import ServeSettings
from ehrbench.serve.lines import RowSplitter
from tests.infra.servers import wait_until
from tests.serve.conftest import RECORD, running

NDJSON, CSV = {"Content-Type": "application/x-ndjson"}, {"Content-Type": "text/csv"}


def record(n: int) -> dict[str, Any]:
    return {"id": f"p{n}", "rows": [[n / 100, None if n % 3 else 1.0, -n / 70]]}


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_batch_is_what_its_records_get_one_by_one_and_errors_stand_in_place(client: httpx.Client) -> None:
    given = [json.dumps(record(n)) for n in range(250)]
    given[7], given[100], given[249] = '{"id": 1, "rows": [[1, 2, "x"]]}', "{", "[]"
    given[50] = json.dumps({"id": "long", "rows": [[1, 2, 3]] * 4000})  # above max_body_bytes
    given[60] = json.dumps({"id": "many", "rows": [[1, 2, 3]] * 400})  # above max_units
    found = lines(client.post("/predict/batch", content="\n".join(given), headers=NDJSON))
    assert [row["line"] for row in found] == list(range(1, 251))
    errors = {row["line"]: row["error"] for row in found if "error" in row}
    assert {line: error["status"] for line, error in errors.items()} == {
        8: 422,
        51: 413,
        61: 413,
        101: 400,
        250: 422,
    }
    assert errors[8]["field"] == "c"
    for n in (0, 6, 8, 99, 101, 248):
        alone = client.post("/predict", json=record(n)).json()["predictions"]
        told = found[n]["predictions"]
        assert [row["probability"]["death"] for row in told] == pytest.approx(
            [row["probability"]["death"] for row in alone], abs=1e-9
        )
        assert told[0]["record"] == f"p{n}"
    ids = [unit["id"] for row in found for unit in row.get("predictions", [])]
    assert len({*ids}) == len(ids) == 245


def test_answers_come_while_questions_are_sent(client: httpx.Client) -> None:
    """The second record is sent only when the first is answered."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=60) as own:
        own.sendall(
            b"POST /predict/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        got = b""
        for n in range(3):
            line = json.dumps(record(n)).encode() + b"\n"
            own.sendall(b"%x\r\n%s\r\n" % (len(line), line))
            while got.count(b'"line":') <= n:
                got += own.recv(65536)
        own.sendall(b"0\r\n\r\n")
        while not got.endswith(b"0\r\n\r\n"):
            got += own.recv(65536)
    assert got.startswith(b"HTTP/1.1 200")


def test_a_client_that_reads_nothing_before_it_has_sent_all_is_answered(
    any_bundles: dict[str, Path],
) -> None:
    body = b"".join(json.dumps(record(n)).encode() + b"\n" for n in range(30_000))
    with running(any_bundles["binary"]) as client:
        answer = client.post("/predict/batch", content=body, headers=NDJSON)
        assert len(answer.content) > 4_000_000  # more than sockets hold
        assert [row["line"] for row in lines(answer)] == list(range(1, 30_001))
        assert client.app.state.service.streams == 0  # type: ignore[attr-defined]


def test_expecting_clients_are_told_to_go_on_before_they_are_answered(client: httpx.Client) -> None:
    line = json.dumps(RECORD).encode()
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=60) as own:
        own.sendall(
            b"POST /predict/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(line)
        )
        assert own.recv(65536).startswith(b"HTTP/1.1 100")
        own.sendall(line)
        got = b""
        while part := own.recv(65536):
            got += part
    assert got.startswith(b"HTTP/1.1 200")
    assert b'"predictions"' in got


def test_a_client_that_falls_silent_is_told_and_let_go(any_bundles: dict[str, Path]) -> None:
    with running(any_bundles["binary"], ServeSettings(body_timeout_s=0.5)) as client:

        def sent() -> Iterator[bytes]:
            yield json.dumps(RECORD).encode() + b"\n"
            time.sleep(2)
            yield b""

        found = lines(client.post("/predict/batch", content=sent(), headers=NDJSON))
        assert [row["line"] for row in found] == [1, 2]
        assert found[1]["error"]["status"] == 408


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", NDJSON, 400),
        (b"x", {"Content-Type": "application/json"}, 415),
        (b"x", {}, 415),
        (b"p7,1,2,3\n", CSV, 415),  # of the toy, whose rows are units
        (b"x", {**NDJSON, "Content-Encoding": "gzip"}, 415),
    ],
)
def test_what_is_no_batch(client: httpx.Client, body: bytes, headers: dict[str, str], status: int) -> None:
    assert client.post("/predict/batch", content=body, headers=headers).status_code == status


def test_only_so_many_at_once(any_bundles: dict[str, Path]) -> None:
    with running(any_bundles["binary"], ServeSettings(max_streams=1)) as client:
        head = b"POST /predict/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
        line = json.dumps(RECORD).encode() + b"\n"
        address = client.base_url.host, client.base_url.port or 80
        with socket.create_connection(address, timeout=60) as own:
            own.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(line), line))
            assert b"200" in own.recv(1000).splitlines()[0]
            refused = client.post("/predict/batch", content=line, headers=NDJSON)
            assert refused.status_code == 503
        wait_until(lambda: client.app.state.service.streams == 0, 30)  # type: ignore[attr-defined]
        assert client.post("/predict/batch", content=line, headers=NDJSON).status_code == 200


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    from tests.serve.diabetes import diabetes_bundle

    with running(diabetes_bundle(tmp_path_factory.mktemp("diabetes"))) as client:
        yield client


def test_rows_of_a_table(table: httpx.Client) -> None:
    header, row = table.get("/example").text.splitlines()
    cells = row.split(",")
    wrong = ",".join(["tall", *cells[1:]])
    body = "\r\n".join([header, row, wrong, "", row, f"{row},1"])
    answer = table.post("/predict/batch", content=body, headers=CSV)
    assert answer.headers["content-type"].startswith("text/csv")
    found = list(csv.DictReader(io.StringIO(answer.text)))
    assert [one["line"] for one in found] == ["2", "3", "5", "6"]
    batch = table.get("/openapi.json").json()["paths"]["/predict/batch"]["post"]["requestBody"]["content"]
    (example,) = batch["text/csv"]["examples"].values()
    assert table.post("/predict/batch", content=example["value"], headers=CSV).text.count("\n") == 2
    alone = table.post("/predict", content=f"{header}\n{row}\n", headers=CSV).json()["predictions"][0]
    (name,) = alone["probability"]
    assert float(found[0][name]) == float(found[2][name]) == pytest.approx(alone["probability"][name])
    assert found[0][f"{name}_called"] == str(int(alone["decision"][name]))
    assert "tall" in found[1]["error"]
    assert found[1][name] == ""
    assert found[3]["error"]
    assert found[0]["error"] == ""


@given(
    st.lists(st.sampled_from(["", "a", "b,c", '"d\ne"', '"f""\n"', "g" * 30]), max_size=12),
    st.lists(st.integers(1, 40), max_size=20),
)
def test_rows_do_not_depend_on_how_bytes_arrive(rows: list[str], cuts: list[int]) -> None:
    body = "\n".join(rows).encode()
    whole, parts = RowSplitter(20, quoted=True), RowSplitter(20, quoted=True)
    expected = [*whole.feed(body), *whole.end()]
    edges = np.minimum(np.cumsum([0, *cuts]), len(body)).tolist()
    pieces = [body[a:b] for a, b in zip(edges, [*edges[1:], len(body)], strict=True)]
    found = [one for piece in pieces for one in parts.feed(piece)] + list(parts.end())
    assert found == expected
    assert [row for _, row in found] == [
        None if len(row) > 20 else row.encode() for row in rows if row.strip()
    ]
