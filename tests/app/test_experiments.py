"""Whole runs by the scripts of ``experiments/``: one configuration, networks alone, two workers."""

from __future__ import annotations

import json

from tests.app.processes import SMALL, run


def test_train_cross_validates_one_configuration(data, tmp_path):
    """And one of another metric beside it, under a name of its own; no network is needed, nor waited for."""
    arguments = ["model=logistic", "protocol=smoke", "tracker=none", f"runs_dir={tmp_path}"]
    for more in (
        ["report.explained=4"],
        ["report.explained=0", "metric=brier", "ensemble.calibrators=[identity]"],
    ):
        code, output = run("train.py", *arguments, *more, data=data, hidden=("ehrbench.models.network",))
        assert code == 0, output
    (explained,) = tmp_path.glob("*/explanations.json")
    assert json.loads(explained.read_text())["attributions"]["logistic"]["method"].startswith("coefficient")
    found = [json.loads(path.read_text()) for path in tmp_path.glob("*/summary.json")]
    assert {content["metric"] for content in found} == {"auroc", "brier"}
    for content in found:
        assert content["budget"] == {"logistic": 1}
        assert all(fold["chosen"]["models"]["logistic"]["params"] == {} for fold in content["folds"])
    (alone,) = (content["models"] for content in found if content["metric"] == "brier")
    assert alone["ensemble"] == alone["logistic"]
    assert "intervals · ensemble" not in output  # what says the same is judged once


def test_networks_are_searched_explained_and_predict_without_lightgbm_and_mlflow(data, tmp_path):
    hidden = ("lightgbm", "mlflow")
    small = ["protocol=smoke", "data.limit=150", "report.explained=4", "model.lstm.build.max_epochs=1"]
    small += ["models=[lstm]", "tracker=none", f"runs_dir={tmp_path}"]
    code, output = run("search.py", *small, data=data, hidden=hidden)
    assert code == 0, output
    assert "[HYDRA]" not in output  # a line of another library's, such as matplotlib's of its fonts
    explained = json.loads((tmp_path / "mortality-smoke" / "explanations.json").read_text())
    assert explained["attributions"]["lstm"]["method"].startswith("integrated gradients")
    raw = [f"input={data / 'physionet2012' / 'set-b.tar.gz'}", f"output={tmp_path / 'out.csv'}"]
    bundle = tmp_path / "mortality-smoke" / "bundle"
    code, output = run("predict.py", f"bundle={bundle}", *raw, data=data, hidden=hidden)
    assert code == 0, output


def test_two_local_workers_share_one_exact_budget(data, tmp_path):
    """In each job of a sweep, and the worker of one job is not begun again for the other."""
    arguments = ["-m", "study_name=one,two", *SMALL, f"runs_dir={tmp_path}", "n_trials=4", "workers=2"]
    code, output = run("search.py", *arguments, data=data)
    assert code == 0, output
    for name in ("one", "two"):
        log = (tmp_path / name / "worker-1.log").read_text()
        assert "mortality-smoke" not in log  # only progress
        assert "HYDRA" not in log
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        assert all(
            sum(s.get(k, 0) for k in ("complete", "pruned", "failed")) == 4
            for s in summary["studies"].values()
        )
