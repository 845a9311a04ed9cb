"""Images over HTTP: every form gets the offline probability, pieces are told, bad ones are refused."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from ehrbench.core.task import RawInput
from ehrbench.runtime import Bundle
from ehrbench.tasks.radiographs.phantom import chest, png
from tests.models.marked import MARK, marked
from tests.serve.conftest import running
from tests.serve.xray import xray_bundle
from tests.tasks.test_radiographs import CHEST, WRONG, dicom

WELL = chest(64, 11)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return xray_bundle(tmp_path_factory.mktemp("xray"))


@pytest.fixture(scope="module")
def served(bundle: Path) -> Iterator[httpx.Client]:
    with running(bundle) as client:
        yield client


def posted(client: httpx.Client, body: bytes, kind: str, query: str = "") -> httpx.Response:
    return client.post(f"/predict{query}", content=body, headers={"Content-Type": kind})


def test_every_form_of_one_image_gets_the_offline_probability(served: httpx.Client, bundle: Path) -> None:
    full = np.where(np.arange(64) == 0, 255 * (np.arange(64)[:, None] > 0), CHEST).astype(
        np.uint8
    )  # 0 to 255
    opened, body = Bundle.load(bundle), png(full)
    records = opened.task.parse([RawInput("x.png", body)], strict=True).records
    expected = opened.predict(records).probabilities[0, 0]
    answers = [
        posted(served, body, "image/png"),
        posted(served, body, "application/octet-stream"),
        posted(served, dicom(full), "application/dicom"),
        served.post("/predict", json={"images": [base64.b64encode(body).decode()]}),
        served.post("/predict", files={"file": ("scan.png", body, "image/png")}),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"][0]["probability"]["pneumonia"] == pytest.approx(
            expected, abs=0.02
        )
    assert answers[-1].json()["predictions"][0]["record"] == "scan"
    assert posted(served, body, "image/gif").status_code == 415


def test_the_example_is_an_image(served: httpx.Client) -> None:
    answer = served.get("/example")
    assert answer.headers["content-type"] == "image/png"
    assert posted(served, answer.content, "image/png").status_code == 200
    content = served.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert {"image/png", "image/jpeg", "application/dicom"} <= content.keys()


@pytest.mark.parametrize("which", WRONG)
def test_a_bad_image_is_told_and_the_server_stays(served: httpx.Client, which: str) -> None:
    body, field, problem = WRONG[which]
    answer = posted(served, body, "application/octet-stream")
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["field"] == field
    assert problem in error["problem"]
    assert error["remedy"]
    assert served.get("/healthz").status_code == 200


def test_pieces_say_where_the_mark_is(served: httpx.Client) -> None:
    records, middles = marked(40, seed=2)
    found = []
    for k in range(8):
        pixels = records.payload.of(k)[0]  # type: ignore[attr-defined]
        (unit,) = posted(served, png(pixels), "image/png", "?explain=pieces").json()["predictions"]
        (image,) = unit["evidence"]["on"]["images"]
        grey = np.frombuffer(base64.b64decode(image["grey"]), np.uint8)
        np.testing.assert_array_equal(grey.reshape(image["height"], image["width"]), pixels)
        pieces = unit["evidence"]["pieces"]
        assert {piece["fine"] for piece in pieces} == {False, True}
        best = max((p for p in pieces if not p["fine"]), key=lambda piece: piece["effect"]["pneumonia"])
        _, top, left, bottom, right = best["at"]
        place = np.array([top + bottom, left + right]) / 2
        found.append(bool(best["effect"]["pneumonia"] > 0 and np.abs(place - middles[k]).max() <= MARK))
    assert sum(found) >= 7, found


def test_pieces_are_told_of_one_record_of_any_number_of_views(served: httpx.Client) -> None:
    coded = {"images": [base64.b64encode(png(WELL)).decode()]}
    assert served.post("/predict?explain=pieces", json={"records": [coded, coded]}).status_code == 422
    answer = served.post("/predict?explain=pieces", json={"images": 2 * coded["images"]}).json()
    evidence = answer["predictions"][0]["evidence"]
    assert len(evidence["on"]["images"]) == 2
    assert {piece["at"][0] for piece in evidence["pieces"]} == {0, 1}
