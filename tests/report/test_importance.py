"""Importance finds the parameter that matters, in any fold, and says when it cannot."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ehrbench.report.figures.search_progress import progress
from ehrbench.report.importance import Axis, axes, centred, importance
from tests.report.folders import SPACE


def test_the_planted_parameter_matters_most(binary):
    trials = binary.trials[binary.trials["model"] == "ssm"]
    found = axes(trials, SPACE)
    assert [a.name for a in found] == ["learning_rate", "n_layers", "pooling", "heads"]
    share = importance(trials, found, seed=0)
    assert max(share.share, key=share.share.get) == "learning_rate"
    assert sum(share.share.values()) == pytest.approx(1)
    assert share.conditional == ("heads",)


def test_folds_of_other_difficulty_change_nothing(binary):
    trials = binary.trials[binary.trials["model"] == "ssm"]
    harder = trials.assign(value=trials["value"] - 0.2 * (trials["outer_fold"] == "1"))
    np.testing.assert_allclose(centred(trials.dropna()), centred(harder.dropna()), atol=1e-12)


@pytest.mark.parametrize(
    ("values", "params", "said"),
    [
        ([0.8] * 3, [{"a": 1}, {"a": 2}, {"a": 3}], "3 finished trials"),
        ([0.8] * 12, [{"a": i} for i in range(12)], "same value"),
        ([0.8] * 12, [{"a": 1}] * 12, "no hyperparameter took two values"),
    ],
)
def test_what_cannot_be_had_is_said(values, params, said):
    trials = pd.DataFrame({"outer_fold": "0", "state": "complete", "value": values, "params": params})
    assert said in importance(trials, axes(trials, {}), seed=0).why


def test_positions():
    assert Axis("a", log=True, low=1e-4, high=1e-2).position(1e-3) == pytest.approx(0.5)
    assert Axis("a", choices=("x", "y")).position("y") == 0.75
    assert Axis("a", choices=("False", "True")).position(True) == 0.75
    assert Axis("a", low=2.0, high=2.0).position(2) == 0.5
    assert json.dumps(Axis("a").position(0.25)) == "0.25"


def test_dashed_steps_are_explained_where_there_are_any(binary):
    """A nested search has one more study, over all records; a hold-out has none."""
    outer_only = replace(binary, trials=binary.trials[binary.trials["outer_fold"] != "all"])
    captions = [progress(run, "ssm", "m0").caption for run in (binary, outer_only)]
    assert ["dashed: over all records" in caption for caption in captions] == [True, False]
