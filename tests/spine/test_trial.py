"""One inner fold's score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ehrbench import metrics
from ehrbench.core.target import Target
from ehrbench.spine.thresholds import ThresholdRule
from ehrbench.spine.trial import TrialSetting, fold_score
from tests.spine.test_folds import cohort


@pytest.mark.parametrize("n_positive", [2, 3])
def test_a_metric_of_decisions_has_a_value_on_a_fold_of_few_positives(n_positive):
    """One half of the fold alone would often hold all of them, and the other choose no threshold."""
    records = cohort(60, 10**6, 0)
    records.labels[:] = 0
    records.labels[7 : 7 + n_positive] = 1
    unused: Any = None
    setting = TrialSetting(
        key=unused,
        dataset=unused,
        fold=unused,
        builder=unused,
        target=Target("binary", ("event",)),
        metric=metrics.load("f1"),
        threshold=ThresholdRule("f1"),
        race=None,
        ledger=unused,
        seed=0,
    )
    for inner in range(8):
        assert fold_score(setting, records, np.where(records.labels == 1, 0.9, 0.1), inner) == 1.0
