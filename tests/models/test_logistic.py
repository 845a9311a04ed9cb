"""Logistic regression beyond the contract: classes that training lacks, weights, gaps in the table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ehrbench.core.errors import ConfigError
from tests.models.configured import small
from tests.models.toy import ToyFeaturizer, records


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_a_class_never_seen_is_all_but_impossible(absent: int) -> None:
    """The two others are as the regression between the two alone has them."""
    train = records("multiclass", 200)
    y = train.labels.copy()
    y[y[:, absent] == 1] = np.nan
    model = small("logistic", "multiclass")
    model.fit(replace(train, target=y), None, seed=1)
    p = model.predict(train)
    assert p[:, absent].max() < 1e-4
    known = ~np.isnan(y).any(axis=1)
    assert (p[known].argmax(1) == y[known].argmax(1)).mean() > 0.8


def test_a_label_in_one_state_is_a_constant() -> None:
    train = records("multilabel")
    y = train.labels.copy()
    y[:, 2] = 1
    model = small("logistic", "multilabel")
    model.fit(replace(train, target=y), None, seed=1)
    p = model.predict(train)[:, 2]
    assert p.min() == p.max() > 0.98


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_class_weights_leave_probabilities_calibrated(kind: str) -> None:
    train = records(kind, 400)  # type: ignore[arg-type]
    model = small("logistic", kind, class_weight_power=1.0, C=1e-4)  # type: ignore[arg-type]
    model.fit(train, None, seed=1)
    np.testing.assert_allclose(model.predict(train).mean(0), train.labels.mean(0), atol=0.06)


def test_gaps_are_refused() -> None:
    model = small("logistic", "binary")
    model.featurizer = ToyFeaturizer("table")  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"^view: .*missing values — use view: scaled_table"):
        model.fit(records("binary"), None, seed=1)
