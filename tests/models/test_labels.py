"""Class weights, by hand and as a property."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ehrbench.core.target import Target
from ehrbench.models.labels import class_weights, known_rows

TWO, THREE = Target("multilabel", ("a", "b")), Target("multiclass", ("a", "b", "c"))


def test_weights_by_hand() -> None:
    y = np.array([[1, 0], [0, 0], [0, np.nan], [0, np.nan]], dtype=float)
    np.testing.assert_allclose(class_weights(y, TWO, 1.0), [3.0, 1.0])  # b was never seen
    np.testing.assert_allclose(class_weights(y, TWO, 0.5), [3**0.5, 1.0])
    np.testing.assert_allclose(class_weights(y, TWO, 0.0), [1.0, 1.0])
    one_hot = np.eye(3)[[0, 0, 0, 1, 2, 2]]
    np.testing.assert_allclose(class_weights(one_hot, THREE, 1.0), [2 / 3, 2.0, 1.0])
    np.testing.assert_array_equal(known_rows(np.array([[np.nan, 1], [np.nan, np.nan]])), [True, False])


@given(labels=st.lists(st.integers(0, 2), min_size=3).filter(lambda x: len(set(x)) == 3))
def test_full_balance_gives_every_class_the_same_total(labels: list[int]) -> None:
    one_hot = np.eye(3)[labels]
    totals = (one_hot * class_weights(one_hot, THREE, 1.0)).sum(0)
    np.testing.assert_allclose(totals, totals[0])
