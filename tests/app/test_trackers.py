"""Trackers beside a search: what they show of it, a search that goes on, and one whose tracker was away."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from ehrbench.app.command.cli import main
from ehrbench.app.composed.checking import check
from ehrbench.app.composed.console import command
from ehrbench.app.search import opening
from ehrbench.app.search.searching import search
from ehrbench.core.errors import ConfigError
from tests.infra.servers import free_port
from tests.spine.composing import composed, tiny_config


def tracked(folder: Path, *overrides: str) -> dict[str, Any]:
    """A tiny search's configuration, tracked in a store of the folder."""
    config = tiny_config("beats", folder, *overrides)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return config | {"tracker": {"mlflow": {"uri": uri, "experiment": "e"}}}


def test_a_search_goes_on_with_a_greater_budget(tmp_path: Path, caplog) -> None:
    for n_trials in (1, 2):
        search(tracked(tmp_path, "models=[logistic]", f"n_trials={n_trials}", "report.explained=0"))
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
    search(config)
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


def test_a_server_that_was_away_is_brought_up_to_date_later(tmp_path: Path, capsys, caplog) -> None:
    config = tracked(tmp_path, "models=[logistic]", "n_trials=1", "report.explained=0", "study_name=s")
    config["tracker"]["mlflow"]["uri"] = f"http://127.0.0.1:{free_port()}"
    search(config)
    run = str(tmp_path / "s")
    assert (
        f"MLflow has not taken the whole search; once it answers: {command('ehrbench')}"
        in capsys.readouterr().out
    )
    assert sum("MLflow" in record.message for record in caplog.records) == 1
    assert main(["study", "sync", run]) == 2
    assert re.fullmatch(r"ehrbench: MLflow: does not answer \(.*\) — .*\n", capsys.readouterr().err)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for _ in range(2):
        assert main(["study", "sync", run, "--mlflow", uri]) == 0
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("e")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 1 + 3  # two outer folds and all records
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sum(run.data.tags.get("chosen") == "yes" for run in runs) == 3


def test_the_store_of_a_moved_run_lies_beside_it(tmp_path: Path) -> None:
    config = composed(tmp_path / "before", "tracker=[mlflow]")
    settings = check(config, lambda place: Path(str(place.absolute()).replace("before", "now")))
    assert settings.tracker.mlflow is not None
    assert settings.tracker.mlflow.uri == f"sqlite:///{tmp_path / 'now' / 'mlflow.db'}"


def test_several_trackers_show_one_search(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    small = ("models=[logistic]", "n_trials=1", "report.explained=0", "study_name=s")
    config = tiny_config("beats", tmp_path, *small, "tracker=[mlflow,wandb]")
    search(config)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ehrbench-mortality")
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 1 + 3  # two outer folds and all records
    assert len(list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))) == 1 + 3
    before = sorted(tmp_path.glob("wandb/*"))
    assert main(["study", "sync", str(tmp_path / "s")]) == 0
    assert sorted(tmp_path.glob("wandb/*")) == before


def test_wandb_that_is_not_installed_is_told_before_data_are_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    config = tiny_config("beats", tmp_path, "tracker=wandb")
    with pytest.raises(ConfigError, match=r"^tracker: wandb needs a package of that name — pip install"):
        search(config)
    assert list(tmp_path.iterdir()) == []
