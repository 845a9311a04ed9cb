"""The benchmark of optimism at a small size: nested estimates hold, and one that is not nested is caught."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.optimism import Estimates, Size, estimate, simulate, summary

SIZE = Size(records=160, fresh=4000, trials=6, outer_folds=2, inner_folds=2, models=("logistic",))
REPETITIONS = 6
#: Standard errors; that many by chance: once in 1,000 on 5 degrees of freedom, and the seed is fixed.
FAR = 6.9


@pytest.fixture(scope="module")
def shuffled() -> Estimates:
    return estimate(SIZE, REPETITIONS, seed=1, shuffled=True)


def test_nothing_is_found_where_nothing_is(shuffled):
    mean, error = summary(shuffled.nested)
    assert abs(mean - 0.5) < FAR * error
    assert error < 0.03


def test_reporting_the_best_inner_value_finds_something_where_nothing_is(shuffled):
    mean, error = summary(shuffled.plain)
    assert mean - 0.5 > max(3 * error, 0.02)
    assert abs(np.mean(shuffled.plain_true) - 0.5) < 0.01  # what was found is worth nothing to new patients


def test_the_nested_estimate_is_what_fresh_patients_give():
    found = estimate(SIZE, REPETITIONS, seed=2)
    bias, error = summary(np.subtract(found.nested, found.nested_true))
    assert abs(bias) < FAR * error
    assert np.mean(found.nested_true) > 0.52  # there is something to find, and it is found
    plain, _ = summary(np.subtract(found.plain, found.plain_true))
    assert plain > bias


def test_shuffling_deals_the_same_labels_out_again():
    plain, shuffled = simulate(500, 3), simulate(500, 3, shuffled=True)
    assert (plain.labels != shuffled.labels).any()
    assert plain.labels.sum() == shuffled.labels.sum()
