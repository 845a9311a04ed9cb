"""The card says what the summary says, and a bundle stays checkable when it gets one."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from ehrbench.core.bundle import check_checksums, write_checksums
from ehrbench.core.errors import BundleError
from ehrbench.report import model_card, write_model_card
from ehrbench.statistics.subgroups import by_subgroup


def test_the_card_has_the_figures(binary):
    of_all = (binary.folds, binary.families, binary.leader, [binary.metric], binary.target)
    groups = by_subgroup(*of_all, seed=0, n_bootstrap=30)
    text = model_card(binary.summary, binary.manifest, groups)
    result = binary.summary["models"]["ensemble"]["auroc"]
    assert f"| AUROC | {result['mean']:.4f} | ({result['interval']['low']:.3f}–" in text
    for heading in (
        "Intended use",
        "Data",
        "How it was made",
        "Performance",
        "Subgroups",
        "Thresholds",
        "Limits",
    ):
        assert f"\n## {heading}\n" in text
    assert "- death: 0.3000" in text
    assert "| icu type: burns | 3 |" in text
    assert "not judged: 3 records" in text
    assert "SIMULATED" not in text


def test_simulated_is_said_first(binary):
    summary = {**binary.summary, "cohort": "simulated"}
    assert "SIMULATED COHORT" in model_card(summary, binary.manifest).split("## ")[0]


def test_undefined_metrics_and_no_subgroups_in_words(binary):
    manifest = replace(binary.manifest, metrics={"auroc": {"undefined": "auroc: a | b"}})
    text = model_card(binary.summary, manifest)
    assert "undefined: auroc: a \\| b" in text
    assert "names no subgroups" in text


@pytest.mark.parametrize(
    ("state", "combiner", "calibrator", "said"),
    [
        ({"models": ["lstm"]}, "mean", "identity", "lstm alone; not recalibrated."),
        (
            {"models": ["ssm", "lstm"]},
            "linear_stack",
            "platt",
            "linear stack of ssm, lstm; calibrated by platt.",
        ),
        (
            {"models": ["ssm", "lstm"], "best": "lstm"},
            "best_member",
            "isotonic",
            "lstm alone, the best of ssm, lstm; calibrated by isotonic.",
        ),
    ],
)
def test_the_card_speaks_of_what_the_bundle_serves(binary, state, combiner, calibrator, said):
    """Of the fold over all records, which became the bundle; the judged folds may have chosen otherwise."""
    summary = json.loads(json.dumps(binary.summary))
    assert summary["folds"][-1]["name"] == "all"
    chosen = {"combiner": combiner, "calibrator": calibrator, "state": state}
    summary["folds"][-1]["chosen"]["ensemble"] = chosen
    served = binary.summary["models"]["lstm"]
    text = model_card(summary, replace(binary.manifest, metrics=served))
    assert f"The bundle serves this one: {said}\n" in text
    assert f"| AUROC | {served['auroc']['mean']:.4f} |" in text


def test_the_bundle_stays_checkable(folder):
    write_checksums(folder / "bundle")
    path = write_model_card(folder, n_bootstrap=10)
    check_checksums(folder / "bundle")
    assert path.name == "MODEL_CARD.md"
    first = path.read_text()
    assert write_model_card(folder, n_bootstrap=10).read_text() == first


def test_an_altered_bundle_gets_no_card(folder):
    write_checksums(folder / "bundle")
    manifest = folder / "bundle" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(BundleError, match=r"manifest\.json: altered"):
        write_model_card(folder)


def test_programs_read_the_same_facts_and_what_is_not_known(folder):
    write_checksums(folder / "bundle")
    bundle = write_model_card(folder).parent
    check_checksums(bundle)
    card = json.loads((bundle / "model_card.json").read_text(encoding="utf-8"))
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    attributes = {one["id"]: one for one in card["attributes"]}
    paragraphs = {1: 4, 2: 4, 3: 2, 4: 4, 5: 2, 6: 4, 7: 5, 8: 4, 9: 2}  # of 170.315(b)(11)(iv)(B)
    roman = ("i", "ii", "iii", "iv", "v")
    assert list(attributes) == [f"({p})({n})" for p, most in paragraphs.items() for n in roman[:most]]
    assert len(attributes) == 31
    for one in attributes.values():
        assert (one["value"] is None) != (one["missing"] is None), one
    mean = summary["models"]["ensemble"]["auroc"]["mean"]
    assert f"AUROC {mean:.4f}" in attributes["(7)(i)"]["value"]
    assert "icu_type: burns: 3 records" in attributes["(4)(iii)"]["value"]
    assert {"(1)(i)", "(1)(ii)", "(6)(i)", "(8)(ii)"} <= set(card["empty"])
    assert not {"(2)(i)", "(3)(ii)", "(5)(i)"} & set(card["empty"])

    root = ElementTree.parse(bundle / "model_card.xml").getroot()
    name = "{https://mc.chai.org/v0.2/schema.xsd}"
    assert root.tag == f"{name}AppliedModelCard"
    empty, values = set(), []

    def walk(element, path):
        for child in element:
            here = f"{path}.{child.tag}".removeprefix(".").replace(name, "")
            walk(child, here)
            if not len(child) and not (child.text or "").strip():
                empty.add(here)
            if child.tag == f"{name}ValueJson" and child.text:
                values.append(json.loads(child.text))

    walk(root, "")
    assert empty == set(card["chai_empty"])
    assert {"BasicInfo.ModelDeveloper", "TrustIngredients.TransparencyInformation.FundingSource"} <= empty
    assert mean in [pytest.approx(one["value"], abs=1e-6) for one in values]
