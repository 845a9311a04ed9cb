"""The gate on real bundles and drawn predictions: each check lets a good one pass, and refuses a fault."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ehrbench.app.composed.conf import CONF
from ehrbench.core.bundle import MANIFEST, Manifest
from ehrbench.core.target import Target
from ehrbench.registry.check import judged_metric
from ehrbench.registry.evidence import Evidence, on_unseen, unseen_by
from ehrbench.registry.gate import Verdict, judge
from ehrbench.registry.gate_limits import Limits
from ehrbench.registry.release import CHALLENGER, CHAMPION
from ehrbench.runtime.bundle import Bundle
from ehrbench.statistics.fold_data import FoldPredictions
from tests.runtime.building import seal
from tests.runtime.conftest import cohort, toy_bundle

TARGET = Target("binary", ("death",))
N, FOLDS = 1500, 3
CERTIFICATE = {
    "study_name": "by-hand",
    "data_digest": "d" * 64,
    "folds": [
        {"name": "0", "purposes": {"fit": {"outer_test_records": 0}, "test": {"outer_test_records": 9}}}
    ],
}


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(with_parity(toy_bundle(tmp_path_factory.mktemp("gate") / "bundle", "binary")))


def copied(champion: Bundle, place: Path) -> Path:
    return Path(shutil.copytree(champion.directory, place))


def with_parity(place: Path, most: float = 1e-7, **change: Any) -> Path:
    """The bundle as an export writes it, which has compared every member with its model."""
    manifest = Manifest.from_json((place / MANIFEST).read_text())
    folders = [folder for members in manifest.models.values() for folder in members]
    parity = {"n_records": 50, "limit": 1e-5, "ensemble": most, "members": dict.fromkeys(folders, most)}
    return seal(place, replace(manifest, **({"parity": parity} | change)))


def limits(**changed: Mapping[str, Any] | Any) -> Limits:
    """The package's, with few replicates and room for the load of the machine that tests."""
    content = yaml.safe_load((CONF / "registry.yaml").read_text())["limits"]
    content |= {"n_bootstrap": 200}
    content["latency"]["most_ratio"] = 20.0
    for key, value in changed.items():
        content[key] = {**content[key], **value} if isinstance(value, Mapping) else value
    return Limits.model_validate(content)


def evidence(**change: Any) -> Evidence:
    """Outcomes of a risk that the champion knows with noise; the challenger says the same.

    change: noise on its logits, in all records (``noise``) or in women (``women``); ``steep`` multiplies
    them; ``hard``: the champion knows half of what is misread. ``alone``: no champion.
    """
    rng = np.random.default_rng(4)
    n = N * FOLDS
    women, logit = rng.random(n) < 0.3, rng.normal(-0.5, 1.7, n)
    y = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float)
    noisy = logit + 0.2 * rng.normal(size=n)
    new = noisy + change.get("noise", 0) * rng.normal(size=n)
    new += change.get("women", 0) * rng.normal(size=n) * women
    said = {CHALLENGER: new * change.get("steep", 1), CHAMPION: noisy}
    readers = {name: z + 0.3 * rng.normal(size=n) for name, z in said.items()}
    said |= {f"{name} · ssm": z for name, z in readers.items()}
    if change.get(
        "hard"
    ):  # of those that its models misread, the champion gets half right, and this one none
        hardest = np.argsort(-np.abs(1 / (1 + np.exp(-readers[CHAMPION])) - y))[: n // 10]
        known = hardest[rng.random(len(hardest)) < 0.5]
        said[CHAMPION][known] = np.where(y[known] == 1, 3.0, -3.0)
    if change.get("alone"):
        said = {CHALLENGER: said[CHALLENGER]}
    folds = []
    for k in range(FOLDS):
        part = np.arange(k * N, (k + 1) * N)
        p = {name: (1 / (1 + np.exp(-z[part])))[:, None] for name, z in said.items()}
        cut = {name: np.array([0.5]) for name in p}
        folds.append(FoldPredictions(str(k), part, 0 * part, part, y[part, None], p, cut, 2 * N, N))
    return Evidence("drawn", tuple(folds), {"sex": np.where(women, "female", "male")}, TARGET)


def verdict(new: Bundle, old: Bundle | None, given: Evidence | str | None = None, **changed: Any) -> Verdict:
    certificate = changed.pop("certificate", CERTIFICATE)
    given = evidence() if given is None else given
    return judge(new, old, given, certificate, "auroc", limits(**changed), "1" if old else "none")


def refused(found: Verdict) -> dict[str, str]:
    assert found.approved == (not found.reasons)
    return {check.name: check.told for check in found.checks if not check.passed}


def test_an_equal_challenger_passes_every_check(champion: Bundle) -> None:
    found = verdict(champion, champion)
    assert refused(found) == {}
    assert [check.name for check in found.checks] == [
        *("cohort", "evidence", "metric", "calibration", "subgroup", "misread"),
        *("parity", "latency", "size", "certificate"),
    ]


def test_a_better_challenger_passes(champion: Bundle) -> None:
    same = evidence(noise=1.0)
    swapped = [
        replace(f, p={**f.p, CHALLENGER: f.p[CHAMPION], CHAMPION: f.p[CHALLENGER]}) for f in same.folds
    ]
    assert refused(verdict(champion, champion, replace(same, folds=tuple(swapped)))) == {}


@pytest.mark.parametrize(
    ("change", "check", "told"),
    [
        ({"noise": 1.5}, "metric", "may be worse by more than 0.01"),
        ({"steep": 4.0}, "calibration", "slope lies outside 0.7 to 1.4"),
        ({"women": 4.0}, "subgroup", "of 2 subgroups sex female loses most auroc to the champion: +0."),
        ({"hard": True}, "misread", "more by over 5% and beyond chance"),
    ],
)
def test_predictions_are_refused_for_their_own_fault(
    champion: Bundle, change: dict[str, Any], check: str, told: str
) -> None:
    wide = {"metric": {"margin": 0.5}} if check != "metric" else {}
    if check != "calibration":
        wide |= {"calibration": {"ece": 1.0, "slope": [-9.0, 9.0]}}
    wide |= {other: {"margin": 1.0} for other in ("subgroup", "misread") if other != check}
    found = refused(verdict(champion, champion, evidence(**change), **wide))
    assert told in found[check]
    if check != "metric":  # who is worse altogether is so in subgroups, too
        assert set(found) == {check}


def test_a_first_version_is_judged_by_itself(champion: Bundle) -> None:
    found = verdict(champion, None, evidence(alone=True))
    assert refused(found) == {}
    assert found.against == "none"
    assert "no champion" in next(check.told for check in found.checks if check.name == "metric")
    low = verdict(champion, None, evidence(alone=True), metric={"least": 0.99})
    assert "below 0.99" in refused(low)["metric"]
    women = verdict(
        champion, None, evidence(alone=True, women=6.0), calibration={"ece": 1.0, "slope": [-9, 9]}
    )
    assert "female loses most auroc to all records" in refused(women)["subgroup"]


def test_without_evidence_it_is_refused_whatever_else_holds(champion: Bundle) -> None:
    assert refused(verdict(champion, champion, "no such run")) == {"evidence": "no such run"}


def test_a_bundle_that_is_not_its_models_is_refused(champion: Bundle, tmp_path: Path) -> None:
    never = Bundle.load(with_parity(copied(champion, tmp_path / "never"), parity={}))
    assert "never compared with its models" in refused(verdict(never, champion))["parity"]
    apart = Bundle.load(with_parity(copied(champion, tmp_path / "apart"), most=1e-3))
    assert "written 0.001 from its models'" in refused(verdict(apart, champion))["parity"]
    place = copied(champion, tmp_path / "here")
    reference = Manifest.from_json((place / MANIFEST).read_text()).reference["probability"]
    here = Bundle.load(with_parity(place, reference={"probability": [[reference[0][0] + 1e-3]]}))
    found = refused(verdict(here, champion))
    assert set(found) == {"parity"}
    assert "the example's probability differs by 0.001" in found["parity"]


def test_a_slow_or_large_one_is_refused(champion: Bundle) -> None:
    assert "more than 0.001 ms" in refused(verdict(champion, champion, latency={"most_ms": 0.001}))["latency"]
    found = refused(verdict(champion, champion, latency={"most_ratio": 0.01}))
    assert "times as long" in found["latency"]
    assert "more than 0.001" in refused(verdict(champion, champion, size_mb=0.001))["size"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (None, "there is none"),
        ({}, "malformed"),
        ({"study_name": "other"}, "of another search"),
        ({"folds": []}, "speaks of no fold"),
        (
            {"folds": [{"name": "2", "purposes": {"stack": {"outer_test_records": 1}}}]},
            "fold 2: outer-test records were handed out for stack",
        ),
    ],
)
def test_a_missing_or_unclean_certificate_is_refused(champion: Bundle, change: Any, told: str) -> None:
    certificate = {**CERTIFICATE, **change} if change else change
    found = refused(verdict(champion, champion, certificate=certificate))
    assert set(found) == {"certificate"}
    assert told in found["certificate"]


def test_a_simulated_cohort_is_refused_unless_asked_for(champion: Bundle, tmp_path: Path) -> None:
    new = Bundle.load(with_parity(copied(champion, tmp_path / "simulated"), cohort="simulated"))
    assert refused(verdict(new, champion)) == {"cohort": "fitted on a SIMULATED cohort"}
    assert refused(verdict(new, champion, simulated=True)) == {}


def test_verdict_goes_into_tags_with_figures_and_limits(champion: Bundle) -> None:
    found = verdict(champion, champion, evidence(noise=1.5))
    tags = found.tags()
    assert (tags["gate"], tags["gate.against"]) == ("refused", "1")
    metric = json.loads(tags["gate.metric"])
    assert metric["figure"] < metric["limit"] == -0.01
    assert metric["passed"] is False
    assert all(len(value) < 500 for value in tags.values())


def test_records_that_one_of_them_has_seen_judge_nothing(champion: Bundle) -> None:
    records, y = cohort("binary")
    ids = np.array([*records.ids[:40], *(f"new{i}" for i in range(len(records) - 40))])
    records = replace(records, ids=ids, groups=ids, target=y)
    new = unseen_by(records, champion, champion)
    assert set(new.ids) == set(ids[40:])
    found = on_unseen(new, new.groups.astype(str), champion, champion, "sets t")
    fold = found.folds[0]
    for who in (CHALLENGER, CHAMPION):
        assert set(found.readers(who)) == {f"{who} · {model}" for model in ("trees", "line", "net")}
    np.testing.assert_array_equal(fold.p[CHALLENGER], champion.predict(new).probabilities)
    assert len(np.unique(fold.group)) == len(new)
    assert fold.threshold[CHAMPION].tolist() == [0.3]


def test_a_metric_with_an_ideal_between_is_judged_by_log_loss() -> None:
    assert judged_metric(None, "calibration_slope").name == "log_loss"
    assert judged_metric("auprc", "auroc").name == "auprc"
