"""The whole spine on three tiny tasks: search, stack, bundle, evaluate, predict; and what must hold of it."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from ehrbench import metrics
from ehrbench.app.runs import scoring
from ehrbench.app.search import searching
from ehrbench.app.wired.building import build_publisher, build_task
from ehrbench.core.errors import BundleError, ConfigError, DataError, StudyMismatch
from ehrbench.core.model import load_arrays, save_arrays
from ehrbench.core.task import Parsed, RawInput, Skipped
from ehrbench.ensemble.label_sets import LabelSets
from ehrbench.ensemble.venn_abers import VennAbers
from ehrbench.infra import operations
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database
from ehrbench.infra.ledger import SqlLedger
from ehrbench.infra.study import optuna_storage
from ehrbench.models.logistic import Logistic
from ehrbench.runtime.bundle import Bundle
from tests.runtime.toy import toy_records
from tests.spine import tiny
from tests.spine.composing import tiny_config


def run(task: str, folder: Path, *overrides: str) -> dict:
    searching.search(tiny_config(task, folder, *overrides))
    study = next(p for p in folder.iterdir() if (p / "summary.json").exists())
    return json.loads((study / "summary.json").read_text())


@pytest.fixture(scope="module", params=["beats", "findings", "kinds"])
def searched(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, run(request.param, folder)


def test_every_study_spends_exactly_its_budget(searched):
    _, _, summary = searched
    assert len(summary["studies"]) == 2 * 3  # two models; two outer folds and the one of the bundle
    for study in summary["studies"].values():
        assert sum(study.get(state, 0) for state in ("complete", "pruned", "failed")) == 2
        assert study.get("failed", 0) == 0


def test_summary_gives_every_metric_with_folds_and_intervals(searched):
    _, _, summary = searched
    assert set(summary["models"]) == {"logistic", "lightgbm", "ensemble"}
    for results in summary["models"].values():
        auroc = results["auroc"]
        assert auroc["mean"] == pytest.approx(np.mean(auroc["folds"]))
        assert auroc["interval"]["low"] < auroc["mean"] < auroc["interval"]["high"]
        assert auroc["interval_procedure"]["low"] < auroc["interval_procedure"]["high"]
        assert auroc["mean"] > 0.65  # the tiny tasks can be learned


def test_the_ensemble_knows_which_units_belong_together(searched):
    _, _, summary = searched
    for fold in summary["folds"]:
        chosen = fold["chosen"]["ensemble"]
        assert chosen["n_groups"] == fold["n_train"] <= chosen["n_units"]


def test_predictions_hold_every_outer_test_unit_once(searched):
    task, folder, summary = searched
    with (folder / f"tiny-{task}-nested" / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == "ensemble"]
    keys = {(row["record"], row["unit"], row["class"]) for row in rows}
    classes = len(summary["data"]["positives"])
    assert len(keys) == len(rows) == summary["data"]["n_units"] * classes


def test_measured_values_describe_where_it_errs(searched):
    task, folder, summary = searched
    found = json.loads((folder / f"tiny-{task}-nested" / "slices.json").read_text())
    assert found["n_searched"] + found["n_judged"] == summary["data"]["n_units"]
    assert (found["n_tried"] >= 6) == (task == "beats")  # others are too small for a fifth to be a slice
    columns = {c.split(" ")[0] for one in found["found"] for c in one["conditions"]}
    assert columns <= {"a", "b", "c"}
    page = (folder / f"tiny-{task}-nested" / "report.html").read_text()
    assert "were tried on half of the groups" in page
    assert "✓ holds" in page


def evaluated(task: str, folder: Path, sets: list[str]) -> dict:
    bundle = folder / f"tiny-{task}-nested" / "bundle"
    config = {
        "bundle": bundle,
        "data": {"root": ".", "sets": sets},
        "output": folder / "evaluation",
        "n_bootstrap": 200,
        "seed": 0,
        "threads": 1,
    }
    scoring.evaluate_bundle(config)
    return json.loads((folder / "evaluation" / "metrics.json").read_text())


def test_the_bundle_scores_new_records_about_as_the_search_promised(searched):
    task, folder, summary = searched
    found = evaluated(task, folder, ["t"])
    promised = summary["models"]["ensemble"]["auroc"]["mean"]
    assert found["auroc"]["value"] == pytest.approx(promised, abs=0.08)
    assert found["n"] == 120


@pytest.mark.parametrize("searched", ["beats"], indirect=True)
def test_what_records_of_one_class_cannot_tell_is_said(searched, monkeypatch, capsys):
    task, folder, _ = searched
    read = tiny.TinyPublisher.read

    def nobody_has_it(self, *arguments):
        cohort = read(self, *arguments)
        records = replace(cohort.records, target=np.zeros_like(cohort.records.labels))
        return replace(cohort, records=records)

    monkeypatch.setattr(tiny.TinyPublisher, "read", nobody_has_it)
    found = evaluated(task, folder, ["t"])
    assert "units are negative, and it needs both classes" in found["auroc"]["undefined"]
    assert found["brier"]["value"] > 0
    said = capsys.readouterr().err
    assert "no value of auroc: all" in said
    assert "nan" not in said


def test_the_bundle_refuses_the_records_it_was_made_from(searched):
    task, folder, _ = searched
    with pytest.raises(BundleError, match=r"240 of 360 records .* were used to make this bundle"):
        evaluated(task, folder, ["s", "t"])


def test_the_bundle_passes_its_own_test(searched):
    task, folder, _ = searched
    assert Bundle.load(folder / f"tiny-{task}-nested" / "bundle").self_test() <= 1e-5


@pytest.mark.parametrize("searched", ["beats"], indirect=True)
def test_the_bundle_was_held_to_its_models_when_it_was_written(searched):
    task, folder, _ = searched
    bundle = Bundle.load(folder / f"tiny-{task}-nested" / "bundle")
    parity = bundle.manifest.parity
    assert set(parity["members"]) == {f for folders in bundle.manifest.models.values() for f in folders}
    assert parity["n_records"] == 50
    assert 0 <= max(parity["ensemble"], *parity["members"].values()) <= parity["limit"] == 1e-5


@pytest.mark.parametrize("searched", ["beats"], indirect=True)
def test_a_bundle_that_is_not_its_models_is_refused_and_the_last_one_stays(searched, monkeypatch):
    task, folder, _ = searched
    path = folder / f"tiny-{task}-nested" / "bundle"
    before, export = Bundle.load(path).digest, Logistic.export

    def broken(self, directory):
        member = export(self, directory)
        arrays = load_arrays(directory / "model.npz")
        save_arrays(directory / "model.npz", arrays | {"intercept": arrays["intercept"] + 1e-3})
        return member

    monkeypatch.setattr(Logistic, "export", broken)
    with pytest.raises(BundleError, match=r"not written: members/logistic/0, exported, is up to 0\.000"):
        run(task, folder)
    assert Bundle.load(path).digest == before
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".bundle")] == []


def test_the_bundle_says_what_its_training_records_looked_like(searched):
    task, folder, _ = searched
    bundle = Bundle.load(folder / f"tiny-{task}-nested" / "bundle")
    assert bundle.profile is not None
    assert set(bundle.profile.variables) == {"a", "b", "c"}
    assert set(bundle.profile.probabilities) == set(bundle.manifest.target.classes)
    assert {sum(one.counts) for one in bundle.profile.variables.values()} == {240}
    assert {sum(one.counts) for one in bundle.profile.probabilities.values()} == {bundle.profile.n_units}


def test_the_bundle_says_how_sure_it_is(searched):
    task, folder, _ = searched
    bundle = Bundle.load(folder / f"tiny-{task}-nested" / "bundle")
    records, doubt = toy_records([np.zeros((2, 3), np.float32)]), bundle.uncertainty
    p = bundle.predict(records).probabilities
    if task == "kinds":
        assert isinstance(doubt, LabelSets)
        assert doubt.sets(p).any(axis=1).all()
        assert (doubt.cuts > 0).all()  # every class has patients enough to be ruled out
    else:
        assert isinstance(doubt, VennAbers)
        ends = doubt.intervals(p)
        assert ((ends[..., 1] - ends[..., 0]) > 0).all()
        assert np.abs(ends.mean(axis=2) - p).max() < 0.15


def test_raw_files_are_predicted_as_records_are(searched, tmp_path):
    task, folder, _ = searched
    (tmp_path / "p1.txt").write_text("p1,0.5,-1,2\np1,1,,0.25\n")
    config = {
        "bundle": folder / f"tiny-{task}-nested" / "bundle",
        "input": tmp_path / "p1.txt",
        "output": tmp_path / "out.csv",
        "threads": 1,
        "max_skipped": 0.001,
    }
    scoring.predict_files(config)
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    bundle = Bundle.load(config["bundle"])
    parsed = bundle.task.parse([RawInput("p1.txt", (tmp_path / "p1.txt").read_bytes())], strict=False)
    expected = bundle.predict(parsed.records).probabilities.ravel()
    assert [float(row["probability"]) for row in rows] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_bootstrap": "many"}, "n_bootstrap: input should be a valid integer (got 'many')"),
        ({"n_bootstrap": 99}, "n_bootstrap: input should be greater than or equal to 100 (got 99)"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0 (got -1)"),
        ({"threads": 0}, "threads: input should be greater than or equal to 1 (got 0)"),
        ({"threads": True}, "threads: input should be a valid integer (got True)"),
        (
            {"data": {"root": ".", "sets": "t"}},
            "data.sets: 't' is not a list — write data.sets=[t]",
        ),
        ({"data": {"root": ".", "sets": ["t", "t"]}}, "data.sets: t is named twice — name it once"),
        ({"data": {"root": ".", "sets": ["t"], "set": "t"}}, "data.set: unknown key"),
        ({"limit": 3}, "limit: unknown key"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_key_before_the_bundle_is_opened(change, message):
    config = {"bundle": "nowhere", "data": {"root": ".", "sets": ["t"]}, "output": None}
    with pytest.raises(ConfigError, match=re.escape(message)):
        scoring.evaluate_bundle(config | {"n_bootstrap": 100, "seed": 0, "threads": 1} | change)


def test_raw_files_without_a_single_record_are_refused(searched, tmp_path, monkeypatch):
    task, folder, _ = searched

    def none_of_it(self, inputs, *, strict):
        nobody = toy_records([])
        return Parsed(nobody, (Skipped("p1.txt", "p1", "line 1", "is empty"),), 1)

    monkeypatch.setattr(tiny.Tiny, "parse", none_of_it)
    (tmp_path / "p1.txt").write_text("")
    bundle = folder / f"tiny-{task}-nested" / "bundle"
    config = {"bundle": bundle, "input": tmp_path, "output": tmp_path / "out.csv"}
    with pytest.raises(DataError, match=r"file p1.txt, field line 1: is empty — .* none could be read"):
        scoring.predict_files(config | {"threads": 1, "max_skipped": 0.001})
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(("metric", "sign"), [("auroc", -1), ("log_loss", 1)])
def test_train_returns_what_a_sweeper_minimises(metric, sign, tmp_path):
    value = searching.train(tiny_config("kinds", tmp_path, "models=[logistic]") | {"metric": metric})
    (summary,) = tmp_path.glob("*/summary.json")
    selected = json.loads(summary.read_text())["selected"].values()
    assert value == pytest.approx(sign * np.mean([one["inner"] for one in selected]))


def test_a_second_run_trains_nothing_and_says_the_same(searched):
    task, folder, summary = searched
    again = run(task, folder)
    assert again["models"] == summary["models"]
    assert again["studies"] == summary["studies"]


@pytest.mark.parametrize("searched", ["beats"], indirect=True)  # the budget knows no task
def test_more_trials_go_on_from_the_first(searched):
    task, folder, _ = searched
    longer = run(task, folder, "n_trials=3")
    assert all(s["complete"] + s.get("pruned", 0) == 3 for s in longer["studies"].values())


def test_the_same_command_twice_gives_the_same_bits(tmp_path):
    one, other = run("beats", tmp_path / "one"), run("beats", tmp_path / "other")
    assert one["models"] == other["models"]
    assert [f["chosen"] for f in one["folds"]] == [f["chosen"] for f in other["folds"]]


def test_another_seed_gives_other_folds_and_is_refused_on_the_same_study(tmp_path):
    run("beats", tmp_path)
    with pytest.raises(StudyMismatch, match="seed"):
        run("beats", tmp_path, "seed=1")


def test_holdout_tests_on_the_named_sets_only(tmp_path):
    summary = run("beats", tmp_path, "protocol=holdout", "protocol.inner_folds=2")
    assert [(f["n_train"], f["n_test"]) for f in summary["folds"]] == [(240, 120)]
    assert "interval_procedure" not in summary["models"]["ensemble"]["auroc"]


@pytest.mark.parametrize("inner", ["pooled", "valid"])
def test_a_published_split_is_used_as_it_is(inner, tmp_path):
    ids = [f"s{i}" for i in range(240)]
    parts = [(ids[:140], ids[140:180], ids[180:]), (ids[100:], ids[60:100], ids[:60])]
    folds = [{"train": a, "valid": v, "test": t} for a, v, t in parts]
    (tmp_path / "splits.json").write_text(json.dumps({"folds": folds}))
    protocol = ["protocol=file", f"protocol.path={tmp_path / 'splits.json'}", f"protocol.inner={inner}"]
    searching.search(tiny_config("beats", tmp_path / "runs", "models=[logistic]", *protocol))
    run_folder = tmp_path / "runs" / "tiny-beats-file"
    summary = json.loads((run_folder / "summary.json").read_text())
    assert [(f["n_train"], f["n_test"]) for f in summary["folds"]] == [(180, 60), (180, 60)]
    assert ("chosen on valid" in summary["protocol"]) == (inner == "valid")
    bundle = Bundle.load(run_folder / "bundle")
    task = tiny_config("beats", tmp_path)["task"]
    records = build_publisher(task["publisher"], build_task(task["build"])).read(tmp_path, ["s"]).records
    assert bundle.seen(records).tolist() == [True] * 180 + [False] * 60  # the first fold's training records


def test_records_that_a_published_split_does_not_name_take_no_part(tmp_path):
    ids = [f"s{i}" for i in range(200)]  # of 240
    content = {"folds": [{"train": ids[:130], "valid": [], "test": ids[130:]}]}
    (tmp_path / "splits.json").write_text(json.dumps(content))
    protocol = ["protocol=file", f"protocol.path={tmp_path / 'splits.json'}"]
    summary = run("beats", tmp_path / "runs", "models=[logistic]", *protocol)
    assert summary["protocol"] == "file splits.json"
    assert summary["data"]["n_records"] == summary["data"]["flow"]["named in the file of splits"] == 200
    with (tmp_path / "runs" / "tiny-beats-file" / "records.csv").open() as file:
        assert {row["record"] for row in csv.DictReader(file)} == set(ids)


#: Metrics whose best value lies between, and those of which less is better; of all others more is.
IDEAL, LESS = {"calibration_slope": 1.0, "calibration_intercept": 0.0}, {"brier", "ece", "event2", "log_loss"}
LESS |= {"run_end_error"}


@pytest.mark.parametrize("metric", metrics.names())
def test_every_metric_is_searched(metric, tmp_path):
    small = ("models=[logistic]", "n_trials=3", "report.n_bootstrap=100", "report.explained=0")
    searching.search({**tiny_config("beats", tmp_path, *small), "metric": metric})
    folder, searched = tmp_path / "tiny-beats-nested", metric + "_distance" * (metric in IDEAL)
    best = min if metric in {*IDEAL, *LESS} else max
    summary = json.loads((folder / "summary.json").read_text())
    trials = list(csv.DictReader((folder / "trials.csv").open()))
    inner, by_study = [], {}
    for fold in summary["folds"]:
        complete = [t for t in trials if t["outer_fold"] == fold["name"] and t["state"] == "complete"]
        chosen = fold["chosen"]["models"]["logistic"][f"inner_{searched}"]
        assert chosen == best(float(t["value"]) for t in complete)
        by_study["all" if fold["name"] == "all" else f"fold{fold['name']}"] = chosen
        inner += [chosen] if fold["n_test"] else []
    selected = summary["selected"]["logistic"]
    assert selected["inner"] == pytest.approx(np.mean(inner))
    by_fold = np.array(summary["models"]["logistic"][metric]["folds"])
    outer = np.abs(by_fold - IDEAL[metric]) if metric in IDEAL else by_fold
    assert selected["outer"] == pytest.approx(outer.mean())
    assert 'id="optimism"' in (folder / "report.html").read_text()
    database = Database.sqlite(tmp_path / "ehrbench.db")
    ledger = SqlLedger(database.engine, FileArtifacts(tmp_path / "artifacts"))
    assert {str(s.study).rsplit("/")[-1]: s.best for s in operations.status(ledger)} == by_study
    for key in ledger.studies():
        study = optuna.load_study(study_name=str(key), storage=optuna_storage(database))
        assert study.best_value == by_study[str(key).rsplit("/")[-1]]


def test_refit_full_and_workers_give_a_bundle_too(tmp_path):
    summary = run("kinds", tmp_path, "refit=full", "models=[logistic]")
    assert summary["models"]["ensemble"]["auroc"]["mean"] > 0.65
    bundle = Bundle.load(tmp_path / "tiny-kinds-nested" / "bundle")
    assert [len(members) for members in bundle.models.values()] == [1]
