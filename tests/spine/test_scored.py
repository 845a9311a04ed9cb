"""Classes too rare for a fold: decided once, said everywhere, learned and predicted all the same."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ehrbench import metrics
from ehrbench.app.composed.checking import check
from ehrbench.app.runs import scoring
from ehrbench.app.runs.outputs import positives
from ehrbench.app.search import searching
from ehrbench.app.wired.wiring import wire
from ehrbench.core.errors import DataError, UndefinedMetric
from ehrbench.core.progress import SILENT
from ehrbench.core.target import Target
from ehrbench.report import compare_runs
from ehrbench.report.run import read_run
from ehrbench.runtime.bundle import Bundle
from ehrbench.spine import folds
from ehrbench.spine.scored import FEWEST, unscored
from ehrbench.spine.thresholds import GIVEN, ThresholdRule
from ehrbench.spine.trial import fold_score
from tests.spine.rare import COMMON, FEW, FINDINGS, Rare, RarePublisher, rare_config
from tests.spine.test_folds import cohort


def labelled(y, groups=None):
    records = cohort(len(y), 10**6, 0)
    groups = records.ids if groups is None else np.asarray(groups).astype(str)
    return replace(records, groups=groups, target=np.asarray(y, dtype=float))


# --- what is decided


def test_a_class_needs_two_groups_with_it_and_two_without_in_each_part():
    y = np.zeros((12, 5))
    y[[0, 1, 6, 7], 0] = 1  # two in either half
    y[[0, 6, 7], 1] = 1  # one in the first
    y[:, 2] = 1
    y[[0, 1, 7], 2] = 0  # one without in the second
    y[[0, 1, 6, 7], 3] = 1  # both of the second half are one patient's
    y[:, 4] = np.nan
    halves = [("first", np.arange(6)), ("second", np.arange(6, 12))]
    groups = np.r_[np.arange(6), 6, 6, np.arange(8, 12)]
    assert unscored(labelled(y), np.arange(12), halves) == {
        1: "1 group with it in first",
        2: "1 group without it in second",
        4: "0 groups with it in first",
    }
    assert unscored(labelled(y), groups, halves)[3] == "1 group with it in second"


def test_one_class_is_scored_whatever_it_has():
    assert unscored(labelled(np.zeros((12, 1))), np.arange(12), [("all", np.arange(12))]) == {}


@pytest.mark.parametrize("seed", range(4))
def test_every_scored_class_can_be_judged_in_every_part_and_every_half_of_one(seed):
    rng = np.random.default_rng(seed)
    y = (rng.random((300, 14)) < np.geomspace(0.01, 0.6, 14)).astype(float)
    records = labelled(y, rng.integers(0, 150, 300))
    split = folds.nested(records, 3, 3, seed)
    n = 14 - len(split.unscored)
    assert 0 < n < 14
    assert split.label == f"nested 3x3, scored {n} of 14 classes"
    groups, auroc = folds.split_groups(records), metrics.load("auroc")
    target = Target("multilabel", tuple("abcdefghijklmn")).without(split.unscored)
    for fold in split.all_folds:
        for index in [i.valid for i in fold.inner] + ([fold.test] if fold.index is not None else []):
            for c in target.scored:
                for label in (0, 1):
                    assert len(np.unique(groups[index][y[index, c] == label])) >= FEWEST
            assert 0 <= auroc(y[index], rng.random((len(index), 14)), target=target) <= 1


def test_a_split_that_can_score_nothing_is_refused():
    with pytest.raises(
        DataError, match=r"no class has 2 groups with it .* the first has 0 groups with it in"
    ):
        folds.nested(labelled(np.zeros((60, 3))), 3, 3, 0)


def test_a_holdout_and_a_published_split_decide_too():
    y = np.zeros((90, 3))
    y[::2, 0] = y[::3, 1] = 1
    y[:50:10, 2] = 1  # none among the last
    records = labelled(y)
    split = folds.holdout(records, np.arange(60), np.arange(60, 90), 2, 0, "a -> b")
    assert split.unscored == {2: "0 groups with it in outer fold 0"}
    assert split.label == "a -> b, scored 2 of 3 classes"
    ids = records.ids.tolist()
    published = folds.from_file(records, [{"train": ids[:60], "test": ids[60:]}], 2, 0, "s.json")
    assert published.label == "file s.json, scored 2 of 3 classes"


def test_what_is_scored_is_no_part_of_a_target_s_identity():
    target = Target("multilabel", ("a", "b", "c"))
    assert target.without([1]) == target
    assert (target.without([1]).scored, target.without([1]).without([2]).unscored) == ([0, 2], ("b", "c"))
    with pytest.raises(ValueError, match="are not some of"):
        target.without([0, 1, 2])


# --- thresholds


def test_a_rare_class_s_threshold_is_given_and_said():
    target = Target("multilabel", ("a", "b"))
    y = np.array([[0, 0], [0, 0], [1, 0], [1, np.nan]], dtype=float)
    p = np.array([[0.1, 0.9], [0.2, 0.3], [0.6, 0.1], [0.8, 0.5]])
    rule = ThresholdRule("f1")
    np.testing.assert_allclose(rule.choose(y, p, target), [0.4, GIVEN])
    assert rule.given(y, target) == {"b": "0 positives among 3 out-of-fold labels"}
    assert ThresholdRule("fixed", 0.3).given(y, target) == {}


def test_classes_that_a_half_lacks_are_left_out_of_both_and_fail_no_trial(tmp_path):
    """As where both patients with a class fall into one half: the same for every trial, so they compare."""
    config = rare_config(tmp_path, "models=[logistic]")
    search = wire(check(config), "rare", SILENT).search
    fold = search.split.outer[0]
    everything = Target("multilabel", FINDINGS)
    study = search.study("logistic", fold)
    setting = replace(study.setting, target=everything, metric=metrics.load("sensitivity"))
    records = search.dataset.open(fold, "select", fold.inner[0].valid)
    p = np.random.default_rng(0).random((records.total_units, len(FINDINGS)))
    lacking = [c for c in range(len(FINDINGS)) if np.nansum(records.labels[:, c]) < 2]
    assert FINDINGS.index("single") in lacking
    found = fold_score(setting, records, p, 0)
    changed = p.copy()
    changed[:, lacking] = 1 - changed[:, lacking]
    assert found == fold_score(setting, records, changed, 0)
    assert 0 < found < 1
    with pytest.raises(UndefinedMetric, match="no class has both labels in either half"):
        fold_score(setting, replace(records, target=np.zeros_like(records.labels)), p, 0)


def test_shares_of_a_class_without_a_label_are_none():
    y = np.array([[0, np.nan], [1, np.nan], [np.nan, np.nan]])
    assert positives(y, Target("multilabel", ("a", "b"))) == {"a": 0.5, "b": None}


# --- the whole


@pytest.fixture(scope="module", params=["auroc", "f1"])
def searched(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    explained = f"report.explained={30 * (request.param == 'auroc')}"
    searching.search({**rare_config(folder, explained), "metric": request.param})
    run = folder / "rare-nested"
    return request.param, run, json.loads((run / "summary.json").read_text())


def test_the_search_concludes_and_says_what_it_scored(searched):
    metric, _, summary = searched
    assert summary["protocol"] == "nested 2x2, scored 8 of 14 classes"
    assert set(summary["unscored"]) == set(FEW)
    assert all("group" in one["why"] and "fold" in one["why"] for one in summary["unscored"].values())
    assert all(study["complete"] + study.get("pruned", 0) == 2 for study in summary["studies"].values())
    for results in summary["models"].values():
        assert (
            results[metric]["interval"]["low"] < results[metric]["mean"] < results[metric]["interval"]["high"]
        )


def test_means_are_over_the_scored_classes(searched):
    _, run, summary = searched
    read = read_run(run)
    assert read.target.scored == list(range(len(COMMON)))
    for name in ("auroc", "brier", "log_loss", "f1"):
        metric = metrics.load(name)
        for k, fold in enumerate(read.folds):
            cut = fold.threshold["ensemble"][: len(COMMON)]
            by_class = [
                metric(
                    fold.y[:, [c]],
                    fold.p["ensemble"][:, [c]],
                    target=read.target.alone(c),
                    threshold=cut[[c]],
                )
                for c in range(len(COMMON))
            ]
            assert summary["models"]["ensemble"][name]["folds"][k] == pytest.approx(np.mean(by_class))


def test_the_others_have_values_of_their_own_where_they_can(searched):
    _, _, summary = searched
    for name in FEW:
        for of in summary["unscored"][name]["models"].values():
            assert of["brier"]["folds_used"] == 2
            if name == "single":  # one fold has it
                assert of["auroc"]["folds_used"] == 1
                assert 0 <= of["auroc"]["mean"] <= 1


def test_all_are_predicted(searched):
    _, run, summary = searched
    with (run / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == "ensemble"]
    assert {row["class"] for row in rows} == set(FINDINGS)
    assert len(rows) == summary["data"]["n_units"] * 14
    rare = [float(row["probability"]) for row in rows if row["class"] == "three"]
    assert 0 < np.mean(rare) < 0.1


def test_thresholds_that_could_not_be_chosen_are_named(searched):
    _, run, summary = searched
    given = [fold["chosen"]["thresholds_given"] for fold in summary["folds"]]
    assert any("single" in one for one in given)  # its one positive is in one outer test
    for fold in summary["folds"]:
        for name in fold["chosen"]["thresholds_given"]:
            cuts = [t[FINDINGS.index(name)] for t in fold["chosen"]["thresholds"].values()]
            assert set(cuts) == {GIVEN}
    page = (run / "report.html").read_text()
    assert "Threshold 0.5 and not chosen" in page


def test_the_page_and_the_card_say_it(searched):
    _, run, _ = searched
    page, card = (run / "report.html").read_text(), (run / "bundle" / "MODEL_CARD.md").read_text()
    assert "protocol: nested 2x2, scored 8 of 14 classes" in page
    assert "Every mean over classes on this page is over 8 of 14." in page
    assert "nearly_all (" in page[page.index('id="unscored"') :]
    assert page.count(" ‡</th>") == len(FEW) * page.count('class="dense wrapped by-class"')
    assert "1/2 folds" in page
    assert not re.search(r"\bnan\b", page.lower())
    assert "leave out those that a fold has too few of to score them" in card


def test_the_bundle_predicts_all_and_is_evaluated_on_those_it_can_be(searched):
    _, run, _ = searched
    bundle = Bundle.load(run / "bundle")
    assert bundle.self_test() <= 1e-5
    assert bundle.manifest.target.unscored == tuple(FEW)
    records = RarePublisher(Rare()).read(Path(), ["t"]).records
    assert bundle.predict(records.without_labels()).probabilities.shape == (120, 14)
    config = {"bundle": run / "bundle", "data": {"root": ".", "sets": ["t"]}, "output": run.parent / "e"}
    scoring.evaluate_bundle(config | {"n_bootstrap": 200, "seed": 0, "threads": 1})
    found = json.loads((run.parent / "e" / "metrics.json").read_text())
    assert found["unscored"] == list(FEW)
    assert found["auroc"]["value"] > 0.6


@pytest.mark.parametrize("searched", ["auroc"], indirect=True)
def test_runs_that_score_other_classes_are_compared_on_those_of_both(searched, tmp_path):
    _, run, summary = searched
    small = ("models=[logistic]", "n_trials=1", "report.explained=0")
    searching.search(rare_config(tmp_path, "study_name=more", "protocol.inner_folds=6", *small))
    more = json.loads((tmp_path / "more" / "summary.json").read_text())
    assert set(more["unscored"]) > set(summary["unscored"])
    page = compare_runs([run, tmp_path / "more"], tmp_path / "compared.html", n_bootstrap=50).read_text()
    n = 14 - len(more["unscored"])
    assert f"Tests are of the {n} classes that all of them score" in page


def test_many_units_a_record_and_few_records_with_a_class(tmp_path):
    small = ("models=[logistic]", "n_trials=1", "report.explained=0")
    searching.search(rare_config(tmp_path, *small, units=4))
    summary = json.loads((tmp_path / "rare-nested" / "summary.json").read_text())
    assert set(summary["unscored"]) == set(FEW)
