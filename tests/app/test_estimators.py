"""Other libraries' classifiers through a whole search by command, on a person's own table, to a server."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from ehrbench.app.command.cli import main
from ehrbench.report import failures
from tests.app.processes import run
from tests.serve.conftest import running

MODELS = ("xgboost", "hist_gradient_boosting", "knn", "estimator")
#: What a bundle of them does without.
TRAINERS = ("xgboost", "catboost", "skl2onnx", "onnxmltools")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("estimators")
    rng = np.random.default_rng(0)
    with (folder / "patients.csv").open("w") as file:
        out = csv.writer(file)
        out.writerow(["pid", "age", "ward", "lactate", "died"])
        for number in range(240):
            age, lactate, ward = rng.normal(60, 12), rng.lognormal(0.7, 0.5), "ABC"[int(rng.integers(3))]
            risk = (age - 60) / 12 + lactate - 2 + (ward == "B")
            measured = f"{lactate:.1f}" if rng.random() < 0.8 else ""
            died = "yes" if rng.random() < 1 / (1 + np.exp(1.5 - risk)) else "no"
            out.writerow([number, f"{age:.0f}", ward, measured, died])
    code, said = run(
        "search.py",
        f"models=[{','.join(MODELS)}]",
        *("task=table", f"data.file={folder / 'patients.csv'}", "task.label=died", "task.id=pid"),
        *("n_trials=1", "protocol.outer_folds=2", "protocol.inner_folds=2", "report.n_bootstrap=100"),
        *("report.explained=10", "tracker=none", f"runs_dir={folder / 'runs'}", "study_name=all"),
        "model.estimator.build.estimator=sklearn.naive_bayes.GaussianNB",
        "+model.estimator.space.var_smoothing={type: float, low: 1e-9, high: 0.1, log: true}",
        data=folder,
    )
    assert code == 0, said
    return folder


def test_each_is_judged_and_shown(searched):
    run_folder = searched / "runs" / "all"
    summary = json.loads((run_folder / "summary.json").read_text())
    assert set(summary["models"]) == {*MODELS, "ensemble"}
    assert all(results["auroc"]["mean"] > 0.6 for results in summary["models"].values())
    assert all("failed" not in study for study in summary["studies"].values())
    page = (run_folder / "report.html").read_text()
    assert all(name in page for name in MODELS)
    assert failures(run_folder) == []
    assert main(["certify", str(run_folder)]) == 0


def test_its_bundle_is_evaluated_asked_and_served(searched):
    bundle = searched / "runs" / "all" / "bundle"
    assert not [path for path in bundle.rglob("*") if path.suffix in (".pkl", ".joblib", ".skops")]
    data = {"data": searched}
    others = (searched / "patients.csv").read_text().replace("\n", "\n1000")[: -len("1000")]
    (searched / "others.csv").write_text(others)
    file = f"data.file={searched / 'others.csv'}"
    options = (f"bundle={bundle}", "n_bootstrap=100", f"output={searched / 'evaluation'}")
    code, said = run("evaluate.py", *options, file, "data.sets=[train]", **data)
    assert code == 0, said
    code, said = run(
        "predict.py",
        *(f"bundle={bundle}", f"input={searched / 'patients.csv'}", f"output={searched / 'p.csv'}"),
        hidden=TRAINERS,
        **data,
    )
    assert code == 0, said
    with (searched / "p.csv").open() as rows:
        p = [float(row["probability"]) for row in csv.DictReader(rows)]
    with running(bundle) as client:
        answer = client.post("/predict", json={"pid": "0", "age": 70, "ward": "B", "lactate": None})
    assert answer.status_code == 200, answer.text
    assert len(p) == 240
