"""Ranks are those of ``np.interp`` column by column, to the bit, for one row as for many."""

import time

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ehrbench.features.ranks import Ranks
from ehrbench.features.scaling import Scaling

K = 9
#: Few distinct values, so that knots and values tie; and any double whose differences do not overflow.
VALUES = st.sampled_from([-2.0, -1.0, -0.0, 0.5, 1.0, 3.0]) | st.floats(-1e300, 1e300)


def by_interp(x, knots):
    at = np.linspace(0, 1, knots.shape[1])
    columns = [
        (np.interp(v, k, at) + 1 - np.interp(-v, -k[::-1], at)) / 2 for v, k in zip(x.T, knots, strict=True)
    ]
    return np.stack(columns, axis=1)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda f: st.tuples(
            arrays(float, (f, K), elements=VALUES),
            arrays(float, (4, f), elements=VALUES | st.sampled_from([np.nan, np.inf, -np.inf])),
        )
    )
)
@example((np.zeros((1, K)), np.array([[-1.0], [0.0], [1.0], [np.nan]])))
@example((np.linspace(0, 5e-323, K)[None], np.array([[0.0], [5e-324], [5e-323], [1.0]])))
def test_ranks_are_those_of_interp_to_the_bit(drawn):
    knots, x = drawn
    knots = np.sort(knots, axis=1)
    ranks = Ranks(knots)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = by_interp(x, knots)
    np.testing.assert_array_equal(ranks(x), expected)
    np.testing.assert_array_equal(np.concatenate([ranks(row[None]) for row in x]), expected)


def test_one_record_of_a_thousand_columns_is_scaled_in_a_moment():
    """Calls of np.interp for each column took 9 ms, and in a bundle each member does it."""
    rng = np.random.default_rng(0)
    scaling = Scaling("quantile")
    scaling.fit(rng.normal(size=(1000, 300)))
    record = rng.normal(size=(1, 1000)).astype(np.float32)
    spent = []
    for _ in range(20):
        begun = time.process_time()
        scaling.apply(record)
        spent.append(time.process_time() - begun)
    assert min(spent) < 0.004
