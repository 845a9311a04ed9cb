"""Runs are compared where they can be, and refused or narrowed down where they cannot."""

import json

import numpy as np
import pytest

from ehrbench.core.errors import BundleError, ConfigError
from ehrbench.report import compare_runs
from ehrbench.report.compare import share
from ehrbench.report.run import read_run
from ehrbench.spine.comparison import delong
from ehrbench.spine.resampling import FoldData
from tests.report.folders import Sketch, write_run
from tests.report.test_page import Page, words


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


def test_a_metric_that_one_run_lacks_is_said(binary_folder, other, tmp_path):
    text = words(
        compare_runs([binary_folder, other], tmp_path / "c.html", metric="ece", n_bootstrap=10).read_text()
    )
    assert "was not reported by this run" in text


def test_runs_of_one_name_are_told_apart(binary_folder, other, tmp_path):
    names = {json.loads((f / "summary.json").read_text())["study_name"] for f in (binary_folder, other)}
    assert len(names) == 1
    text = words(compare_runs([binary_folder, other], tmp_path / "c.html", n_bootstrap=10).read_text())
    assert binary_folder.name in text
    assert other.name in text
