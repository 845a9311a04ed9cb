"""The certificate of a finished search: it holds, and what is missing, altered or left out is named."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing

import pytest

from ehrbench.app.command.cli import main
from ehrbench.app.runs.certifying import Again, certify_run
from ehrbench.app.runs.finished import ledger_of
from ehrbench.app.runs.sealing import seal
from ehrbench.app.search.searching import search as run_search
from ehrbench.app.wired.study_code import sources
from ehrbench.core.errors import BundleError, StorageError, StudyMismatch
from ehrbench.core.progress import SILENT
from ehrbench.core.run_folder import RunFolder
from ehrbench.infra.ledger import SqlLedger
from ehrbench.spine.certificate import NotClean, certify
from tests.spine.composing import tiny_config, wired


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    run_search(tiny_config("beats", folder, "models=[logistic]", "n_trials=2"))
    return folder / "tiny-beats-nested"


@pytest.fixture
def finished(searched, tmp_path):
    """A copy to spoil; its ledger is the same."""
    return shutil.copytree(searched, tmp_path / searched.name)


def recheck(folder) -> None:
    certify_run(folder, Again(), SILENT)


def test_a_finished_run_certifies(finished, capsys):
    recheck(finished)
    assert "certificate holds for 3 folds" in capsys.readouterr().out
    sealed = json.loads((finished / "checksums.json").read_text())
    there = {p.relative_to(finished).as_posix() for p in finished.rglob("*") if p.is_file()}
    in_bundle = {name for name in there if name.startswith("bundle/")}
    assert set(sealed) == (there - in_bundle - {"checksums.json"}) | {"bundle/checksums.json"}


def test_every_file_of_a_run_that_is_missing_or_altered_is_named(finished):
    names = [p.relative_to(finished).as_posix() for p in finished.rglob("*") if p.is_file()]
    assert len(names) > 30
    for name in names:
        path, what = finished / name, re.escape(name)
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        with pytest.raises(BundleError, match=f"{what}: altered"):
            recheck(finished)
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(BundleError, match=f"{what}: altered"):
            recheck(finished)
        path.unlink()
        with pytest.raises(BundleError, match=f"{what}: (missing|cannot be read)"):
            recheck(finished)
        path.write_bytes(content)
    recheck(finished)


def test_what_is_written_again_is_sealed_again_and_nothing_else(finished):
    assert main(["explain", str(finished), "--records", "10"]) == 0
    assert main(["report", str(finished)]) == 0
    recheck(finished)
    slices = finished / "slices.json"
    slices.write_text(slices.read_text() + " ")
    assert main(["report", str(finished)]) == 0
    with pytest.raises(BundleError, match=r"slices\.json: altered"):
        recheck(finished)


@pytest.mark.parametrize("change", ["an entry", "one left out", "a space"])
def test_an_altered_list_of_checksums_is_named_and_no_report_seals_it(change, finished, capsys):
    path = finished / "checksums.json"
    entries = json.loads(path.read_text())
    if change == "an entry":
        entries["slices.json"] = "0" * 64
    if change == "one left out":
        del entries["slices.json"]
    path.write_text(json.dumps(entries, indent=2) + " " * (change == "a space"))
    with pytest.raises(BundleError, match=r"checksums\.json: altered since the run wrote it"):
        recheck(finished)
    assert main(["report", str(finished)]) != 0
    assert "checksums.json: altered since the run wrote it" in capsys.readouterr().err
    with pytest.raises(BundleError, match=r"checksums\.json: altered since the run wrote it"):
        recheck(finished)


def test_a_run_of_an_earlier_version_has_its_own_word_alone(finished, monkeypatch, capsys):
    monkeypatch.setattr(SqlLedger, "result_names", without_seals(SqlLedger.result_names))
    (finished / "seal.json").unlink()  # which earlier versions did not write
    seal(RunFolder.open(finished), None)
    recheck(finished)
    assert "checksums.json is not in the ledger" in capsys.readouterr().out


def without_seals(names):
    return lambda self, study_name, prefix: [] if prefix == "seal/" else names(self, study_name, prefix)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "DELETE FROM ehrbench_results WHERE name LIKE 'seal/%'",
            "lacks seal .* seals were deleted",
        ),
        ("DELETE FROM ehrbench_tickets WHERE number = 1", "had spent 2 trials, and the ledger says 1"),
        ("UPDATE ehrbench_tickets SET value = value + 0.01", "a value, predictions or a model was altered"),
        ("UPDATE ehrbench_fits SET model = (SELECT MIN(model) FROM ehrbench_fits)", "a model was altered"),
    ],
)
def test_a_ledger_that_was_put_back_or_edited_is_named(statement, said, searched, tmp_path):
    """The run is copied with its ledger, so that it is this one that is asked."""
    folder = shutil.copytree(searched.parent, tmp_path / "runs") / searched.name
    recheck(folder)
    (database,) = folder.parent.glob("*.db")
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement)
    with pytest.raises(BundleError, match=said) as caught:
        recheck(folder)
    assert "seal.json" in str(caught.value)


def test_a_page_written_where_the_ledger_is_not_is_not_sealed(finished, tmp_path, monkeypatch, capsys):
    before = (finished / "checksums.json").read_text()
    monkeypatch.setattr("ehrbench.app.runs.finished.open_ledger", unreachable)
    assert main(["report", str(finished)]) == 0
    assert "not sealed: the run's ledger is not here" in capsys.readouterr().out
    assert (finished / "checksums.json").read_text() == before


def unreachable(settings):
    raise StorageError("no such server")


def test_a_run_of_other_code_is_not_explained_nor_run_again(finished, monkeypatch, capsys):
    """Its access log is still certified: that takes no model."""
    changed = {"ehrbench.models.logistic": "other"}
    monkeypatch.setattr("ehrbench.app.wired.building.sources", lambda *modules: sources(*modules) | changed)
    recheck(finished)
    assert main(["explain", str(finished)]) != 0
    said = capsys.readouterr().err
    assert "made by other code or settings than these, at commit" in said
    assert "undo what has changed since" in said
    assert "exists with other code of ehrbench.models.logistic (see git log)" in said
    monkeypatch.setattr("ehrbench.app.runs.finished.git_commit", lambda: "another")
    with pytest.raises(StudyMismatch, match="check that commit out"):
        certify_run(finished, Again(counterfactual=True, folds=[0]), SILENT)


def test_every_step_of_the_procedure_stands_in_the_certificate(finished):
    for fold in json.loads((finished / "certificate.json").read_text())["folds"]:
        steps = {"fit", "stop", "select", "prune", "stack", "calibrate", "threshold"}
        assert set(fold["purposes"]) == steps | ({"test"} if fold["name"] != "all" else set())
        for step in steps:
            assert fold["purposes"][step]["outer_test_records"] == 0
            assert fold["purposes"][step]["records"] == fold["train"]["records"]


def test_a_step_that_asked_for_no_records_is_not_clean(tmp_path):
    search = wired(tmp_path, "models=[logistic]").search
    for fold in search.split.all_folds:
        search.study("logistic", fold).run(SILENT)
    with pytest.raises(NotClean, match="no record was handed out for stack, so it was done behind the door"):
        certify(search)


def test_an_altered_certificate_does_not_hold(finished):
    path = finished / "certificate.json"
    content = json.loads(path.read_text())
    content["folds"][0]["purposes"]["fit"]["records"] -= 1
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=r"certificate\.json: altered"):
        recheck(finished)
    run = RunFolder.open(finished)
    seal(run, None)  # as one would who cannot write to the ledger
    with pytest.raises(BundleError, match=r"checksums\.json: altered .* not in the ledger"):
        recheck(finished)
    seal(run, ledger_of(run))
    with pytest.raises(NotClean, match=r"certificate\.json: folds is not what data and ledger say"):
        recheck(finished)


def test_a_fit_without_its_access_row_is_not_clean(tmp_path):
    search = wired(tmp_path).search
    study = search.study("logistic", search.split.outer[0])
    search.dataset.persist = lambda *_: None  # type: ignore[method-assign]
    study.run(SILENT)
    with pytest.raises(NotClean, match="its training records are not in the access log"):
        certify(search)
