"""What comes after the studies may lose a part, with the reason in its place, and never the run."""

from __future__ import annotations

import re
import shutil

import pytest

from ehrbench.app.command.cli import main
from ehrbench.app.runs import explaining, slicing
from ehrbench.app.search import searching
from ehrbench.core.errors import StorageError
from ehrbench.report import Attempts, cards, failures, page, write_report
from ehrbench.report.figures import explanations, risk_curves
from tests.report.reading import words
from tests.report.test_explained import CONTENT, shown  # noqa: F401 - a fixture
from tests.spine.composing import tiny_config

REASON = "It could not be made (ZeroDivisionError: float division by zero); see failures/report-{}.txt."


def broken(*arguments: object, **options: object) -> None:
    raise ZeroDivisionError("float division by zero")


@pytest.fixture(scope="module")
def whole(binary_folder, tmp_path_factory) -> str:
    """The page of a run that loses nothing."""
    folder = shutil.copytree(binary_folder, tmp_path_factory.mktemp("whole") / "run")
    text = write_report(folder, n_bootstrap=5).read_text()
    assert not failures(folder)
    assert "could not be made" not in words(text)
    return text


@pytest.mark.parametrize(
    ("place", "function", "part"),
    [
        (page, "leaderboard", "leaderboard-figure"),
        (page, "fold_variance", "fold-variance"),
        (page, "optimism", "optimism"),
        (page, "forest", "forest"),
        (risk_curves, "roc", "roc-0"),
        (risk_curves, "precision_recall", "pr-0"),
        (risk_curves, "calibration", "calibration-0"),
        (risk_curves, "decision", "decision-0"),
        (page, "score_counts", "curves-0"),
        (page, "progress_figure", "progress-ssm"),
        (page, "importances", "importance-lstm"),
        (page, "parallel", "parallel-lightgbm"),
        (page.pairs, "compare_models", "pairs"),
        (page.subgroups, "by_subgroup", "subgroups"),
        (page.subgroups, "gaps", "gaps"),
        (page.slices, "worst_slices", "slices"),
        (page, "measured", "measured"),
        (page, "explanations", "explanations"),
        (page.cohort, "cohort_table", "cohort"),
        (page.cohort, "calls", "calls"),
        (page.skipped, "reasons", "skipped"),
    ],
)
def test_a_part_that_fails_says_so_in_its_place_and_the_others_stand(
    place, function, part, folder, whole, monkeypatch
):
    monkeypatch.setattr(place, function, broken)
    text = write_report(folder, n_bootstrap=5).read_text()
    assert REASON.format(part)[3:-1] in words(text)
    assert re.findall(r'<section id="(\w+)"', text) == re.findall(r'<section id="(\w+)"', whole)
    for_each_model = {"progress-ssm": 3, "importance-lstm": 3, "parallel-lightgbm": 3}
    assert len(failures(folder)) == for_each_model.get(part, 1)
    (trace,) = [path for path in failures(folder) if path.stem == f"report-{part}"]
    assert 'raise ZeroDivisionError("float division by zero")' in trace.read_text()


def test_what_failed_once_is_forgotten_when_it_no_longer_does(folder, whole, monkeypatch):
    monkeypatch.setattr(page, "forest", broken)
    assert write_report(folder, n_bootstrap=5).read_text() != whole
    monkeypatch.undo()
    assert write_report(folder, n_bootstrap=5).read_text() == whole
    assert not (folder / "failures").exists()


@pytest.mark.parametrize("function", ["permutation", "course", "attribution", "hours", "example"])
def test_a_figure_of_explanations_is_lost_alone(function, shown, folder, monkeypatch):  # noqa: F811
    shown()
    monkeypatch.setattr(explanations, function, broken)
    text = words(write_report(folder, n_bootstrap=5).read_text())
    assert re.search(
        rf"ZeroDivisionError: float division by zero\); see failures/report-{function}\S*\.txt", text
    )
    assert len(CONTENT["attributions"]) >= len(failures(folder)) >= 1


def test_a_file_of_explanations_that_means_nothing_costs_its_section(shown, folder):  # noqa: F811
    with pytest.raises(Exception, match="malformed"):
        shown(examples=[{"which": "median risk"}])
    text = words(write_report(folder, n_bootstrap=5).read_text())
    assert "No explanations: explanations.json: malformed (KeyError: &#39;outcome&#39;)" in text
    assert str(folder) not in text


def test_a_page_that_cannot_be_laid_out_says_that_the_search_is_whole(folder, monkeypatch):
    monkeypatch.setattr(page.tripod, "tripod", broken)
    text = words(write_report(folder, n_bootstrap=5).read_text())
    assert REASON.format("page")[3:-1] in text
    assert "The search is whole" in text


def test_nothing_of_a_record_is_quoted_on_the_page(tmp_path):
    def leaking() -> None:
        raise KeyError("patient 132539")

    def also() -> None:
        raise ValueError('could not convert "x y" of 132539')

    attempts = Attempts(tmp_path)
    for make in (leaking, also):
        why = attempts.part("x", make, str)
        assert "132539" not in str(why)
        assert "x y" not in str(why)
    assert "132539" in (tmp_path / "failures" / "x.txt").read_text()


def test_what_a_user_can_mend_is_raised(tmp_path):
    def full() -> None:
        raise StorageError("disk full")

    with pytest.raises(StorageError):
        Attempts(tmp_path).part("x", full, str)
    assert not failures(tmp_path)


def test_a_search_that_loses_all_of_it_is_finished_sealed_and_told(tmp_path, monkeypatch, capsys):
    for place, function in (
        (explaining, "explain"),
        (slicing, "discover"),
        (cards, "by_subgroup"),
        (page.pairs, "compare_models"),
        (page, "forest"),
    ):
        monkeypatch.setattr(place, function, broken)
    config = tiny_config("beats", tmp_path, "models=[logistic,lightgbm]", "n_trials=1", "study_name=s")
    searching.search(config)
    run = tmp_path / "s"
    lost = ["card", "explanations", "report-forest", "report-pairs", "slices"]
    assert [path.stem for path in failures(run)] == lost
    said = capsys.readouterr().out
    for name in lost:
        assert f"not made  {name}; why: {run / 'failures' / name}.txt" in said.replace("\n", "")
    text = words((run / "report.html").read_text())
    assert text.count("could not be made (ZeroDivisionError: float division by zero)") == 4
    assert "There is none: it could not be made" in (run / "bundle" / "MODEL_CARD.md").read_text()
    assert main(["certify", str(run)]) == 0
    monkeypatch.undo()
    monkeypatch.setattr(explaining, "explain", broken)
    assert main(["explain", str(run)]) == 1
    assert f"report the fault in {run / 'failures' / 'explanations.txt'}" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(["explain", str(run)]) == 0
    assert main(["report", str(run)]) == 0
    assert [path.stem for path in failures(run)] == ["card", "slices"]  # a search writes these
    assert main(["certify", str(run)]) == 0
