"""``import ehrbench as eb``: a search, its figures and its bundle from Python, as by the command line."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import RocCurveDisplay, roc_auc_score
from sklearn.pipeline import Pipeline

import ehrbench as eb
from ehrbench.app.python import api
from ehrbench.app.python.asking import asked
from ehrbench.app.python.search_run import SearchRun
from ehrbench.core.errors import BundleError, ConfigError, DataError
from tests.app.processes import ROOT

QUICK = {"protocol": "smoke", "n_trials": 1, "tracker": "none"}
QUICK["report"] = {"explained": 0, "n_bootstrap": 100}


def patients(n: int = 160, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age, lactate = rng.normal(65, 12, n).round(), rng.lognormal(0.7, 0.5, n).round(1)
    died = rng.random(n) < 1 / (1 + np.exp(-(lactate - 3 + (age - 65) / 10)))
    table = pd.DataFrame({"id": [f"p{i}" for i in range(n)], "age": age, "lactate": lactate})
    table["ward"] = pd.Categorical(rng.choice(["icu", "ward"], n))
    table["seen"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), unit="D")
    table["smoker"] = rng.random(n) < 0.3
    table.loc[::9, "lactate"] = np.nan
    return table.assign(died=np.where(died, "yes", "no"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SearchRun:
    folder = tmp_path_factory.mktemp("runs")
    return eb.search(
        patients(), label="died", id="id", models=["logistic", "lightgbm"], runs_dir=folder, **QUICK
    )


def test_importing_ehrbench_imports_nothing_else():
    code = "import sys, ehrbench; print(sorted(m for m in sys.modules if m.startswith('ehrbench'))); "
    code += "print({'numpy', 'hydra', 'torch', 'pandas'} & set(sys.modules), dir(ehrbench))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("['ehrbench']\nset()")
    assert {"search", "open_run", "load"} <= set(dir(eb))
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        eb.serach  # noqa: B018


def test_a_run_is_read_as_tables(run: SearchRun) -> None:
    board = run.leaderboard
    assert set(board.index) == {"ensemble", "logistic", "lightgbm"}
    assert board.columns[:3].tolist() == ["auroc", "auroc_low", "auroc_high"]
    assert board["auroc"].is_monotonic_decreasing
    assert board.loc["ensemble", "auroc"] == run.summary["models"]["ensemble"]["auroc"]["mean"]
    predictions = run.predictions
    one = predictions[(predictions.model == "logistic") & (predictions.outer_fold == "0")]
    assert set(one.record) <= {f"p{i}" for i in range(160)}
    fold = run.summary["models"]["logistic"]["auroc"]["folds"][0]
    assert roc_auc_score(one.label, one.probability) == pytest.approx(fold)
    assert set(run.trials.model) == {"logistic", "lightgbm"}
    again = eb.open_run(str(run.path))
    assert again.summary == run.summary
    assert "<iframe srcdoc" in again.show()._repr_html_()
    with pytest.raises(BundleError, match="finished run"):
        eb.open_run(run.path.parent)


def test_a_bundle_predicts_alike_whatever_form_rows_come_in(run: SearchRun, tmp_path: Path) -> None:
    bundle, table = eb.load(run.bundle), patients(30, seed=5)
    p = bundle.predict_proba(table)
    assert p.shape == (30, 2)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    table.to_csv(tmp_path / "new.csv", index=False)
    table.to_parquet(tmp_path / "new.parquet", index=False)
    for file in ("new.csv", "new.parquet"):
        np.testing.assert_allclose(bundle.predict_proba(tmp_path / file), p, atol=1e-6)
    np.testing.assert_allclose(bundle.predict_proba([tmp_path / "new.csv"]), p, atol=1e-6)
    rows = [
        {k: None if pd.isna(v) else str(v.date()) if k == "seen" else v for k, v in row.items()}
        for row in table.drop(columns="died").to_dict("records")
    ]
    np.testing.assert_allclose(bundle.predict_proba(rows), p, atol=1e-6)
    np.testing.assert_allclose(bundle.predict_proba(rows[3]), p[3:4], atol=1e-6)
    np.testing.assert_allclose(bundle.predict_proba(table.iloc[::-1]), p[::-1], atol=1e-6)
    by_command = [str(Path(sys.executable).with_name("ehrbench")), "predict", f"bundle={run.bundle}"]
    by_command += [f"input={tmp_path / 'new.csv'}", f"output={tmp_path / 'out.csv'}"]
    subprocess.run(by_command, check=True, capture_output=True)
    written = pd.read_csv(tmp_path / "out.csv")
    frame = bundle.predictions(table)
    assert frame.columns.tolist() == written.columns.tolist()
    np.testing.assert_allclose(frame.probability, written.probability, atol=1e-6)
    assert frame.record.tolist() == table.id.tolist()


def test_a_bundle_is_a_classifier_to_scikit_learn(run: SearchRun) -> None:
    bundle, table = run.load(), patients(80, seed=6)
    assert bundle.classes_.tolist() == ["no", "yes"]
    assert bundle.feature_names_in_.tolist() == ["age", "lactate", "ward", "seen", "smoker"]
    called = bundle.predict_proba(table)[:, 1] >= bundle.bundle.threshold[0]
    assert (bundle.predict(table) == np.where(called, "yes", "no")).all()
    pipe = Pipeline([("model", bundle)])
    np.testing.assert_array_equal(pipe.predict_proba(table), bundle.predict_proba(table))
    shown = RocCurveDisplay.from_estimator(bundle, table, table.died)
    assert shown.roc_auc == pytest.approx(
        roc_auc_score(table.died == "yes", bundle.predict_proba(table)[:, 1])
    )


def test_what_cannot_be_predicted_is_named(run: SearchRun) -> None:
    bundle, table = run.load(), patients(3)
    with pytest.raises(DataError, match=r"row 2, field age: .*old.* is no number"):
        bundle.predict_proba(table.assign(age=["70", "old", "71"]))
    with pytest.raises(DataError, match="field lactate: has no such column"):
        bundle.predict_proba(table.drop(columns="lactate"))
    with pytest.raises(DataError, match="nothing to predict in ndarray"):
        bundle.predict_proba(np.zeros((2, 5)))


@pytest.mark.parametrize(
    ("keywords", "overrides", "message"),
    [
        ({"lable": "died"}, (), "lable: unknown keyword — did you mean label?"),
        ({"task": "csv"}, (), "your own table goes with table"),
        ({"label": "died", "models": ["forest"]}, (), "models: there is no model 'forest'"),
        ({"label": "died", "protocol": "loo"}, (), "protocol: there is no 'loo'"),
        ({"label": "died"}, ["n_trails=3"], "n_trails: unknown key — did you mean n_trials?"),
        ({"label": "died"}, {"data.limmit": 3}, "data.limmit: unknown key"),
        ({"label": "died", "n_trials": 0}, (), "n_trials: input should be greater than or equal to 1"),
        ({}, (), "task.label: no column is named"),
    ],
)
def test_a_fault_is_told_in_one_line_and_leaves_nothing(keywords, overrides, message, tmp_path):
    with pytest.raises(ConfigError) as told:
        eb.search(tmp_path / "x.csv", runs_dir=tmp_path / "runs", overrides=overrides, **keywords)
    assert message in str(told.value)
    assert not (tmp_path / "runs").exists()


def test_values_need_no_quotes(tmp_path):
    columns = {"lactate (mmol/L)": "number"}
    config = asked(tmp_path / "a=b, c.csv", None, {"label": "died, when?", "columns": columns}, ())
    assert config["data"]["file"] == str(tmp_path / "a=b, c.csv")
    assert config["task"]["build"]["label"] == "died, when?"
    assert config["task"]["build"]["columns"] == columns
    assert list(config["model"]) == ["lightgbm", "logistic", "mlp"]


def test_workers_join_a_search_from_python(tmp_path):
    run = eb.search(
        patients(), label="died", drop=["id"], models="logistic", runs_dir=tmp_path, workers=2, **QUICK
    )
    assert run.summary["budget"] == {"logistic": 1}
    log = (run.path / "worker-1.log").read_text()
    assert "Traceback" not in log


def test_the_documented_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    patients()[["age", "ward", "lactate", "died"]].to_csv("patients.csv", index=False)
    ran = doctest.testmod(api)
    assert (ran.attempted, ran.failed) == (5, 0)


def test_the_notebook_runs(tmp_path, monkeypatch):
    """Its cells in order, as a kernel would run them."""
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(sources) >= 5
    names: dict[str, object] = {}
    for source in sources:
        exec(compile(source, "notebook.ipynb", "exec"), names)
    assert (tmp_path / "runs" / "breast-cancer" / "report.html").is_file()
