"""A run folder is read whole, or refused with the file named."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

from ehrbench.core.errors import BundleError
from ehrbench.report.run import read_run
from tests.report.folders import Sketch, write_run


def test_predictions_come_back_by_fold_and_model(binary):
    assert binary.models == ("ssm", "lstm", "lightgbm", "ensemble")
    assert binary.leader == "ensemble"
    assert sum(len(f.y) for f in binary.folds) == len(binary.records) == 600
    for fold in binary.folds:
        assert fold.y.shape == fold.p["ssm"].shape == (200, 1)
        np.testing.assert_allclose(
            fold.p["ensemble"], np.mean([fold.p[m] for m in ("ssm", "lstm", "lightgbm")], axis=0)
        )


def test_probabilities_come_back_to_the_last_bit(binary):
    """One that stands on its threshold is called, or not, as the search called it."""
    with (binary.folder / "predictions.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if (r["outer_fold"], r["model"]) == ("0", "ssm")]
    written = {r["record"]: float(r["probability"]) for r in rows}
    fold = binary.folds[0]
    read = dict(zip(binary.records["record"].iloc[fold.record], fold.p["ssm"][:, 0].tolist(), strict=True))
    assert read == written


def test_ids_stay_text(binary):
    assert binary.records["record"].iloc[7] == "07"


def test_rows_in_another_order_are_the_same_run(binary, folder):
    table = pd.read_csv(folder / "predictions.csv", dtype=str, keep_default_na=False)
    table.sample(frac=1, random_state=0).to_csv(folder / "predictions.csv", index=False)
    shuffled = read_run(folder)
    for one, other in zip(binary.folds, shuffled.folds, strict=True):
        np.testing.assert_array_equal(one.y, other.y)
        np.testing.assert_array_equal(one.p["lstm"], other.p["lstm"])


@pytest.mark.parametrize(
    "name",
    ["summary.json", "predictions.csv", "records.csv", "trials.csv", "config.yaml", "bundle/manifest.json"],
)
@pytest.mark.parametrize("content", [None, "", "\x00{[", "[]"])
def test_a_missing_empty_or_broken_file_is_named(folder, name, content):
    (folder / name).unlink() if content is None else (folder / name).write_text(content)
    with pytest.raises(BundleError, match=name.split("/")[-1].replace(".", r"\.")):
        read_run(folder)


def test_no_folder(tmp_path):
    with pytest.raises(BundleError, match="nowhere"):
        read_run(tmp_path / "nowhere")


def _edit(folder, name, change):
    table = pd.read_csv(folder / name, dtype=str, keep_default_na=False)
    table = change(table)
    table.to_csv(folder / name, index=False)


def _first_probability(value):
    def change(table):
        table.loc[0, "probability"] = value
        return table

    return change


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("predictions.csv", lambda t: t.drop(columns="label"), "column label is missing"),
        ("predictions.csv", lambda t: t.iloc[1:], "fold"),
        ("predictions.csv", lambda t: pd.concat([t, t[t["outer_fold"] == "0"]]), "fold 0"),
        ("predictions.csv", lambda t: t.assign(record="x" + t["record"]), "not in records.csv"),
        ("predictions.csv", lambda t: t.assign(label="2"), "labels other than 0 and 1"),
        ("predictions.csv", lambda t: t.assign(outer_fold="9"), "fold"),
        ("predictions.csv", lambda t: t[t["model"] != "ssm"], "no predictions of ssm"),
        (
            "predictions.csv",
            lambda t: t[(t["model"] != "ssm") | (t["outer_fold"] != "1")],
            "no predictions of ssm in fold 1",
        ),
        ("predictions.csv", lambda t: t.assign(**{"class": "other"}), "class 'other'"),
        ("predictions.csv", _first_probability("1.2"), "line 2 has probability 1.2"),
        ("predictions.csv", _first_probability("0.999999"), "was altered"),
        ("records.csv", lambda t: t.iloc[1:], "599 records"),
        ("records.csv", lambda t: t.assign(record="1"), "stands twice"),
        ("trials.csv", lambda t: t.assign(params="{"), "malformed"),
        ("trials.csv", lambda t: t.drop(columns="state"), "column state is missing"),
    ],
)
def test_an_altered_table_is_refused(folder, name, change, said):
    _edit(folder, name, change)
    with pytest.raises(BundleError, match=said) as caught:
        read_run(folder)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_summary_that_says_better_is_refused(folder):
    summary = json.loads((folder / "summary.json").read_text())
    summary["models"]["ssm"]["auroc"]["folds"][0] += 0.01
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(BundleError, match="auroc of ssm"):
        read_run(folder)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (("models", "ensemble", "auroc", "mean"), "auroc of ensemble, mean"),
        (("models", "ssm", "auroc", "sd"), "auroc of ssm, sd"),
        (("models", "ssm", "brier", "mean"), "brier of ssm, mean"),
        (("models", "ensemble", "auroc", "interval", "low"), "interval of auroc of ensemble"),
        (("models", "ensemble", "auroc", "interval_procedure", "low"), "interval_procedure of auroc"),
        (("selected", "ssm", "outer"), r"auroc of ssm, selected\.outer"),
    ],
)
def test_a_forged_figure_of_the_page_is_refused(folder, path, said):
    summary = json.loads((folder / "summary.json").read_text())
    *above, last = path
    part = summary
    for key in above:
        part = part[key]
    part[last] += 0.12 if last == "low" else 0.03  # few replicates leave the width of an interval
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(BundleError, match=said) as caught:
        read_run(folder)
    assert "summary.json" in str(caught.value)


def test_digests_in_the_summary_are_checked(folder):
    summary = json.loads((folder / "summary.json").read_text())
    summary["files"] = {"trials.csv": "0" * 64}
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(BundleError, match=r"trials\.csv: altered"):
        read_run(folder)


def test_many_units_a_record(tmp_path):
    run = read_run(write_run(tmp_path, Sketch(n_records=90, units=4, n_bootstrap=20)))
    fold = run.folds[0]
    assert len(fold.y) == 120
    assert len(np.unique(fold.group)) == 30
    assert sorted(fold.unit[fold.record == fold.record[0]]) == [0, 1, 2, 3]
