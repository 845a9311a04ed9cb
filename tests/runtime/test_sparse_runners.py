"""Runners of sparse rows: what the training libraries say, and a view of another width by name."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import pytest
from scipy import sparse

from ehrbench.core.errors import BundleError
from ehrbench.core.model import save_arrays
from ehrbench.core.views import Bag
from ehrbench.runtime.runners import open_runner


def bag(n: int = 60, n_columns: int = 40, seed: int = 0) -> Bag:
    x = sparse.random_array((n, n_columns), density=0.1, rng=np.random.default_rng(seed), format="csr")
    return Bag(x.data.astype(np.float32), x.indices.astype(np.int32), x.indptr.astype(np.int64), n_columns)


def dense(view: Bag) -> np.ndarray:
    return sparse.csr_array(
        (view.data, view.columns, view.starts), shape=(len(view), view.n_columns)
    ).toarray()


def test_trees_on_sparse_rows_are_lightgbm_s(tmp_path: Path) -> None:
    view, y = bag(), np.arange(60) % 2
    data = lightgbm.Dataset(dense(view), y)
    lightgbm.train({"verbosity": -1, "min_data_in_leaf": 2}, data, 10).save_model(tmp_path / "model.txt")
    scores = open_runner("lightgbm", tmp_path, threads=1, device="cpu").scores(view)
    expected = lightgbm.Booster(model_file=tmp_path / "model.txt").predict(dense(view), raw_score=True)
    np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-12)
    runner = open_runner("lightgbm", tmp_path, threads=1, device="cpu")
    assert runner.scores(view.take(np.zeros(0, dtype=int))).shape == (0, 1)
    with pytest.raises(BundleError, match="wants 40 columns, the view has 41"):
        runner.scores(bag(n_columns=41))


def test_linear_scores_of_sparse_rows(tmp_path: Path) -> None:
    rng, view = np.random.default_rng(1), bag()
    coefficient = rng.normal(size=(40, 3)).astype(np.float32)
    save_arrays(tmp_path / "model.npz", {"coefficient": coefficient, "intercept": np.arange(3.0)})
    runner = open_runner("bag_linear", tmp_path, threads=1, device="cpu")
    np.testing.assert_allclose(runner.scores(view), dense(view) @ coefficient + np.arange(3.0), atol=1e-5)
    with pytest.raises(BundleError, match="sparse rows of 40 columns"):
        runner.scores(bag(n_columns=41))
