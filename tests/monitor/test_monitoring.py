"""Monitoring as a whole: alarms where something is wrong, a proposal, and plain data that JSON takes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from ehrbench.core.bundle import Manifest
from ehrbench.core.target import Target
from ehrbench.monitor.monitoring import Watched, monitoring
from ehrbench.monitor.observed import Observed
from tests.monitor.test_drift import N_TRAINING, observed, patients, trained

PROMISED = {
    "auroc": {"mean": 0.80, "interval": {"low": 0.77, "high": 0.83}},
    "specificity": {"mean": 0.85, "interval": {"low": 0.82, "high": 0.88}},
    "calibration_intercept": {"mean": 0.0, "interval": {"low": -0.1, "high": 0.1}},
    "calibration_slope": {"mean": 1.0, "interval": {"low": 0.9, "high": 1.1}},
}


def watched(rng: np.random.Generator, target: Target | None = None) -> Watched:
    manifest = Manifest(
        study_name="icu",
        task="ehrbench.tasks.mortality.Mortality",
        task_settings={},
        target=target or Target("binary", ("death",)),
        models={},
        thresholds=[0.3],
        threshold_rule="",
        cohort="publisher",
        data_digest="",
        data_sets=[],
        protocol="nested",
        salt="",
        git_commit="",
        created="2026-01-01T00:00:00Z",
        seed=1,
        metrics=PROMISED,
    )
    return Watched("v" * 64, manifest, trained(rng), N_TRAINING)


def told(rng: np.random.Generator, seen: Observed, n_told: int, slope: float = 1.0) -> Observed:
    """Predictions of about the promised AUROC, the first of them with an outcome."""
    p = expit(rng.normal(-1.5, 1.1, (len(seen), 1)))
    y = (rng.random(p.shape) < expit(slope * logit(p))).astype(np.float64)
    y[n_told:] = np.nan
    order = np.where(np.arange(len(seen)) < n_told, np.arange(len(seen)), -1)
    return replace(seen, p=p, called=p >= 0.3, y=y, told=order)


def test_what_does_well_raises_no_alarm() -> None:
    rng = np.random.default_rng(0)
    bundle = watched(rng)
    assert bundle.profile is not None
    found = monitoring(bundle, told(rng, observed(bundle.profile, patients(rng, 900)), 110))
    json.dumps(found, allow_nan=False)
    assert found["alarms"] == []
    assert found["proposal"] == {"retrain": False, "reasons": [], "outcomes": 110}
    death = found["classes"]["death"]
    assert (found["records"], found["labelled"], death["labelled"]) == (900, 110, 110)
    assert death["figures"]["auroc"]["low"] < 0.8 < death["figures"]["auroc"]["high"]
    assert death["expected"]["auroc"]["value"] == pytest.approx(0.79, abs=0.04)
    assert death["expected"]["calibration"] == "by the bundle's manifest and outcomes told"
    assert len(death["windows"]) == 9
    assert [window["complete"] for window in death["windows"]] == [True] + [False] * 8
    assert found["drift"]["looks"] == 9 + 4 + 2 + 1
    (age,) = (row for row in found["drift"]["compared"] if row["column"] == "age")
    assert sum(age["now"]) == pytest.approx(1, abs=0.01)
    assert len(age["bins"]) == len(age["then"]) == len(age["now"])


def test_before_any_outcome_the_manifest_says_how_calibrated_it_is() -> None:
    rng = np.random.default_rng(1)
    bundle = watched(rng)
    assert bundle.profile is not None
    seen = told(rng, observed(bundle.profile, patients(rng, 300)), 0)
    death = monitoring(bundle, seen)["classes"]["death"]
    assert (death["figures"], death["expected"]["calibration"]) == (None, "by the bundle's manifest")
    assert death["expected"]["auroc"]["value"] is not None
    unknown = replace(bundle, manifest=replace(bundle.manifest, metrics={}))
    expected = monitoring(unknown, seen)["classes"]["death"]["expected"]["auroc"]
    assert expected["value"] is None
    assert "nothing says" in expected["why"]


def test_a_model_that_ranks_no_more_raises_alarms_and_a_proposal() -> None:
    rng = np.random.default_rng(2)
    bundle = watched(rng)
    assert bundle.profile is not None
    seen = told(rng, observed(bundle.profile, patients(rng, 900)), 850, slope=0.2)
    found = monitoring(bundle, seen)
    assert {alarm["kind"] for alarm in found["alarms"]} >= {"discrimination", "calibration"}
    assert all(alarm["of"] == "death" for alarm in found["alarms"])
    assert found["classes"]["death"]["expected"]["auroc"]["value"] is None
    assert found["proposal"]["retrain"]
    assert "850 new outcomes, of 600 patients trained on" in found["proposal"]["reasons"]


def test_outcomes_of_a_few_alone_are_said_to_be() -> None:
    rng = np.random.default_rng(3)
    bundle = watched(rng)
    assert bundle.profile is not None
    seen = told(rng, observed(bundle.profile, patients(rng, 900)), 900, slope=0.2)
    seldom = rng.random(900) < 0.3
    seen = replace(seen, y=np.where(seldom[:, None], seen.y, np.nan), told=np.where(seldom, seen.told, -1))
    (alarm, *_) = monitoring(bundle, seen)["alarms"]
    assert alarm["told"].endswith("% only are known, which may be others")


def test_drift_is_an_alarm_by_its_column() -> None:
    rng = np.random.default_rng(4)
    bundle = watched(rng)
    assert bundle.profile is not None
    seen = observed(bundle.profile, patients(rng, 400, older=1.0, unmeasured=0.9))
    found = monitoring(bundle, told(rng, seen, 0))
    assert {(alarm["kind"], alarm["of"]) for alarm in found["alarms"]} == {
        ("drift", "age"),
        ("missingness", "lactate"),
    }
    assert found["proposal"]["reasons"] == ["missingness of lactate", "drift of age"] or found["proposal"][
        "reasons"
    ] == ["drift of age", "missingness of lactate"]


def test_a_bundle_without_a_profile_and_one_that_has_predicted_nothing() -> None:
    rng = np.random.default_rng(5)
    bundle = watched(rng)
    assert bundle.profile is not None
    nothing = told(rng, observed(bundle.profile, patients(rng, 0)), 0)
    found = monitoring(bundle, nothing)
    json.dumps(found, allow_nan=False)
    assert (found["records"], found["since"], found["drift"]["looks"]) == (0, None, 0)
    seen = told(rng, observed(bundle.profile, patients(rng, 200)), 0)
    older = monitoring(replace(bundle, profile=None), seen)
    assert older["drift"]["why_not"] == "the bundle has no profile: export it again"
    assert older["drift"]["compared"] == []
