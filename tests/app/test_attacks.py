"""Leaks that no access log sees, planted as a clinic's own code would: ``certify`` finds each by its kind."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from ehrbench.app.command.cli import main
from ehrbench.app.runs import certifying
from ehrbench.app.runs.certifying import Again, certify_run
from ehrbench.app.runs.confinement import OutsideLooked
from ehrbench.app.runs.finished import decided_by_run, wire_run
from ehrbench.app.search.searching import search
from ehrbench.core import plugins
from ehrbench.core.errors import BundleError, FitError
from ehrbench.core.progress import SILENT
from ehrbench.core.run_folder import RunFolder
from ehrbench.infra.ledger import SqlLedger
from ehrbench.spine import procedure
from ehrbench.spine.certificate import NotClean
from tests.app import leaky
from tests.spine.composing import composed

FIT_LEAKS = (
    "WarmStart",
    "RunningStatistics",
    "SelectedOnce",
    "HeldValidation",
    "CachedFile",
)
FEATURE_LEAKS = ("Positions", "WithinBatch", "LateFlag")


@pytest.fixture
def clinic(tmp_path, monkeypatch):
    """A table of noise, sorted by its outcome, and the package ``leaky`` beside it."""
    rng = np.random.default_rng(0)
    table = tmp_path / "stays.csv"
    y = np.arange(120) >= 60
    lines = [f"{i},{','.join(f'{v:.3f}' for v in rng.normal(size=4))},{int(y[i])}" for i in range(len(y))]
    table.write_text("\n".join(["pid,a,b,c,d,died", *lines]) + "\n", encoding="utf-8")
    package = tmp_path / "src" / "leaky"
    package.mkdir(parents=True)
    texts = {"models": leaky.MODELS, "features": leaky.FEATURES, "publishers": leaky.PUBLISHERS}
    for name, text in {**texts, "__init__": ""}.items():
        (package / f"{name}.py").write_text(text.replace("TABLE", str(table)), encoding="utf-8")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv(plugins.NAMED, "leaky")
    monkeypatch.syspath_prepend(str(package.parent))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "leaky"]:
        del sys.modules[name]


def searched(clinic, models, features=(), publisher="ehrbench.publishers.own_table_files.OwnTableFiles"):
    """A nested search of these models on the table; the folder of its run."""
    small = ["n_trials=1", "protocol.inner_folds=2", "report.n_bootstrap=100", "report.explained=0"]
    data = ["task=table", f"data.file={clinic / 'stays.csv'}", "task.label=died", "task.id=pid"]
    config = composed(clinic / "runs", *data, *small, "protocol.outer_folds=2", "models=[logistic]")
    logistic = config["model"]["logistic"] | {"space": {}}
    build, view = dict(logistic["build"]), config["task"]["views"]["scaled_table"]
    contenders = {name: logistic | {"build": build | {"_target_": f"leaky.models.{name}"}} for name in models}
    contenders |= {name: logistic | {"view": name} for name in features}
    views = {name: view | {"_target_": f"leaky.features.{name}"} for name in features}
    task = config["task"] | {
        "views": config["task"]["views"] | views,
        "publisher": config["task"]["publisher"] | {"_target_": publisher},
    }
    search(config | {"model": contenders, "task": task, "study_name": "attacked"})
    return clinic / "runs" / "attacked"


def test_what_outlives_a_fit_is_caught_and_a_clean_model_beside_it_is_not(clinic, monkeypatch):
    run = searched(clinic, ("Plain", *FIT_LEAKS))
    certify_run(run, Again(), SILENT)  # the access log is as it should be
    shares = [["Plain", *FIT_LEAKS[:3]], [*FIT_LEAKS[3:]], []]  # as if several workers had searched it
    monkeypatch.setattr(certifying, "_shares", lambda decided: shares)
    with pytest.raises(NotClean, match=r"the same code gives another .* something outlives a fit") as caught:
        certify_run(run, Again(counterfactual=True, folds=[1]), SILENT)
    changed = " ".join(caught.value.changed)
    assert [name for name in FIT_LEAKS if name not in changed] == []
    assert "Plain" not in changed


def test_what_is_remembered_of_records_and_not_exported_stops_the_search(clinic):
    with pytest.raises(BundleError, match=r"members/Remembering/0, exported, is up to .* from its model's"):
        searched(clinic, ("Plain", "Remembering"))


def test_statistics_that_grow_while_predicting_stop_the_search(clinic):
    with pytest.raises(FitError, match=r"Growing predicts record .* among others and as .* alone"):
        searched(clinic, (), ("Growing",))


def test_a_fit_that_goes_back_to_the_source_is_told_by_the_file(clinic):
    """By its data the run again is the same, with other test records, too: the file was read, not handed."""
    run = searched(clinic, ("ReadsSource",))
    with pytest.raises(OutsideLooked, match=r"fold 0: a fit reads .*stays\.csv, which it was not handed"):
        certify_run(run, Again(counterfactual=True, folds=[0]), SILENT)


def test_what_a_prediction_rests_on_beside_the_record_is_caught(clinic, monkeypatch):
    leaks = (clinic, ("Plain", "ReadsOutcomes"), FEATURE_LEAKS, "leaky.publishers.Flagged")
    with pytest.raises(
        FitError, match=r"fold 0: ReadsOutcomes predicts record .* among others and as .* alone"
    ):
        searched(*leaks)
    monkeypatch.setattr(procedure, "ALONE", 0)
    run = searched(*leaks)
    with pytest.raises(NotClean, match=r"its exported form says .* rests on something beside") as caught:
        certify_run(run, Again(predictions=True, folds=[1]), SILENT)
    assert {*caught.value.changed} == {"ReadsOutcomes", *FEATURE_LEAKS, "ensemble"}


def test_features_that_read_a_file_when_they_predict_are_told_by_it(clinic):
    run = searched(clinic, (), ("ReadsTable",))
    with pytest.raises(NotClean, match=r"fold 1: a prediction reads .*stays\.csv, which it was not handed"):
        certify_run(run, Again(predictions=True, folds=[1]), SILENT)


@pytest.mark.parametrize("leak", ["Encoded", "Scaled"])
def test_content_that_rests_on_outcomes_or_other_records_is_caught_where_it_is_read(clinic, leak):
    run = searched(clinic, ("Plain",), publisher=f"leaky.publishers.{leak}")
    with pytest.raises(NotClean, match=rf"{leak}\.read: \d+ of 120 records have another content") as caught:
        certify_run(run, Again(counterfactual=True, folds=[0]), SILENT)
    assert len(caught.value.changed) > 60


def test_a_clean_run_passes_all_of_it(clinic, capsys, monkeypatch):
    run = searched(clinic, ("Plain",))
    assert main(["certify", str(run), "--counterfactual", "--folds", "1"]) == 0
    said = capsys.readouterr().out
    read = "outcomes exchanged and test records replaced: the contents of 120 records are as they were"
    assert f"fold   1: read with {read}" in said
    assert "fold   1: 60 test records predicted again from exported models, 32 of them alone" in said
    assert "unchanged by other test records, in a process of its own\n" in said
    assert "bundle  : 120 of its own records predicted again" in said
    certificate = json.loads((run / "certificate.json").read_text())
    assert {name: len(d) for name, d in certificate["judged"]["1"].items()} == {"Plain": 64, "ensemble": 64}
    assert_excused_by_a_reason_alone(RunFolder.open(run), monkeypatch)
    assert_a_flipped_outcome_is_called_so(clinic / "stays.csv", run)


def assert_a_flipped_outcome_is_called_so(table, run):
    """It moves the folds as well, which are stratified: those are not what is wrong."""
    text = table.read_text()
    assert text.endswith(",1\n")
    table.write_text(text[:-2] + "0\n")
    with pytest.raises(NotClean, match=r"attacked: the data are not those that were searched.* an outcome"):
        certify_run(run, Again(), SILENT)


def assert_excused_by_a_reason_alone(run, monkeypatch):
    wired = wire_run(run, SILENT)
    decided = decided_by_run(run, wired.search, wired.search.split.outer[1])

    def excuse():
        return certifying._excuse(run, wired, decided)

    assert excuse() is None
    tickets = SqlLedger.tickets
    with monkeypatch.context() as patch:
        patch.setattr(SqlLedger, "tickets", lambda *of: 2 * tickets(*of))
        assert excuse().why.startswith("several workers ran study")
        assert excuse().same_bits
    with monkeypatch.context() as patch:
        patch.setattr(certifying, "versions", lambda: {"numpy": "another"})
        assert not excuse().same_bits
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    assert excuse().why.startswith("it ran on another machine")
