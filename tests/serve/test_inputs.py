"""What may be posted, in which forms, and how each fault of it is told."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.conftest import JSON, RECORD, running


def test_json_text_and_file_upload_agree(client: httpx.Client) -> None:
    text = b"p7,0.5,,-1\n"
    answers = [
        client.post("/predict", json=RECORD),
        client.post("/predict", json={"records": [RECORD]}),
        client.post("/predict", content=text, headers={"Content-Type": "text/plain; charset=utf-8"}),
        client.post("/predict", content=text, headers={"Content-Type": "text/csv"}),
        client.post("/predict", content=text, headers={"Content-Type": "application/octet-stream"}),
        client.post("/predict", files={"file": ("p7.txt", text)}),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    first, *others = [answer.json()["predictions"] for answer in answers]
    assert len({row.pop("id") for rows in (first, *others) for row in rows}) == len(answers)
    assert all(other == first for other in others)


@pytest.mark.parametrize("end", [b"", b"\r\n", b"  \r\n", b"\r\nepilogue", b"\r\n\r\nmore -- of it\r\n"])
def test_what_follows_a_form_is_no_part_of_it(client: httpx.Client, end: bytes) -> None:
    """RFC 2046, 5.1.1: padding and an epilogue may follow the last boundary, a preamble precede the first."""
    head = b'preamble\r\n--x y\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\n'
    kind = {"Content-Type": 'multipart/form-data; boundary="x y"'}
    body = head + b"a,1,2,3\n" + b"\r\n--x y--" + end
    answer = client.post("/predict", content=body, headers=kind)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == 1
    for cut in (head + b"a,1,2,3\n--", head + b"a,1,2,3\n\r\n--x y", head + b"a,1,2,3\n\r\n--x y---"):
        answer = client.post("/predict", content=cut, headers=kind)
        assert (answer.status_code, answer.json()["error"]["problem"]) == (
            400,
            "the multipart form is cut short",
        )


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/octet-stream"])
def test_a_packed_body_is_told_so(client: httpx.Client, kind: str) -> None:
    plain = json.dumps(RECORD).encode() if kind == "application/json" else b"p7,0.5,,-1\n"
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("p7.txt", plain)
    headers = {"Content-Type": kind}
    assert client.post("/predict", content=plain, headers=headers).status_code == 200
    assert client.post(
        "/predict", content=plain, headers={**headers, "Content-Encoding": "identity"}
    ).is_success
    for content, encoding, name in [
        (gzip.compress(plain), {"Content-Encoding": "gzip"}, "'gzip'"),
        (plain, {"Content-Encoding": "br, gzip"}, "'br, gzip'"),
        (gzip.compress(plain), {}, "gzip"),
        (zipped.getvalue(), {}, "zip"),
        (lzma.compress(plain), {}, "xz"),
    ]:
        answer = client.post("/predict", content=content, headers={**headers, **encoding})
        assert answer.status_code == 415
        assert f"packed as {name}" in answer.json()["error"]["problem"]


def test_a_packed_file_of_a_form_is_named(client: httpx.Client) -> None:
    files = [("file", ("a.txt", b"a,1,2,3\n")), ("file", ("b.gz", gzip.compress(b"b,1,2,3\n")))]
    answer = client.post("/predict", files=files)
    assert (answer.status_code, answer.json()["error"]["file"]) == (415, "b.gz")


def test_several_files(client: httpx.Client) -> None:
    files = [("file", ("a.txt", b"a,1,2,3\n")), ("file", ("b.txt", b"b,1,2,3\nb,,,\n"))]
    rows = client.post("/predict", files=files).json()["predictions"]
    assert [(row["record"], row["unit"]) for row in rows] == [("a", 0), ("b", 0), ("b", 1)]


BAD: dict[str, tuple[dict[str, Any], int, dict[str, str]]] = {
    "not JSON": ({"content": b"{'id': 1}", "headers": JSON}, 400, {"problem": "not JSON"}),
    "cut JSON": ({"content": b'{"id": "p", "rows": [[1', "headers": JSON}, 400, {"problem": "not JSON"}),
    "no text": ({"content": b"\xff\xfe{}", "headers": JSON}, 400, {"problem": "not JSON"}),
    "NaN": (
        {"content": b'{"id": "p", "rows": [[NaN,1,1]]}', "headers": JSON},
        400,
        {"problem": "NaN is not"},
    ),
    "1e999": ({"content": b'{"id": "p", "rows": [[1e999,1,1]]}', "headers": JSON}, 400, {"problem": "1e999"}),
    "long integer": ({"content": b"[" + b"1" * 5000 + b"]", "headers": JSON}, 400, {"problem": "not JSON"}),
    "key twice": (
        {"content": b'{"id": 1, "id": 2}', "headers": JSON},
        400,
        {"problem": "'id' stands there twice"},
    ),
    "half a pair of surrogates": (
        {"content": b'{"id": "\\ud800", "rows": [[1,1,1]]}', "headers": JSON},
        400,
        {"problem": "surrogates not allowed"},
    ),
    "half a pair in a key": ({"content": b'{"\\udc00": 1}', "headers": JSON}, 400, {"problem": "surrogates"}),
    "deep": ({"content": b"[" * 19_000, "headers": JSON}, 400, {"problem": "nested too deeply"}),
    "empty": ({"content": b" ", "headers": JSON}, 400, {"problem": "the body is empty"}),
    "form cut": (
        {"content": b"--x\r\nnonsense", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        400,
        {"problem": "multipart form is cut short"},
    ),
    "no boundary": (
        {"content": b"--x--", "headers": {"Content-Type": "multipart/form-data"}},
        400,
        {"problem": "multipart form"},
    ),
    "other type": ({"data": {"id": "p7"}}, 415, {"problem": "x-www-form-urlencoded", "remedy": "text/plain"}),
    "no type": ({"content": b"p7,1,1,1"}, 415, {"problem": "missing"}),
    "a list": ({"json": [RECORD]}, 422, {"problem": "a JSON list, not an object"}),
    "no records": ({"json": {"records": []}}, 422, {"field": "records"}),
    "records no list": ({"json": {"records": RECORD}}, 422, {"field": "records"}),
    "record no object": ({"json": {"records": [RECORD, 3]}}, 422, {"field": "records[1]"}),
    "field missing": ({"json": {"id": "p7"}}, 422, {"field": "rows", "problem": "missing"}),
    "field unknown": ({"json": {**RECORD, "age": 3}}, 422, {"field": "age", "remedy": "give id and rows"}),
    "wrong value": (
        {"json": {"id": "p7", "rows": [[1, "abc", 2]]}},
        422,
        {"field": "b", "record": "p7", "problem": '"abc" is not a number'},
    ),
    "wrong value in the second": (
        {"json": {"records": [RECORD, {"id": "p8", "rows": [[1, "abc", 2]]}]}},
        422,
        {"file": "records[1]", "record": "p8", "field": "b"},
    ),
    "wrong text": (
        {"content": b"p9,1,x,2\n", "headers": {"Content-Type": "text/plain"}},
        422,
        {"file": "", "record": "p9", "field": "b"},
    ),
    "wrong file": ({"files": {"file": ("p9.txt", b"p9,1,x,2\n")}}, 422, {"file": "p9.txt", "field": "b"}),
    "form field": ({"data": {"id": "p7"}, "files": {"x": b"p9,1,1,2\n"}}, 422, {"field": "id"}),
    "too many": ({"json": {"records": [RECORD] * 6}}, 413, {"problem": "6 records", "remedy": "at most 5"}),
    "too many units": (
        {"content": b"a,1,2,3\n" * 301, "headers": {"Content-Type": "text/plain"}},
        413,
        {"problem": "301 units", "remedy": "at most 300"},
    ),
    "too large": ({"content": b"x" * 20_001, "headers": JSON}, 413, {"problem": "larger than 20000 bytes"}),
    "too large, unannounced": (
        {"content": iter([b"x" * 15_000] * 4), "headers": {"Content-Type": "text/plain"}},
        413,
        {"problem": "larger than 20000 bytes"},
    ),
}


def test_a_key_twice_among_very_many_is_found_at_once(any_bundles: dict[str, Path]) -> None:
    """Each key counted among all the others would hold the server for minutes."""
    keys = ",".join(f'"{k}":0' for k in range(100_000))
    with running(any_bundles["binary"]) as client:
        begun = time.perf_counter()
        answer = client.post("/predict", content=f'{{{keys},"z":0,"z":0}}'.encode(), headers=JSON)
        assert time.perf_counter() - begun < 10
    assert "'z' stands there twice" in answer.json()["error"]["problem"]


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_where_it_is_wrong(client: httpx.Client, case: str) -> None:
    request, status, expected = BAD[case]
    answer = client.post("/predict", **request)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["status"] == status
    for name, text in expected.items():
        assert text in error[name] if text else name not in error
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert client.get("/healthz").status_code == 200  # and the server goes on


def test_a_whole_pair_of_surrogates_is_a_letter_like_any(client: httpx.Client) -> None:
    answer = client.post("/predict", content=b'{"id": "\\ud83d\\ude00", "rows": [[1,1,1]]}', headers=JSON)
    assert answer.json()["predictions"][0]["record"] == "😀"
