"""A run is read from anywhere: it knows its own place, and reading makes nothing."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml

from ehrbench.app.command.cli import main
from ehrbench.app.runs.finished import settings_of
from ehrbench.app.runs.scoring import evaluate_bundle
from ehrbench.core.run_folder import CONFIG, RunFolder
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database
from ehrbench.infra.ledger import SqlLedger
from tests.habits.conftest import everything


@pytest.fixture
def stranger(tmp_path, monkeypatch) -> Path:
    """Another user's folder, which has a ledger of its own where a search looks for one."""
    folder = tmp_path / "alice"
    (folder / "runs").mkdir(parents=True)
    empty_ledger(folder / "runs")
    monkeypatch.chdir(folder)
    return folder


def empty_ledger(runs: Path) -> None:
    engine = Database.sqlite(runs / "ehrbench.db").engine
    SqlLedger(engine, FileArtifacts(runs / "artifacts"))
    engine.dispose()


@pytest.mark.parametrize(
    ("here", "named"),
    [("runs/s", "."), ("runs/s/bundle", ".."), ("runs/s/figures", "../../s/."), ("", "runs/s/")],
)
def test_a_run_is_sealed_and_certified_under_its_own_name(here, named, project, monkeypatch, capsys):
    monkeypatch.chdir(project / here)
    assert main(["report", named]) == 0
    assert "not sealed" not in capsys.readouterr().out
    assert main(["certify", named]) == 0
    assert "s: certificate holds for 3 folds" in capsys.readouterr().out
    monkeypatch.chdir(project)
    assert main(["certify", "runs/s"]) == 0


def test_reading_from_another_folder_finds_the_run_s_ledger_and_makes_nothing(project, stranger, capsys):
    run = project / "runs" / "s"
    assert main(["certify", str(run)]) == 0  # whose cache of parsed records stays
    before, beside = everything(project), everything(stranger)
    for command in (["certify", str(run)], ["study", "replay", str(run)], ["certify", "../bob/s"]):
        capsys.readouterr()
        assert main(command) == (2 if command[1].startswith("../") else 0), capsys.readouterr().err
    assert everything(project) == before
    assert main(["explain", str(run), "--records", "5"]) == 0
    assert main(["report", str(run)]) == 0
    assert "not sealed" not in capsys.readouterr().out
    assert everything(stranger) == beside
    assert main(["certify", str(run)]) == 0


def test_a_moved_project_is_read_where_it_is_now(project, tmp_path, monkeypatch, capsys):
    moved = tmp_path / "moved"
    shutil.move(project, moved)
    monkeypatch.chdir(tmp_path)
    assert main(["certify", "moved/runs/s"]) == 2
    assert "ehrbench data get mortality" in capsys.readouterr().err  # data lay outside of runs_dir
    monkeypatch.setenv("EHRBENCH_DATA", str(moved / "data"))
    assert main(["certify", "moved/runs/s"]) == 0
    assert main(["study", "replay", "moved/runs/s"]) == 0
    assert not project.exists(), "nothing is made where it was"


def test_a_folder_of_another_name_is_the_same_run(project, monkeypatch, capsys):
    (project / "runs" / "s").rename(project / "runs" / "the best")
    monkeypatch.chdir(project)
    assert main(["report", "runs/the best"]) == 0
    assert main(["certify", "runs/the best"]) == 0
    assert "s: certificate holds" in capsys.readouterr().out


def test_a_copy_beside_another_ledger_is_not_sealed_there(project, stranger, capsys):
    copy = shutil.copytree(project / "runs" / "s", stranger / "runs" / "s")
    before = (copy / "checksums.json").read_bytes()
    assert main(["report", "runs/s"]) == 0
    assert "not sealed: the run's ledger is not here" in capsys.readouterr().out
    assert (copy / "checksums.json").read_bytes() == before
    assert main(["certify", "runs/s"]) == 2
    said = capsys.readouterr().err
    assert f"{stranger / 'runs' / 'ehrbench.db'}: knows no search s — put the ledger of" in said
    assert main(["certify", str(project / "runs" / "s")]) == 0


def test_a_copy_alone_is_read_with_the_ledger_it_was_made_beside(project, tmp_path, monkeypatch):
    copy = shutil.copytree(project / "runs" / "s", tmp_path / "s")
    monkeypatch.chdir(tmp_path)
    assert main(["report", "s"]) == 0
    assert main(["certify", "s"]) == 0
    (project / "runs" / "ehrbench.db").rename(tmp_path / "gone.db")
    assert main(["certify", str(copy)]) == 2
    assert not (tmp_path / "ehrbench.db").exists()
    assert not (project / "runs" / "ehrbench.db").exists()


def test_places_of_earlier_versions_are_seen_from_where_the_search_ran(project, stranger):
    run = RunFolder.open(project / "runs" / "s")
    config = yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))
    config |= {"runs_dir": "runs", "data": config["data"] | {"root": "data"}}
    config["storage"] |= {"path": "runs/ehrbench.db", "artifacts": "runs/artifacts"}
    (run / CONFIG).write_text(yaml.safe_dump(config), encoding="utf-8")
    settings = settings_of(run)
    found = (settings.storage.path, settings.storage.artifacts, settings.data.root)
    assert found == tuple(str(project / name) for name in ("runs/ehrbench.db", "runs/artifacts", "data"))


def test_the_bundle_is_not_taken_for_the_run(project, capsys):
    run = project / "runs" / "s"
    assert main(["report", str(run / "bundle")]) == 2
    assert f"summary.json: cannot be read (No such file or directory) — name the run's folder, {run}" in (
        capsys.readouterr().err
    )


def test_a_bundle_is_scored_from_inside_its_own_folder(project, monkeypatch):
    bundle = project / "runs" / "s" / "bundle"
    monkeypatch.chdir(bundle)
    data = {"root": "../../../data", "sets": ["b"]}
    config = {"bundle": ".", "data": data, "output": None, "n_bootstrap": 100, "seed": 0, "threads": 1}
    evaluate_bundle(config)
    assert (
        json.loads((bundle.parent / "evaluation-b" / "metrics.json").read_text(encoding="utf-8"))["n"] == 70
    )
    evaluate_bundle(config)  # nothing was put into the bundle


def test_an_option_may_stand_between_the_arguments(project, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runs = ["--runs-dir", str(project / "runs")]
    assert main(["study", "export", "fits.csv", *runs, "s", "--each", "fit"]) == 0
    with (tmp_path / "fits.csv").open(encoding="utf-8") as file:
        assert {row["study_name"] for row in csv.DictReader(file)} == {"s"}
    assert main(["study", "export", *runs, "fits.csv", "t"]) == 2
    assert "there is no search 't' — choose among s" in capsys.readouterr().err
    assert main(["compare", str(project / "runs/s"), "--metric", "auroc", str(project / "runs/s")]) == 2
    assert "RUN: a run is named twice" in capsys.readouterr().err
