"""``ehrbench pipeline run`` and ``schedule``: from a table to a served bundle, stopped, and again."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from ehrbench.app.command.pipeline import run_pipeline
from ehrbench.app.command.scheduling import Proposal, Round, ask, due, schedule
from ehrbench.app.composed.conf import CONF
from ehrbench.app.composed.entry import resolved, spell_out
from ehrbench.app.composed.pipeline_settings import Schedule, pipeline_settings
from ehrbench.app.runs.releasing import open_registry
from ehrbench.core.errors import ConfigError, EhrbenchError, StudyMismatch
from ehrbench.infra.mlflow_store import connected, sqlite_address
from ehrbench.registry.promotion import promote
from ehrbench.registry.release import NotApproved, ReleaseName
from ehrbench.runtime.bundle import Bundle
from ehrbench.serve.deployments import DeploymentPlan

NAME = ReleaseName("table", "logistic", "all")
SMALL = (
    *("task=table", "task.label=died", "models=[logistic]", "protocol=nested", "n_trials=1"),
    *("protocol.outer_folds=2", "protocol.inner_folds=2", "report.explained=0", "report.n_bootstrap=100"),
    *("pipeline.gate.limits.n_bootstrap=100", "pipeline.gate.limits.calibration.ece=1.0"),
    *("pipeline.gate.limits.calibration.slope=[-99.0,99.0]", "pipeline.gate.limits.metric.margin=0.5"),
    *("pipeline.gate.limits.subgroup.margin=1.0", "pipeline.gate.limits.latency.most_ratio=50.0"),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    age, lactate = rng.integers(20, 90, 160), rng.gamma(2.0, 1.0, 160).round(2)
    died = (rng.random(160) < 1 / (1 + np.exp(3 - lactate - age / 60))).astype(int)
    path = tmp_path_factory.mktemp("data") / "patients.csv"
    rows = [f"{a},{x},{y}" for a, x, y in zip(age, lactate, died, strict=True)]
    path.write_text("\n".join(["age,lactate,died", *rows]) + "\n")
    return path


@pytest.fixture
def runs(empty: Path, tmp_path: Path) -> Path:
    shutil.copy(empty, tmp_path)
    return tmp_path


def config(table: Path, folder: Path, *overrides: str) -> dict[str, Any]:
    arguments = spell_out([*SMALL, f"data.file={table}", f"runs_dir={folder}", *overrides])
    with initialize_config_dir(str(CONF)):
        return resolved(compose("pipeline", overrides=arguments))


def runs_of(folder: Path) -> dict[str, Any]:
    """Name of a run of MLflow's to the run itself."""
    client = connected(sqlite_address(folder / "mlflow.db"))
    (experiment,) = (e for e in client.search_experiments() if e.name == "ehrbench-table")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_a_pipeline_is_stopped_by_its_gate_mended_done_and_not_done_again(table, runs, capsys):
    with pytest.raises(NotApproved, match=r"refused \(size: .* — mend that"):
        run_pipeline(config(table, runs, "study_name=one", "pipeline.gate.limits.size_mb=0.001"))
    assert not (runs / "served").exists()
    found = runs_of(runs)
    assert {found[name].info.status for name in ("gate", "one")} >= {"FAILED"}
    assert json.loads(found["gate"].data.tags["size"])["passed"] is False

    bundle = runs / "one" / "bundle"
    before = Bundle.load(bundle).digest
    run_pipeline(config(table, runs, "study_name=one"))
    run_pipeline(config(table, runs, "study_name=one"))
    assert Bundle.load(bundle).digest == before  # searched once
    registry = open_registry(None, runs)
    (release,) = registry.releases(NAME)
    assert (release.version, release.aliases, release.approved) == ("1", ("champion",), True)
    plan = DeploymentPlan.read(runs / "served" / "deployments.yaml")
    assert Bundle.load(plan.folders["champion"]).digest == before
    assert plan.canary == {}
    assert "approved        table/logistic/all/1, before" in capsys.readouterr().out

    client = connected(sqlite_address(runs / "mlflow.db"))
    found = client.search_runs([runs_of(runs)["gate"].info.experiment_id])
    above = {run.info.run_id: run.data.tags.get("mlflow.parentRunId") for run in found}
    steps = {run.data.tags["ehrbench.step"]: run for run in found if "ehrbench.step" in run.data.tags}
    assert sorted(steps) == ["approve", "deploy", "gate", "pipeline", "register", "search"]
    (root,) = (run for run, parent in above.items() if parent is None)
    assert root == steps["pipeline"].info.run_id
    assert {above[run.info.run_id] for name, run in steps.items() if name != "pipeline"} == {root}
    (searched,) = (run for run in found if run.data.tags.get("kind") == "search")
    assert above[searched.info.run_id] == steps["search"].info.run_id
    assert {run.info.status for run in steps.values()} == {"FINISHED"}


def test_other_records_are_no_search_that_is_done(table, runs):
    mine = runs / "patients.csv"
    mine.write_text(table.read_text())
    run_pipeline(config(mine, runs, "study_name=one"))
    mine.write_text(table.read_text() + "44,1.2,0\n")
    with pytest.raises(StudyMismatch, match="data"):
        run_pipeline(config(mine, runs, "study_name=one"))


def test_a_hand_is_waited_for_and_meanwhile_a_canary_answers(table, runs, capsys):
    run_pipeline(config(table, runs, "study_name=one"))
    by_hand = ("study_name=two", "n_trials=2", "pipeline.approve=hand", "pipeline.canary=0.2")
    by_hand += ("pipeline.load_test={clients: 2, seconds: 0.3, p99_ms: 5000.0}",)
    run_pipeline(config(table, runs, *by_hand))
    assert "registry promote table/logistic/all/2" in re.sub(r"\s+", " ", capsys.readouterr().out)
    assert int(runs_of(runs)["load test"].data.tags["requests"]) > 0
    plan = DeploymentPlan.read(runs / "served" / "deployments.yaml")
    assert plan.canary == {"challenger": 0.2}
    served = {alias: Bundle.load(place).manifest.study_name for alias, place in plan.folders.items()}
    assert served == {"champion": "one", "challenger": "two"}

    promote(open_registry(None, runs), NAME, "2")
    run_pipeline(config(table, runs, *by_hand))
    plan = DeploymentPlan.read(runs / "served" / "deployments.yaml")
    assert (plan.canary, Bundle.load(plan.folders["champion"]).manifest.study_name) == ({}, "two")


def test_what_cannot_be_is_refused_before_anything_is_searched(table, tmp_path):
    with pytest.raises(ConfigError, match=r"pipeline\.canary: .* — give pipeline\.approve=hand"):
        run_pipeline(config(table, tmp_path, "pipeline.canary=0.1"))
    with pytest.raises(ConfigError, match=r"pipeline\.approve: .*'gate' or 'hand'"):
        run_pipeline(config(table, tmp_path, "pipeline.approve=nobody"))
    with pytest.raises(ConfigError, match=r"new_outcomes: nobody says .* — give .*monitoring=URL"):
        run_pipeline(config(table, tmp_path, "pipeline.schedule.new_outcomes=5"))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "env").glob("*.yaml")))
def test_every_environment_composes(name, table, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    whole = config(table, tmp_path, f"env={name}")
    settings, search = pipeline_settings(whole)
    assert search["storage"]["kind"] == ("sqlite" if name == "dev" else "mysql")
    assert settings.gate.limits.simulated == (name == "dev")
    assert (settings.approve, settings.canary) == (("hand", 0.1) if name == "prod" else ("gate", 0.0))
    assert (settings.load_test is None) == (name == "dev")


def test_a_shared_environment_names_the_store_that_it_lacks(table, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI"):
        config(table, tmp_path, "env=prod")


NOW = datetime(2026, 11, 28, tzinfo=UTC)
EACH_WEEK = Schedule(every_days=7, look_minutes=1, monitoring=None, new_outcomes=None)
BY_COUNT = EACH_WEEK.model_copy(update={"new_outcomes": 50})


def ended(days: float = 1, **more: Any) -> Round:
    began = (NOW - timedelta(days=days)).isoformat()
    return Round(**{"study_name": "r", "began": began, "ended": began, "version": "v", **more})


@pytest.mark.parametrize(
    ("settings", "last", "proposal", "why"),
    [
        (EACH_WEEK, None, Proposal(), "the first round"),
        (EACH_WEEK, ended(6.9), Proposal(), ""),
        (EACH_WEEK, ended(7), Proposal(), "the last one began 7 days ago"),
        (EACH_WEEK, ended(ended=None), Proposal(), "goes on"),
        (EACH_WEEK, ended(), Proposal("v", True, ("drift of HR",)), "drift of HR"),
        (EACH_WEEK, ended(answered="v"), Proposal("v", True, ("drift of HR",)), ""),
        (EACH_WEEK, ended(answered="v"), Proposal("w", True, ("drift of HR",)), "drift of HR"),
        (BY_COUNT, ended(outcomes=20), Proposal("v", outcomes=69), ""),
        (BY_COUNT, ended(outcomes=20), Proposal("v", outcomes=70), "50 outcomes"),
        (BY_COUNT, ended(outcomes=80), Proposal("w", outcomes=50), "50 outcomes"),
        (EACH_WEEK.model_copy(update={"every_days": None}), ended(99), Proposal(), ""),
    ],
)
def test_a_round_is_due(settings, last, proposal, why):
    found = due(settings, last, proposal, NOW)
    assert found.startswith(why)
    assert bool(found) == bool(why)


@pytest.fixture
def monitor() -> Iterator[tuple[str, dict[str, Any]]]:
    """A server's /monitoring, and what it says."""
    said: dict[str, Any] = {"version": "v", "proposal": {"retrain": True, "reasons": ["a"], "outcomes": 3}}

    class Monitoring(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Monitoring)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/monitoring", said
    server.shutdown()
    server.server_close()


def test_a_monitor_is_asked_and_one_that_says_nothing_ends_nothing(monitor, capsys):
    url, said = monitor
    assert ask(url) == Proposal("v", True, ("a",), 3)
    del said["proposal"]
    assert ask(url) == Proposal()
    assert ask(url) == ask("http://127.0.0.1:9/monitoring") == Proposal()
    assert "Connection refused); the calendar goes on" in capsys.readouterr().err


def test_a_schedule_runs_a_round_of_its_own_name_and_not_the_next_at_once(table, runs, monkeypatch, capfd):
    monkeypatch.chdir(runs)  # no .env
    arguments = [*SMALL, f"data.file={table}", f"runs_dir={runs}", "tracker=none", "study_name=weekly"]
    given = config(table, runs, "study_name=weekly", "tracker=none")
    schedule(given, arguments, once=True)
    assert "ended with 0" in capfd.readouterr().err
    state = json.loads((runs / "weekly.schedule.json").read_text())
    assert state["ended"] > state["began"]
    plan = DeploymentPlan.read(runs / "served" / "deployments.yaml")
    assert Bundle.load(plan.folders["champion"]).manifest.study_name == state["study_name"]
    schedule(given, ["no such argument"], once=True)  # nothing is due
    assert json.loads((runs / "weekly.schedule.json").read_text()) == state
    (runs / "weekly.schedule.json").write_text("{}")
    with pytest.raises(EhrbenchError, match=r"weekly\.schedule\.json: altered or no schedule — mend it"):
        schedule(given, arguments, once=True)
