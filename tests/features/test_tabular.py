from __future__ import annotations

from typing import ClassVar

import numpy as np

from ehrbench.features.rows import Rows
from ehrbench.features.tabular import Tabular
from tests.features.conformance import FeaturizerContract, assert_same
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


MIXED = Rows(
    np.array([[0, 1.5], [0, 2], [1, np.nan], [np.nan, 3], [2, 4], [1, 5]], dtype=np.float32),
    ("ward", "age"),
    {"ward": ("surgery", "icu", "eye")},
)


def test_categories_are_told_by_their_text_whatever_their_numbers():
    """Levels that training saw by name, rare and unseen ones together, missing ones apart."""
    other = Rows(np.array([[1, 1], [0, 1], [2, 1], [np.nan, 1]], np.float32), ("ward", "age"),
                 {"ward": ("ear", "icu", "surgery")})  # fmt: skip
    raw = Tabular(least=2).fit(records_of(MIXED)).transform(records_of(other))
    assert raw.levels == {"ward": ("icu", "surgery", "other")}
    assert raw.categorical == [0]
    np.testing.assert_array_equal(raw.values[:, 0], [0, 2, 1, np.nan])
    spread = Tabular("standard", least=2).fit(records_of(MIXED))
    names = spread.transform(records_of(other)).names
    assert {"ward=icu", "ward=surgery", "ward=other", "ward.missing"} <= set(names)
    again = Tabular(**spread.settings())
    again.restore(spread.state())
    assert_same(again.transform(records_of(other)), spread.transform(records_of(other)))


def test_a_row_is_its_texts_not_its_numbers():
    swapped = Rows(MIXED.values.copy(), MIXED.names, {"ward": ("icu", "surgery", "eye")})
    swapped.values[:, 0] = np.array([1, 1, 0, np.nan, 2, 0])
    assert (swapped.digests() == MIXED.digests()).all()
    assert len(set(MIXED.digests())) == 6
