"""The tracker beside a search: what it costs the main thread, and a search that goes on."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from ehrbench.app.searching import search
from ehrbench.infra.tracking import MlflowTracker
from tests.spine.composing import tiny_config


def tracked(folder: Path, *overrides: str) -> dict[str, Any]:
    """A tiny search's configuration, tracked in a store of the folder."""
    config = tiny_config("beats", folder, *overrides)
    places = {"uri": f"sqlite:///{folder / 'mlflow.db'}", "spool": str(folder / "spool")}
    return config | {"tracker": {"kind": "mlflow", "experiment": "e", **places}}


def test_a_search_goes_on_with_a_greater_budget(tmp_path: Path, caplog) -> None:
    for n_trials in (1, 2):
        search(tracked(tmp_path, "models=[logistic]", f"n_trials={n_trials}", "report.explained=0"), [])
    assert "refused" not in caplog.text
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("e")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'search'")
    assert [run.data.tags["budget"] for run in runs] == ["logistic 2"]


def test_what_people_look_for_in_the_list_of_runs(tmp_path: Path) -> None:
    """The searched metric, source and data, true times, the chosen trials and their courses, the bundle."""
    config = tracked(tmp_path, "models=[mlp,logistic]", "n_trials=2", "report.explained=0")
    config["model"]["mlp"]["build"]["max_epochs"] = 3
    search(config, [])
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("e")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    (parent,) = (run for run in runs if run.data.tags.get("kind") == "search")
    summary = json.loads(next(tmp_path.glob("*/summary.json")).read_text())
    assert parent.data.metrics["auroc"] == summary["models"]["ensemble"]["auroc"]["mean"]
    assert parent.data.tags["mlflow.source.name"] == "ehrbench search"
    assert parent.data.tags["mlflow.source.git.commit"] == summary["code"]["git_commit"]
    (given,) = parent.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("tiny-beats s", summary["data"]["digest"][:36])
    trials = [run for run in runs if "model" in run.data.params]
    assert len(trials) == 2 * 2 * 3  # models, trials, two outer folds and all records
    for trial in trials:
        taken = (trial.info.end_time - trial.info.start_time) / 1000
        assert taken >= trial.data.metrics["seconds"] - 0.01
        assert trial.info.status == "FINISHED"
        for name in (name for name in trial.data.metrics if "loss" not in name):
            assert len(client.get_metric_history(trial.info.run_id, name)) == 1
    chosen = [trial for trial in trials if trial.data.tags.get("chosen") == "yes"]
    assert len(chosen) == 2 * 3
    for trial in chosen:
        if trial.data.params["model"] == "mlp":
            steps = [point.step for point in client.get_metric_history(trial.info.run_id, "valid_loss.fold0")]
            assert len(steps) >= 2
            assert steps == sorted(set(steps))
    (model,) = client.search_logged_models([experiment.experiment_id])
    assert (model.source_run_id, model.status) == (parent.info.run_id, "READY")
    assert (Path(model.artifact_location.removeprefix("file://")) / "manifest.json").exists()


def test_the_main_thread_spends_less_than_a_hundredth_in_tracker_calls(tmp_path: Path, monkeypatch) -> None:
    """On a search of the shortest fits there are, where calls weigh most, with an MLflow that takes them."""
    spent: list[float] = []

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def timing(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                if threading.current_thread() is threading.main_thread():
                    spent.append(time.perf_counter() - started)

        return timing

    for name in ("run", "params", "metrics", "artifact", "dataset", "model", "end"):
        monkeypatch.setattr(MlflowTracker, name, timed(getattr(MlflowTracker, name)))
    config = tracked(tmp_path, "models=[logistic,lightgbm]")
    started = time.perf_counter()
    search(config, [])
    wall = time.perf_counter() - started
    print(f"{len(spent)} tracker calls: {sum(spent) * 1e3:.1f} ms of {wall:.1f} s, {sum(spent) / wall:.3%}")
    share = len(spent) * statistics.median(spent) / wall  # a busy machine interrupts a few of them for long
    assert len(spent) > 50
    assert share < 0.01
