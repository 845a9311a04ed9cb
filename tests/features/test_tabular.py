from __future__ import annotations

from typing import ClassVar

import numpy as np

from ehrbench.features.rows import Rows
from ehrbench.features.tabular import Tabular
from tests.features.conformance import FeaturizerContract
from tests.features.payloads import random_rows, records_of


class TestTabular(FeaturizerContract):
    kind = Tabular
    variants: ClassVar = [
        {},
        {"scaling": "standard"},
        {"scaling": "quantile", "one_hot": ["Age", "Absent"]},
        {"one_hot": ["Age", "Income"]},
    ]

    def payload(self, n, seed):
        return random_rows(n, seed)


def test_one_hot_knows_the_levels_of_training_only():
    train = records_of(Rows(np.array([[1, 5], [2, 6], [2, 7]], dtype=np.float32), ("Age", "BMI")))
    other = records_of(Rows(np.array([[2, 5], [3, 5], [np.nan, 5]], dtype=np.float32), ("Age", "BMI")))
    view = Tabular(one_hot=["Age"]).fit(train).transform(other)
    assert view.names == ("BMI", "Age=1", "Age=2")
    assert view.values[:, 1:].tolist() == [[0, 1], [0, 0], [0, 0]]


def test_raw_rows_are_the_payload():
    rows = random_rows(10, 0)
    view = Tabular().fit(records_of(rows)).transform(records_of(rows))
    assert view.values is rows.values
