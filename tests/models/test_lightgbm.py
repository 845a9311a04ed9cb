"""LightGBM beyond the contract: early stopping, several boosters, one state of a class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ehrbench.core.errors import ConfigError
from tests.models.configured import small
from tests.models.toy import ToyFeaturizer, records


@pytest.mark.parametrize("kind", ["binary", "multilabel", "multiclass"])
def test_early_stopping_keeps_the_best_trees_through_save(kind: str, tmp_path: Path) -> None:
    settings = {"n_estimators": 300, "early_stopping_rounds": 5, "learning_rate": 0.3}
    model = small("lightgbm", kind, **settings)  # type: ignore[arg-type]
    test = records(kind, 30, seed=4)  # type: ignore[arg-type]
    result = model.fit(records(kind), records(kind, 60, seed=1), seed=1)  # type: ignore[arg-type]
    assert 1 <= result.best_step < 300
    model.save(tmp_path)
    again = small("lightgbm", kind, **settings)  # type: ignore[arg-type]
    again.restore(tmp_path)
    np.testing.assert_array_equal(again.predict(test), model.predict(test))


def test_a_class_in_one_state_is_predicted_so() -> None:
    train = records("multilabel")
    y = train.labels.copy()
    y[:, 2] = 0
    model = small("lightgbm", "multilabel")
    model.fit(replace(train, target=y), None, seed=1)
    assert model.predict(train)[:, 2].max() < 1e-3


def test_sequence_is_not_a_table() -> None:
    model = small("lightgbm", "binary")
    model.featurizer = ToyFeaturizer("sequence")  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"^view: LightGBM takes a Table or a Bag, not a Sequence"):
        model.fit(records("binary"), None, seed=1)
