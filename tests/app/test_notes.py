"""Notes by command: simulated, searched sparse and as tokens, predicted by the bundle, on the server too."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ehrbench.core.task import RawInput
from ehrbench.publishers.mtsamples import MTSamples
from ehrbench.publishers.mtsamples.simulated_notes import _vocabulary
from ehrbench.runtime import Bundle
from ehrbench.runtime.occlusion import occlusion
from ehrbench.tasks.transcriptions import Transcriptions
from tests.app.processes import run
from tests.serve.conftest import running

pytest.importorskip("tokenizers")
FIELD = "Orthopedic"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a search in seconds, whose page and certificate are there, too."""
    root = tmp_path_factory.mktemp("notes")
    MTSamples(Transcriptions()).simulate(root, 400, seed=1)
    small = ["task=transcriptions", "protocol=smoke", "models=[tfidf_logistic,textcnn]", "tracker=none"]
    small += ["model.textcnn.build.max_epochs=1", "task.views.tokens.max_tokens=64", "report.explained=4"]
    code, output = run("search.py", *small, f"runs_dir={root / 'runs'}", data=root)
    assert code == 0, output
    found = root / "runs" / "transcriptions-smoke"
    assert json.loads((found / "certificate.json").read_text())["study_name"] == "transcriptions-smoke"
    assert "Mean average precision" in (found / "report.html").read_text()
    return found / "bundle"


def test_files_of_text_are_predicted_and_a_bad_one_is_named(bundle: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    task = Transcriptions()
    body = task.example().body
    assert isinstance(body, bytes)
    (notes / "good.txt").write_bytes(body)
    (notes / "odd.txt").write_bytes(b"\xff\xfe\x00")
    arguments = [f"bundle={bundle}", f"input={notes}", f"output={tmp_path / 'out.csv'}", "max_skipped=0.6"]
    code, output = run("predict.py", *arguments, data=tmp_path)
    assert code == 0, output
    assert "odd.txt" in output
    with (tmp_path / "out.csv").open(newline="") as file:
        assert {row["record"] for row in csv.DictReader(file)} == {"good"}


def test_words_of_a_specialty_are_what_its_prediction_rests_on(bundle: Path) -> None:
    opened = Bundle.load(bundle)
    own = " ".join(_vocabulary(FIELD)[:6])
    text = f"The patient was seen today. We found {own} on the left. Return as needed for review."
    records = opened.task.parse([RawInput("one", {"text": text})], strict=True).records
    found = occlusion(opened, records)
    assert found.on == text
    assert FIELD in found.classes
    effects = found.effects[:, found.classes.index(FIELD)]
    coarse = [k for k, fine in enumerate(found.is_fine) if not fine]
    fine = [k for k, fine in enumerate(found.is_fine) if fine]
    assert text[slice(*found.pieces[max(coarse, key=effects.__getitem__)])].startswith("We found")
    strongest = sorted(fine, key=effects.__getitem__)[-2:]
    assert {text[slice(*found.pieces[k])] for k in strongest} <= set(own.split())
    # what an effect is: the score with the piece, less the score of the text without it
    start, stop = found.pieces[strongest[-1]]
    without = {"text": f"{text[:start]} {text[stop:]}"}
    again = opened.task.parse([RawInput("two", without)], strict=True).records
    scores = [opened.manifest.target.scores(opened.predict(r).uncalibrated) for r in (records, again)]
    c = opened.task.target.classes.index(FIELD)
    assert effects[strongest[-1]] == pytest.approx(float((scores[0] - scores[1])[0, c]), abs=1e-5)


def test_server_takes_text_says_what_it_rests_on_and_stays_up(bundle: Path) -> None:
    text = "The patient was seen today for a painful knee. An arthroscopy is planned."
    with running(bundle) as client:
        assert client.get("/model").json()["shows_evidence"]
        plain = client.post("/predict", content=text, headers={"Content-Type": "text/plain"})
        posted = client.post("/predict", json={"text": text})
        assert plain.status_code == posted.status_code == 200
        one, other = (answer.json()["predictions"][0]["probability"] for answer in (plain, posted))
        np.testing.assert_allclose(list(one.values()), list(other.values()), atol=1e-9)
        told = client.post("/predict?explain=pieces", json={"text": text}).json()["predictions"][0]
        evidence = told["evidence"]
        assert evidence["on"] == text
        assert {text[slice(*p["at"])] for p in evidence["pieces"] if not p["fine"]} == {
            "The patient was seen today for a painful knee. ",
            "An arthroscopy is planned.",
        }
        several = client.post("/predict?explain=pieces", json={"records": [{"text": text}] * 2})
        assert several.status_code == 422
        for body, status, problem in (
            (b"", 400, "empty"),
            (b"\xff\xfe\x00", 422, "is not UTF-16 text"),
            ("Größe und Lage sind ohne Befund".encode("latin-1"), 422, "is not UTF-8 text"),
            (b"word " * 2**20, 422, "more than 200,000"),
            (b"word " * 2**21, 413, "larger"),
        ):
            answer = client.post("/predict", content=body, headers={"Content-Type": "text/plain"})
            assert answer.status_code == status
            assert problem in answer.json()["error"]["problem"]
        assert client.get("/healthz").status_code == 200
