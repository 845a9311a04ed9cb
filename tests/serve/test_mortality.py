"""The golden path on the real task: a posted raw record gets the probability it gets offline."""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import lightgbm
import numpy as np
import pytest

from ehrbench.core.records import Records
from ehrbench.core.task import RawInput
from ehrbench.runtime import Bundle
from ehrbench.runtime.contributions import tree_contributions
from tests.serve.conftest import running
from tests.serve.mortality import mortality_bundle

TEXT = {"Content-Type": "text/plain"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Records]:
    return mortality_bundle(tmp_path_factory.mktemp("mortality"))


@pytest.fixture(scope="module")
def served(built: tuple[Path, Path, Records]) -> Iterator[httpx.Client]:
    with running(built[0]) as client:
        yield client


@pytest.fixture(scope="module")
def files(built: tuple[Path, Path, Records]) -> dict[str, bytes]:
    """RecordID -> the publisher's file, of eight patients of set a."""
    data = built[1]
    archive = next(iter(sorted(data.rglob("set-a.tar.gz"))), None)
    if archive is None:
        return {path.stem: path.read_bytes() for path in sorted(data.rglob("set-a/*.txt"))[:8]}
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.name.endswith(".txt")][:8]
        return {Path(m.name).stem: tar.extractfile(m).read() for m in members}  # type: ignore[union-attr]


def test_posted_files_get_the_offline_probabilities(
    built: tuple[Path, Path, Records], served: httpx.Client, files: dict[str, bytes]
) -> None:
    directory, _, records = built
    offline = Bundle.load(directory).predict(records)  # as training read them, all 240 at once
    place = {str(record): n for n, record in enumerate(records.ids)}
    assert len(files) == 8
    for record, text in files.items():
        answer = served.post("/predict?explain=members", content=text, headers=TEXT)
        assert answer.status_code == 200, answer.text
        (row,) = answer.json()["predictions"]
        assert row["record"] == record
        n = place[record]
        assert row["probability"]["death"] == pytest.approx(offline.probabilities[n, 0], abs=1e-12)
        for name, p in offline.by_model.items():
            assert row["members"][name]["death"] == pytest.approx(p[n, 0], abs=1e-12)
    assert np.ptp(offline.probabilities) > 0.01  # patients do differ


def test_all_files_in_one_form(served: httpx.Client, files: dict[str, bytes]) -> None:
    upload = [("file", (f"{record}.txt", text)) for record, text in files.items()]
    rows = served.post("/predict", files=upload).json()["predictions"]
    alone = [
        served.post("/predict", content=t, headers=TEXT).json()["predictions"][0] for t in files.values()
    ]
    assert [row["record"] for row in rows] == list(files)
    for row, one in zip(rows, alone, strict=True):
        assert row["probability"]["death"] == pytest.approx(one["probability"]["death"], abs=1e-5)


def test_a_task_example_as_text_and_as_json(served: httpx.Client) -> None:
    content = served.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
    text = content["text/plain"]["examples"]["file"]["value"]
    one = content["application/json"]["examples"]["one"]["value"]
    rows = [
        served.post("/predict", content=text, headers=TEXT).json()["predictions"][0],
        served.post("/predict", json=one).json()["predictions"][0],
    ]
    assert rows[0]["probability"] == rows[1]["probability"]
    assert served.get("/healthz").json()["self_test_difference"] <= 1e-5


@pytest.mark.parametrize(("form", "most"), [("text", 2300), ("json", 2900)])
def test_one_record_takes_few_calls(built: tuple[Path, Path, Records], form: str, most: int) -> None:
    """Of a record alone nearly all time is the calls' own. They were 3,556 and 4,256 of Python and C."""
    bundle = Bundle.load(built[0])
    schema = bundle.task.raw_schema()
    raw = bundle.task.example() if form == "text" else RawInput("posted", schema["examples"][0])
    calls: list[str] = []

    def once() -> None:
        bundle.predict(bundle.task.parse([raw], strict=True).records)

    once()  # what is kept for the next record is kept now
    sys.setprofile(lambda frame, event, argument: calls.append(event))
    try:
        once()
    finally:
        sys.setprofile(None)
    assert 500 < sum(event in ("call", "c_call") for event in calls) <= most


def test_what_it_rests_on_is_what_a_record_without_it_lacks(
    built: tuple[Path, Path, Records], served: httpx.Client
) -> None:
    """Each variable left out as if the ward had not measured it: by hand from the posted record."""
    bundle = Bundle.load(built[0])
    record = bundle.task.raw_schema()["examples"][0]
    answer = served.post("/predict?explain=true", json=record)
    assert answer.status_code == 200, answer.text
    (row,) = answer.json()["predictions"]
    assert row["members"].keys() == {"lightgbm", "logistic", "network"}
    on, pieces = row["evidence"]["on"], row["evidence"]["pieces"]

    def score(events: list[dict[str, object]]) -> float:
        parsed = bundle.task.parse([RawInput("x", {**record, "events": events})], strict=True).records
        return float(bundle.task.target.scores(bundle.predict(parsed).uncalibrated)[0, 0])

    parameters = {event["parameter"] for event in record["events"]}
    found = {on["names"][p["at"][0]]: p["effect"]["death"] for p in pieces if not p["fine"]}
    assert parameters < set(found)
    for name in parameters:
        without = [event for event in record["events"] if event["parameter"] != name]
        assert found[name] == pytest.approx(score(record["events"]) - score(without), abs=2e-4)
    assert max(map(abs, found.values())) > 0.01


def test_trees_say_what_lightgbm_says_of_them(built: tuple[Path, Path, Records]) -> None:
    bundle, some = Bundle.load(built[0]), built[2].take(np.arange(20)).without_labels()
    found, members = tree_contributions(bundle, some)["lightgbm"], bundle.models["lightgbm"]
    view = members[0].featurizer.transform(some)
    expected = [
        lightgbm.Booster(model_file=bundle.directory / m.folder / "model.txt").predict(
            view.arrays()["values"], pred_contrib=True
        )
        for m in members
    ]
    of = [view.parameter_of.get(column, column) for column in view.names]  # type: ignore[attr-defined]
    for name in set(of):
        columns = [f for f, parameter in enumerate(of) if parameter == name]
        np.testing.assert_allclose(
            found[name][:, 0], np.mean(expected, axis=0)[:, columns].sum(axis=1), atol=1e-9
        )
    assert set(found) == set(of)


def test_a_patient_without_measurements_is_predicted_and_flagged(served: httpx.Client) -> None:
    text = (
        "Time,Parameter,Value\n00:00,RecordID,140501\n00:00,Age,54\n00:00,Gender,0\n00:00,Height,-1\n"
        "00:00,ICUType,4\n00:00,Weight,-1\n"
    )
    (row,) = served.post("/predict", content=text, headers=TEXT).json()["predictions"]
    assert row["flags"] == ["no_measurements"]
    assert 0 < row["probability"]["death"] < 1


@pytest.mark.parametrize(
    ("old", "new", "field", "problem"),
    [
        (b"00:00,Age,", b"99:99,Age,", "Time", "99:99"),
        (b"00:00,Age,", b"00:00,Agee,", "Parameter", "Agee"),
        (b"\n00:00,Gender,", b"\n00:10,HR,fast\n00:00,Gender,", "Value", "fast"),
        (b"Time,Parameter,Value", b"time;parameter;value", "line 1", ""),
        (b"00:00,RecordID,", b"00:00,Record,", "Parameter", "'Record' is not a known"),
    ],
)
def test_a_wrong_line_is_named(
    served: httpx.Client, files: dict[str, bytes], old: bytes, new: bytes, field: str, problem: str
) -> None:
    record, text = next(iter(files.items()))
    assert old in text
    answer = served.post("/predict", content=text.replace(old, new, 1), headers=TEXT)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert field in error["field"]
    assert problem in error["problem"]
    assert "file" not in error  # it came without a name
    assert error.get("record") == (None if b"Record," in new else record)


def test_a_wrong_json_field_is_named(served: httpx.Client) -> None:
    schema = served.get("/model").json()["record_schema"]
    record = json.loads(json.dumps(schema["examples"][0]))
    record["events"][2]["value"] = "high"
    answer = served.post("/predict", json={"records": [schema["examples"][0], record]})
    assert answer.status_code == 422
    assert "events[2].value" in answer.json()["error"]["field"]


def test_names_of_the_clients_have_an_end(served: httpx.Client) -> None:
    """One of two million letters beside 200 empty records took 1.6 GB, and a NUL was lost."""
    empty = {"descriptors": {}, "events": []}
    for name in ("x" * 2_000_000, "a\0"):
        answer = served.post("/predict", json={"records": [*[empty] * 200, {**empty, "record_id": name}]})
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert (error["record"], error["field"]) == ("records[200]", "record_id")
        assert len(answer.content) < 500
    text = served.get("/example").content
    for filename in ("x" * 300 + ".txt", "a\x01.txt"):
        head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'.encode()
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = served.post("/predict", content=head + text + b"\r\n--x--\r\n", headers=kind)
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, "filename")
    answer = served.post("/predict", json={**empty, "k" * 1_000_000: 1})  # what is no field of a record
    assert answer.status_code == 422
    assert len(answer.content) < 1000


def test_training_patients_are_known(built: tuple[Path, Path, Records]) -> None:
    directory, _, records = built
    bundle = Bundle.load(directory)
    assert bundle.seen(records).all()
    example = bundle.task.parse([bundle.task.example()], strict=True).records
    assert not bundle.seen(example).any()


def test_the_simulated_cohort_is_marked(served: httpx.Client) -> None:
    model = served.get("/model").json()
    assert model["cohort"] == "simulated"
    assert "SIMULATED" in model["warning"]
    assert model["description"].startswith("Mortality: death in hospital")
