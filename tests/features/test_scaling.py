from __future__ import annotations

import numpy as np
import pytest

from ehrbench.core.errors import ConfigError
from ehrbench.core.views import Table
from ehrbench.features.completing import Completing
from ehrbench.features.scaling import METHODS, Scaling


@pytest.mark.parametrize("method", METHODS)
def test_scaled_training_values_have_a_common_size(method):
    rng = np.random.default_rng(0)
    columns = [rng.normal(5, 3, 5000), np.exp(rng.normal(0, 1, 5000)), np.full(10, 7.0), np.zeros(0)]
    scaling = Scaling(method)
    scaling.fit(columns)
    table = np.full((5000, 4), np.nan)
    for f, column in enumerate(columns):
        table[: len(column), f] = column
    out = scaling.apply(table)
    assert out.dtype == np.float32
    assert abs(np.median(out[:, 0])) < 0.05
    assert out[:, 0].std() == pytest.approx(1, abs=0.06)
    assert np.abs(out[:10, 2]).max() < 1e-6, "a constant tells nothing"
    assert np.isnan(out[:, 3]).all()
    assert np.isnan(out[10:, 2]).all()


def test_quantile_makes_skewed_values_normal_and_gives_ties_their_mid_rank():
    rng = np.random.default_rng(0)
    scaling = Scaling("quantile")
    scaling.fit([np.exp(2 * rng.normal(size=9000)), np.repeat([1.0, 2.0], 500)])
    out = scaling.apply(np.array([[1.0, 1.0], [np.exp(2.0), 2.0], [1e9, 3.0]]))
    assert out[0, 0] == pytest.approx(0, abs=0.05)
    assert out[1, 0] == pytest.approx(1, abs=0.05)
    assert out[2, 0] < 3
    assert out[0, 1] == pytest.approx(-out[1, 1], abs=0.02)


def test_unknown_method_is_named():
    with pytest.raises(ConfigError, match="scaling: 'log' is none of standard"):
        Scaling("log")


def test_completing_drops_constants_and_indicates_each_pattern_of_holes_once():
    nan = np.nan
    values = np.array(
        [[1, nan, nan, 5, nan], [2, 4, 8, 5, nan], [3, 6, 9, 5, nan], [4, nan, nan, 5, nan]], dtype=np.float32
    )
    table = Table(values, ("a", "b.mean", "b.max", "constant", "never"))
    completing = Completing("standard")
    completing.fit(table)
    out = completing.apply(table)
    assert out.names == ("a", "b.mean", "b.max", "b.mean.missing")
    assert out.values[:, 3].tolist() == [1, 0, 0, 1]
    assert out.values[0, 1] == pytest.approx(np.median(out.values[1:3, 1]))
    assert np.isfinite(out.values).all()
