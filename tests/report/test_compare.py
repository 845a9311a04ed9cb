"""Runs are compared where they can be, and refused or narrowed down where they cannot."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from ehrbench.core.errors import BundleError, ConfigError
from ehrbench.report import compare_runs
from ehrbench.report.compare import share
from ehrbench.report.run import read_run
from ehrbench.statistics.comparison import delong
from ehrbench.statistics.fold_data import FoldData
from tests.report.folders import Sketch, write_run
from tests.report.reading import words
from tests.report.test_page import Page


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The same records and folds, other models."""
    return write_run(tmp_path_factory.mktemp("other"), Sketch(models=("ssm", "s5")))


@pytest.fixture(scope="module")
def other_folds(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("folds"), Sketch(n_folds=4))


def test_same_folds_are_tested_fold_by_fold(binary_folder, other, tmp_path):
    text = compare_runs([binary_folder, other], tmp_path / "compare.html", n_bootstrap=20).read_text()
    page = Page(text)
    assert {"roc-0", "pr-0", "calibration-0", "decision-0", "leaderboard-figure"} <= set(page.ids)
    assert not page.addresses
    assert "same outer folds" in words(text)
    runs = [read_run(f) for f in (binary_folder, other)]
    by_hand = delong(*[[FoldData(f.y, f.p["ensemble"], f.group) for f in run.folds] for run in runs])
    assert f"{by_hand.value:+.4f}".replace("-", "−") in words(text)


def test_other_folds_compare_log_loss_alone(binary_folder, other_folds, tmp_path):
    text = words(compare_runs([binary_folder, other_folds], tmp_path / "c.html", n_bootstrap=20).read_text())
    assert "do not test on the same outer folds" in text
    assert "Paired tests of Log loss" in text
    assert "ROC curve" not in text


def test_shared_records_are_aligned(binary_folder, other_folds):
    runs = [read_run(f) for f in (binary_folder, other_folds)]
    shared = share(runs, ["a", "b"])
    assert not shared.whole
    np.testing.assert_allclose(shared.folds[0].p["a · ssm"], shared.folds[0].p["b · ssm"])


def test_other_data_are_refused(binary_folder, folder, tmp_path):
    for name in ("summary.json", "bundle/manifest.json"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace("d" * 64, "e" * 64))
    with pytest.raises(BundleError, match="data digest"):
        compare_runs([binary_folder, folder], tmp_path / "c.html")


def test_other_labels_are_refused(binary_folder, other, tmp_path):
    spoiled = write_run(tmp_path / "run", Sketch(seed=1))
    with pytest.raises(BundleError):
        compare_runs([binary_folder, spoiled], tmp_path / "c.html")


def test_one_run_is_no_comparison(binary_folder, tmp_path):
    with pytest.raises(ConfigError, match="two run folders"):
        compare_runs([binary_folder], tmp_path / "c.html")
    with pytest.raises(ConfigError, match="a run is named twice"):
        compare_runs([binary_folder, binary_folder / ".." / binary_folder.name], tmp_path / "c.html")


def repeated(run, n_train=None):
    """The run with its folds once more, as repeated splits have them; the second time other predictions."""
    again = [
        replace(f, name=f"{f.name}'", p={m: 1 - p for m, p in f.p.items()}, n_train=n_train or f.n_train)
        for f in run.folds
    ]
    return replace(run, folds=(*run.folds, *again))


def test_folds_of_the_same_test_records_stay_apart(binary_folder, other):
    runs = [repeated(read_run(f), n) for f, n in ((binary_folder, None), (other, 100))]
    shared = share(runs, ["a", "b"])
    assert shared.whole
    assert len(shared.folds) == 6
    assert shared.n_records == 600
    for k, fold in enumerate(shared.folds):
        assert fold.n_train == (100 if k >= 3 else 400)
        np.testing.assert_allclose(fold.p["b · ensemble"].mean(), runs[1].folds[k].p["ensemble"].mean())


def test_records_tested_several_times_are_refused_on_other_folds(binary_folder, other_folds):
    runs = [repeated(read_run(binary_folder)), read_run(other_folds)]
    with pytest.raises(BundleError, match=r"600 records stand in several of its test folds.* same folds"):
        share(runs, ["a", "b"])


def test_tests_are_of_the_same_patients_whatever_their_order(binary_folder, other, tmp_path):
    """The second run's rows written the other way round: units are paired by record, not by place."""
    shuffled = tmp_path / "run"
    shutil.copytree(other, shuffled)
    head, *rows = (shuffled / "predictions.csv").read_text().splitlines()
    (shuffled / "predictions.csv").write_text("\n".join([head, *reversed(rows)]) + "\n")
    runs = [read_run(f) for f in (binary_folder, other, shuffled)]
    shared = share(runs, ["a", "b", "c"])
    for fold in shared.folds:
        np.testing.assert_array_equal(fold.p["b · ssm"], fold.p["c · ssm"])


def test_runs_without_a_test_record_in_common_are_refused(binary_folder, other):
    one, two = read_run(binary_folder), read_run(other)
    one, two = replace(one, folds=one.folds[:1]), replace(two, folds=two.folds[1:])
    with pytest.raises(BundleError, match="no test record stands in all of them"):
        share([one, two], ["a", "b"])


def test_a_metric_that_one_run_lacks_is_said(binary_folder, other, tmp_path):
    text = words(
        compare_runs([binary_folder, other], tmp_path / "c.html", metric="ece", n_bootstrap=10).read_text()
    )
    assert "was not reported by this run" in text


def test_runs_of_one_name_are_told_apart(binary_folder, other, tmp_path):
    names = {json.loads((f / "summary.json").read_text())["study_name"] for f in (binary_folder, other)}
    assert len(names) == 1
    text = words(compare_runs([binary_folder, other], tmp_path / "c.html", n_bootstrap=10).read_text())
    assert f"{binary_folder.name} against {other.name}" in text
    assert "(1)" not in text


def test_tables_are_no_wider_than_paper(binary_folder, other, tmp_path):
    text = compare_runs([binary_folder, other], tmp_path / "compare.html", n_bootstrap=5).read_text()
    heads = re.findall(r"<th>Run · model</th>(.*?)</tr>", text)
    assert [len(re.findall("<th", head)) for head in heads] == [4, 2]
