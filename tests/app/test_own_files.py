"""A person's own files, one command each and no YAML: foreign tables and a long cohort, to a server."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_wine

from ehrbench.runtime.bundle import Bundle
from tests.app.processes import SMALL, run
from tests.serve.conftest import running
from tests.tasks.own_data import series

QUICK = [*SMALL, "n_trials=1", "report.n_bootstrap=100", "study_name=s"]


def cancer(path: Path) -> list[str]:
    """scikit-learn's: thirty numbers, an outcome in words."""
    found = load_breast_cancer(as_frame=True)
    frame = found.data.assign(diagnosis=np.array(found.target_names)[found.target])
    frame.to_csv(path, index=False)
    return ["task.label=diagnosis"]


def wine(path: Path) -> list[str]:
    """scikit-learn's: three classes; separated by tabs, packed."""
    frame = load_wine(as_frame=True).frame
    frame.to_csv(path.with_suffix(".tsv.gz"), index=False, sep="\t")
    path.with_suffix(".tsv.gz").rename(path)
    return ["task.label=target"]


def arrests(path: Path) -> list[str]:
    """Made, of the shape of lifelines' Rossi: flags as words, dates of release; semicolons, Latin-1."""
    rng = np.random.default_rng(4)
    lines = ["Nr;Entlassen;Alter;Hilfe;Rasse;Beruf;Vorstrafen;Rückfall"]
    for i in range(240):
        age, prior = rng.integers(17, 45), rng.poisson(3)
        again = rng.random() < 1 / (1 + np.exp(0.4 * (age - 31) - (prior - 3)))
        day = np.datetime64("1971-01-01") + int(rng.integers(400))
        aid, race, work = (
            rng.choice(["ja", "nein"]),
            rng.choice(["a", "b"]),
            rng.choice(["Bäcker", "ohne", ""]),
        )
        lines.append(f"{i};{day};{age};{aid};{race};{work};{prior};{('nein', 'ja')[int(again)]}")
    path.write_bytes("\r\n".join(lines).encode("latin-1"))
    return ["task.label=Rückfall", "task.id=Nr"]


@pytest.mark.parametrize("write", [cancer, wine, arrests])
def test_a_foreign_table_is_searched_by_one_command(write, tmp_path):
    path = tmp_path / "table.csv"
    arguments = ["task=table", f"data.file={path}", *write(path), *QUICK, f"runs_dir={tmp_path}"]
    code, output = run("search.py", *arguments, data=tmp_path)
    assert code == 0, output
    summary = json.loads((tmp_path / "s" / "summary.json").read_text())
    assert summary["models"]["ensemble"]["auroc"]["mean"] > 0.7
    assert (tmp_path / "s" / "report.html").stat().st_size > 50_000
    answers_its_example(tmp_path / "s" / "bundle")


def answers_its_example(folder: Path) -> None:
    """The server of this bundle: its schema's example, and the file that it shows, give one probability."""
    with running(folder) as client:
        (example,) = client.get("/model").json()["record_schema"]["examples"]
        body = Bundle.load(folder).task.example().body
        answers = [
            client.post("/predict", json=example),
            client.post("/predict", content=body, headers={"content-type": "text/csv"}),
        ]
    assert [answer.status_code for answer in answers] == [200, 200], [answer.text for answer in answers]
    one, two = (answer.json()["predictions"][0]["probability"] for answer in answers)
    assert one == two


def test_a_long_cohort_is_searched_scored_predicted_and_served(tmp_path):
    files = series(tmp_path / "own", 160, 3)["publisher"]
    new = series(tmp_path / "new", 60, 8)["publisher"]
    for path in new.values():  # other people, some of whom have no measurements
        lines = Path(path).read_text().splitlines()
        Path(path).write_text("\n".join([lines[0], *(f"n{line}".replace(",p", ",q") for line in lines[1:])]))
    own = [f"data.{key}={path}" for key, path in files.items()]
    settings = ["task=series", "task.label=died", "task.group=patient", "task.horizon_hours=96"]
    code, output = run("search.py", *settings, *own, *QUICK, f"runs_dir={tmp_path}", data=tmp_path)
    assert code == 0, output
    assert "8 ids of outcomes.csv have no row, the first is s7 (line 9)" in output
    bundle = tmp_path / "s" / "bundle"
    answers_its_example(bundle)

    other = [f"data.{key}={path}" for key, path in new.items()]
    scored = [f"bundle={bundle}", "data.sets=[train]", "n_bootstrap=100", f"output={tmp_path / 'scored'}"]
    code, output = run("evaluate.py", *scored, *other, data=tmp_path)
    assert code == 0, output
    assert json.loads((tmp_path / "scored" / "metrics.json").read_text())["auroc"]["value"] > 0.7
    Path(new["labels"]).unlink()
    predicted = [f"bundle={bundle}", f"input={tmp_path / 'new'}", f"output={tmp_path / 'out.csv'}"]
    code, output = run("predict.py", *predicted, data=tmp_path)
    assert code == 0, output
    with (tmp_path / "out.csv").open() as file, (tmp_path / "scored" / "predictions.csv").open() as known:
        one, two = ({row["record"]: row["probability"] for row in csv.DictReader(f)} for f in (file, known))
    assert one == two
    assert len(one) == 60
