"""Outcomes told to a real server become a set that the publisher reads and a search could take."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from ehrbench.app.command.cli import main
from ehrbench.features.tabular import Tabular
from ehrbench.infra.database import Database
from ehrbench.publishers.own_table_files import OwnTableFiles
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.serve.limits import StoreSettings
from ehrbench.serve.store import PredictionStore
from ehrbench.tasks.mortality import Mortality
from ehrbench.tasks.own_table import OwnTable
from tests.runtime.building import build_bundle, export_trees
from tests.serve.conftest import running
from tests.serve.mortality import mortality_bundle
from tests.tasks.test_own_table import CSV, ROWS

TEXT = {"Content-Type": "text/plain"}


def tell(client: httpx.Client, rows: list[dict[str, object]], outcome: object) -> None:
    for row in rows:
        answer = client.post("/feedback", json={"prediction": row["id"], "outcome": outcome})
        assert answer.status_code == 201, answer.text


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return mortality_bundle(tmp_path_factory.mktemp("mortality"))[:2]


def serving(bundle: Path, store: Path, inputs: bool = True) -> Iterator[httpx.Client]:
    kept = PredictionStore(Database.sqlite(store).engine, StoreSettings(inputs=inputs))
    return running(bundle, store=kept)  # type: ignore[return-value]


def test_stays_come_back_as_the_challenge_has_them(
    built: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, data = built
    with tarfile.open(data / "physionet2012" / "set-a.tar.gz") as archive:
        archive.extractall(tmp_path / "raw", filter="data")
    files = sorted((tmp_path / "raw").rglob("*.txt"))[:4]
    with serving(bundle, tmp_path / "kept.db") as client:
        as_json = client.get("/model").json()["record_schema"]["examples"][0] | {"record_id": 990001}
        for n, path in enumerate(files):
            answer = client.post("/predict", content=path.read_bytes(), headers=TEXT).json()
            tell(client, answer["predictions"], n % 2 == 0)
        again = client.post("/predict", content=files[0].read_bytes(), headers=TEXT).json()["predictions"]
        tell(client, again, {"death": True})
        tell(client, again, {"death": False})  # known better
        tell(client, client.post("/predict", json=as_json).json()["predictions"], True)
        client.post("/predict", json=as_json)  # nobody said what became of it
    command = ["data", "from-feedback", "--store", str(tmp_path / "kept.db"), "--bundle", str(bundle)]
    assert main([*command, "--output", str(tmp_path / "told")]) == 0
    said = capsys.readouterr().out
    assert "5 records" in said
    assert "predicted again later: 1" in said
    cohort = PhysioNet2012(Mortality(), cache=False).read(tmp_path / "told", ("c",))
    names = cohort.records.ids.tolist()
    assert sorted(names) == sorted([*(path.stem for path in files), "990001"])
    labels = dict(zip(names, cohort.records.labels[:, 0].tolist(), strict=True))
    assert [labels[path.stem] for path in files] == [0, 0, 1, 0]
    assert labels["990001"] == 1
    whole = PhysioNet2012(Mortality(), cache=False).read(data, ("a",)).records
    before = dict(zip(whole.ids.tolist(), whole.digests.tolist(), strict=True))
    after = dict(zip(names, cohort.records.digests.tolist(), strict=True))
    assert {path.stem: after[path.stem] for path in files} == {path.stem: before[path.stem] for path in files}
    facts = json.loads((tmp_path / "told" / "feedback.json").read_text())
    assert (facts["n_records"], facts["positive"], facts["task"]) == (5, {"death": 2}, "mortality")
    assert facts["of_its_training_groups"] == 4
    assert main([*command, "--output", str(tmp_path / "again")]) == 0
    again_facts = json.loads((tmp_path / "again" / "feedback.json").read_text())
    assert again_facts["version"] == facts["version"]
    assert main([*command, "--output", str(tmp_path / "told")]) == 2
    assert "never changed" in capsys.readouterr().err


def test_without_inputs_there_is_nothing_to_train_on(
    built: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(built[0], tmp_path / "kept.db", inputs=False) as client:
        example = client.get("/example").content
        tell(client, client.post("/predict", content=example, headers=TEXT).json()["predictions"], True)
    command = ["data", "from-feedback", "--store", str(tmp_path / "kept.db"), "--bundle", str(built[0])]
    assert main([*command, "--output", str(tmp_path / "told")]) == 2
    assert "input not kept: 1" in capsys.readouterr().err
    assert not (tmp_path / "told").exists()


def test_rows_come_back_as_a_table_in_the_words_of_training(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(CSV)
    publisher = OwnTableFiles(OwnTable(label="died", id="pid"), str(tmp_path / "table.csv"))
    task = publisher.settle(tmp_path)
    records = publisher.read(tmp_path, ()).records
    bundle = build_bundle(
        tmp_path / "bundle",
        task=task,
        task_path="ehrbench.tasks.own_table.OwnTable",
        task_settings={"label": "died", "id": "pid", **task.settings()},
        records=records,
        y=records.labels,
        models={"lightgbm": [(export_trees, Tabular, "ehrbench.features.tabular.Tabular")]},
    )
    header = "pid,age (years),sex,ward,smoker,seen"
    lines = [",".join(row.split(",")[:6]) for row in ROWS[:4]]
    with serving(bundle, tmp_path / "kept.db") as client:
        body = "\n".join([header, *lines[:3]]) + "\n"  # three patients in one file
        rows = client.post("/predict", content=body, headers=TEXT).json()["predictions"]
        tell(client, rows[1:2], True)
        tell(client, rows[2:], False)
        batch = client.post(
            "/predict/batch", content=f"{header}\n{lines[3]}\n", headers={"Content-Type": "text/csv"}
        )
        tell(client, [{"id": batch.text.splitlines()[1].split(",")[1]}], True)
    command = ["data", "from-feedback", "--store", str(tmp_path / "kept.db"), "--bundle", str(bundle)]
    assert main([*command, "--output", str(tmp_path / "told")]) == 0
    told = (tmp_path / "told" / "told.csv").read_text().splitlines()
    assert told[0] == f"{header},died"
    assert told[1:] == [f"{lines[1]},yes", f"{lines[2]},no", f"{lines[3]},yes"]
    read = OwnTableFiles(task, str(tmp_path / "told" / "told.csv"))  # type: ignore[arg-type]
    again = read.read(tmp_path, ()).records
    np.testing.assert_array_equal(again.labels[:, 0], [1, 0, 1])
    assert again.digests.tolist() == records.digests[1:4].tolist()
