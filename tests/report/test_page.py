"""The page: whole for every kind of target, the same every time, and in words where there is no figure."""

import csv
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest

from ehrbench import metrics
from ehrbench.core.errors import BundleError, StorageError
from ehrbench.core.target import Target
from ehrbench.core.task import Words
from ehrbench.report import Attempts, write_report
from ehrbench.report.bundled import bundled
from ehrbench.report.page import colours_of, report_context
from ehrbench.report.rendering import parts_of, write_page
from ehrbench.report.run import read_run
from ehrbench.report.skipped import Reason, reasons
from tests.report.folders import TARGETS, Sketch, write_run
from tests.report.reading import visible, words

FIGURES = ("leaderboard-figure", "fold-variance", "optimism", "forest")
SMALL = dict(n_records=240, n_bootstrap=20, n_trials=2)  # noqa: C408
VOID = {"meta", "link", "br", "circle", "path", "rect", "option"}


class Page(HTMLParser):
    """Ids, texts, and every address the page would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.addresses += [
            v for k, v in attrs if k in ("src", "href", "action") and not v.startswith(("#", "data:"))
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def written(tmp_path, **options):
    folder = write_run(tmp_path, Sketch(**{**SMALL, **options}))
    return write_report(folder, n_bootstrap=20).read_text()


@pytest.mark.parametrize("kind", ["binary", "multilabel", "multiclass"])
def test_every_kind_of_target_has_every_figure(tmp_path, kind):
    text = written(tmp_path, kind=kind, n_trials=6)
    page = Page(text)
    n_classes = 1 if kind == "binary" else 3
    curves = [f"{c}-{k}" for c in ("roc", "pr", "calibration", "decision") for k in range(n_classes)]
    search = [f"{f}-{m}" for f in ("progress", "importance", "parallel") for m in ("ssm", "lstm", "lightgbm")]
    for name in (*FIGURES, *curves, *search):
        assert page.ids.count(name) == 1, name
    for_phones = 2 + len(search) // 3  # leaderboard, forest, trials by hyperparameters: drawn twice
    assert text.count('<svg class="plot"') == len(FIGURES) + len(curves) + len(search) + for_phones
    assert not page.addresses
    assert not page.open
    assert not re.search(r"\b(nan|inf|none)\b", words(text).lower().replace("act on none", ""))


def test_metrics_of_calls_stand_apart_with_their_threshold_s_rule(binary_folder):
    text = write_report(binary_folder, n_bootstrap=5).read_text()
    tables = [re.search(rf'id="{i}">.*?</thead>', text, re.S)[0] for i in ("leaderboard", "leaderboard-2")]
    assert ["AUROC" in table for table in tables] == [True, False]
    assert ["Sensitivity" in table for table in tables] == [False, True]
    assert "chosen on inner out-of-fold predictions (rule: f1)" in words(text)
    assert metrics.load("sensitivity").meaning in text
    assert metrics.load("net_benefit").meaning not in text  # of which none is reported here


def test_a_threshold_given_beforehand_is_not_said_to_be_chosen(binary_folder):
    path = binary_folder / "bundle" / "manifest.json"
    before = path.read_text()
    try:
        path.write_text(before.replace('"threshold_rule": "f1"', '"threshold_rule": "fixed=0.3"'))
        text = words(write_report(binary_folder, n_bootstrap=5).read_text())
    finally:
        path.write_text(before)
    assert "Calls at the threshold of each outer fold, given beforehand (0.3)." in text
    assert "chosen on inner out-of-fold predictions" not in text


def test_no_table_is_wider_than_paper_and_the_searched_metric_s_kind_comes_first():
    loaded = [metrics.load(name) for name in metrics.names()]
    searched = sorted(loaded, key=lambda m: m.name != "f1")
    parts = parts_of(searched)
    assert sorted(m.name for part in parts for m in part) == metrics.names()
    assert all(len(part) <= 8 and len({m.needs_threshold for m in part}) == 1 for part in parts)
    assert parts[0][0].name == "f1"
    assert parts_of([]) == []


IMAGES = Words("image", "images", "finding", "findings")


def test_what_was_chosen_before_the_search_stands_beside_the_headline(tmp_path):
    text = words(written(tmp_path))
    headline = text[text.index("Every figure is of outer-test") : text.index("Leaderboard")]
    assert "What was chosen before this search" in headline
    assert "outer tests among them" in headline


def test_nested_runs_answer_how_predictions_are_calculated_in_part(tmp_path):
    text = words(written(tmp_path))
    assert "kept in the ledger; the bundle has others" in text


def test_nothing_is_called_a_record_where_the_task_has_a_word(tmp_path):
    for options in ({}, {"n_folds": 1}, {"kind": "multiclass", "units": 2}):
        text = words(written(tmp_path / str(len(options)), words=IMAGES, **options))
        assert not re.findall(r".{40}\b(?:[Rr]ecords?|[Uu]nits?)\b(?!\.csv)", text)
        assert "Every figure is of outer-test images" in text
        assert "a finding is called positive" in text


def test_the_columns_of_the_leaderboard_and_of_the_tests_are_explained_once(tmp_path):
    text = written(tmp_path)
    page = words(text)
    head = [re.search(rf'id="{i}">.*?</thead>', text, re.S)[0] for i in ("leaderboard", "leaderboard-2")]
    titles = [title for part in head for title in re.findall(r'<th class="n">([^<↓]+)', part)]
    assert len(titles) == 6
    for title in ("Letter", *(title.strip() for title in titles), "p", "p, Holm", "Detectable"):
        assert text.count(f"<dt>{title}</dt><dd>") == 1, title
    assert page.count("not told apart by the paired tests") == 1


def test_legends_have_the_leaderboard_s_order_and_the_bundle_s_model_the_first_colour(binary):
    again = replace(binary, models=tuple(reversed(binary.models)))
    for run in (binary, again):
        colours = colours_of(run)
        assert list(colours) == run.ranking
        assert colours[run.leader] == "m0"
        assert len(set(colours.values())) == len(run.models)
    context = report_context(again, Attempts(again.folder), seed=0, n_bootstrap=5)
    for figure in (*context["classes"][0].figures, context["figures"]["fold_variance"]):
        assert [name for _, name in figure.models] == binary.ranking


def test_the_bundle_s_own_threshold_and_calibrator_stand_beside_the_folds(tmp_path):
    folder = write_run(tmp_path, Sketch(**SMALL))
    path = folder / "bundle" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"thresholds": [0.2468]}))
    text = words(write_report(folder, n_bootstrap=5).read_text())
    assert "0.3 bundle 0.247" in text
    assert (
        "The bundle has a threshold of its own, by the same rule from the out-of-fold predictions of all 240 "
        "records: under the ensemble's."
    ) in text
    assert (
        "The bundle's calibrator is platt, because it is the simplest whose cross-fitted log loss (0.3005) "
        "is within one standard error (8e−4) of the least (0.3, isotonic); it was fitted on out-of-fold "
        "predictions of all 240 records"
    ) in text


def test_a_hold_out_s_bundle_is_the_judged_procedure(tmp_path):
    folder = write_run(tmp_path, Sketch(**SMALL))
    summary = json.loads((folder / "summary.json").read_text())
    summary["folds"] = [fold for fold in summary["folds"] if fold["name"] != "all"]
    (folder / "summary.json").write_text(json.dumps(summary))
    found = bundled(read_run(folder))
    assert found.judged
    assert found.of == f"the {summary['folds'][0]['n_train']} training records"
    text = words(write_report(folder, n_bootstrap=5).read_text())
    assert "The bundle has the ensemble's threshold of this one fold." in text
    assert "bundle 0.3" not in text


def test_table_1_of_many_classes_goes_on_in_further_tables(tmp_path, monkeypatch):
    many = Target("multilabel", tuple(f"finding {k}" for k in range(14)))
    monkeypatch.setitem(TARGETS, "multilabel", many)
    text = written(tmp_path, kind="multilabel", n_folds=2, models=("ssm",), ensemble=False)
    tables = re.findall(r"<table[^>]*>\s*<thead><tr><th>Table 1.*?</thead>", text, re.S)
    assert [len(re.findall(r'<th class="n">finding', table)) for table in tables] == [6, 6, 2]
    assert ["continued" in table for table in tables] == [False, True, True]


def test_levels_have_the_unit_of_their_family(tmp_path):
    text = written(tmp_path)
    assert text.count("age (years)") == 6  # the forest, that of phones, its two tables, the gaps and Table 1
    assert "sex (" not in text


def test_many_units_a_record(tmp_path):
    text = written(tmp_path, units=3, n_records=120)
    assert "their share of the units whose label is known" in text
    assert "1,000 such units" in words(text)


def test_the_same_folder_gives_the_same_page(binary_folder):
    first = write_report(binary_folder, n_bootstrap=20).read_text()
    assert write_report(binary_folder, n_bootstrap=20).read_text() == first


def test_simulated_cannot_be_missed(tmp_path):
    text = written(tmp_path, cohort="simulated")
    assert "<title>SIMULATED" in text
    assert text.count("SIMULATED") >= 5
    assert "SIMULATED" not in visible(write_report_of_publisher(tmp_path))


def write_report_of_publisher(tmp_path):
    return written(tmp_path / "other")


def test_one_model_alone(tmp_path):
    text = written(tmp_path, models=("ssm",), ensemble=False)
    assert "There is one model only, so there is no pair to test" in text
    assert "AUROC of the ssm" in words(text)


def test_one_fold(tmp_path):
    text = words(written(tmp_path, n_folds=1))
    assert "has one test fold: nothing varies over folds" in text
    assert "With one test fold nothing is said of the procedure on another sample" in text
    assert "Procedure: difference" not in text


def spoil(folder, change):
    """Rewrite predictions.csv, and take the metrics out of the summary as an undefined metric leaves it."""
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        change(row)
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def undefine(folder, models, why):
    summary = json.loads((folder / "summary.json").read_text())
    for model in models:
        for metric in summary["models"][model]:
            summary["models"][model][metric] = {"undefined": f"{metric}: {why}"}
        if model in summary["selected"]:
            summary["selected"][model]["outer"] = None
    (folder / "summary.json").write_text(json.dumps(summary))


def test_a_fold_with_one_class(tmp_path):
    folder = write_run(tmp_path, Sketch(**SMALL))
    spoil(folder, lambda row: row.update(label="0") if row["outer_fold"] == "1" else None)
    undefine(folder, ["ssm", "lstm", "lightgbm", "ensemble"], "all 80 units are negative")
    text = words(write_report(folder, n_bootstrap=20).read_text())
    assert "1 fold with one class only left out" in text
    assert "all 80 units are negative" in text
    assert "it needs two groups with each kind" in text
    assert "AUROC is undefined in fold 1" in text


def test_no_positives_at_all(tmp_path):
    folder = write_run(tmp_path, Sketch(**SMALL))
    spoil(folder, lambda row: row.update(label="0"))
    undefine(folder, ["ssm", "lstm", "lightgbm", "ensemble"], "one class")
    text = words(write_report(folder, n_bootstrap=20).read_text())
    assert text.count("there are 0 positive and 240 negative units") == 3
    assert "0 with the outcome, fewer than 5" in text


def test_nan_predictions_of_one_model(tmp_path):
    folder = write_run(tmp_path, Sketch(**SMALL))
    spoil(folder, lambda row: row.update(probability="nan") if row["model"] == "lstm" else None)
    undefine(folder, ["lstm"], "80 predictions are not finite")
    text = words(write_report(folder, n_bootstrap=20).read_text())
    assert "Not drawn: lstm (its predictions are not all finite numbers)" in text
    assert "lstm has predictions that are not finite" in text
    assert not re.search(r"\bnan\b", text.lower())


def test_ties_everywhere_and_certainty(tmp_path):
    folder = write_run(tmp_path, Sketch(**SMALL))
    spoil(folder, lambda row: row.update(probability=str(round(float(row["probability"])))))
    undefine(folder, ["ssm", "lstm", "lightgbm", "ensemble"], "made for the test")
    text = write_report(folder, n_bootstrap=20).read_text()
    assert {"roc-0", "calibration-0"} <= set(Page(text).ids)
    assert not re.search(r"\bnan\b", words(text).lower())


def test_a_metric_where_lower_is_better(tmp_path):
    text = words(written(tmp_path, metric="brier"))
    assert "Lower is better" in text
    assert "paired group bootstrap, BCa" in text


def test_names_are_escaped(tmp_path):
    text = written(tmp_path, models=("<b>ssm</b>", "lstm"))
    assert "<b>ssm</b>" not in text
    assert "&lt;b&gt;ssm" in text


def test_an_altered_folder_leaves_no_page(folder):
    (folder / "report.html").unlink(missing_ok=True)
    (folder / "trials.csv").unlink()
    with pytest.raises(BundleError, match=r"trials\.csv"):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_a_page_that_cannot_be_written(folder):
    (folder / "report.html").unlink(missing_ok=True)
    (folder / "report.html").mkdir()
    with pytest.raises(StorageError, match=r"report\.html"):
        write_report(folder, n_bootstrap=5)
    assert not list(folder.glob(".report*"))
    with pytest.raises(StorageError, match=r"page\.html: cannot be written"):
        write_page(folder / "summary.json" / "page.html", "below a file")


def test_no_record_is_named(tmp_path):
    folder = write_run(tmp_path, Sketch(**SMALL))
    for name in ("records.csv", "predictions.csv"):
        text = (folder / name).read_text()
        (folder / name).write_text(re.sub(r"^0(\d+),", r"patient-\1,", text, flags=re.M))
    assert "patient-" not in write_report(folder, n_bootstrap=5).read_text()


def test_no_list_of_skipped_rows_is_said(folder):
    (folder / "skipped.csv").unlink()
    with pytest.raises(BundleError, match=r"skipped\.csv: cannot be read \(No such file"):
        write_report(folder, n_bootstrap=5)


def test_skipped_rows_are_counted_by_reason_and_name_nobody(folder):
    rows = [("set-a/1.txt", "1", f"Weight in line {k}", "'secret' is not a number") for k in (4, 5, 6)]
    rows += [
        ("set-a/2.txt", "2", "Weight in line 9", "2.5 is none of 0, 1"),
        ("s.csv", "line 3", "line 3", "is empty"),
    ]
    rows += [(f"{i}.txt", str(i), f"Z{'x' * i}", "is missing") for i in range(14)]
    pd.DataFrame(rows, columns=["file", "record", "field", "problem"]).to_csv(
        folder / "skipped.csv", index=False
    )
    found = reasons(read_run(folder))
    assert found[0] == Reason("Weight", "a value is not a number", 3, 1)
    assert Reason("Weight", "a value is none of 0, 1", 1, 1) in found
    assert len(found) == 16
    assert found[-1] == Reason("others", "2 further reasons", 2, 2)
    assert sum(reason.rows for reason in found) == len(rows)
    text = write_report(folder, n_bootstrap=5).read_text()
    assert "a value is not a number" in text
    assert "secret" not in text


def test_each_figure_is_a_file_of_its_own(tmp_path):
    folder = write_run(tmp_path, Sketch(**SMALL))
    text = write_report(folder, n_bootstrap=20).read_text()
    files = {path.stem: path.read_text() for path in (folder / "figures").glob("*.svg")}
    drawn = set(re.findall(r'<figure id="([^"]+)"', text)) - set(
        re.findall(r'<figure id="([^"]+)"[^>]*>(?:(?!</figure>).)*?class="why"', text, flags=re.S)
    )
    assert set(files) == drawn
    assert len(files) > 8
    for svg in files.values():
        ET.fromstring(svg)
        assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    assert "ensemble" in files["roc-0"]
