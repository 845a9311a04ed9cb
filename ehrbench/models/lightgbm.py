"""LightGBM: gradient-boosted trees (Ke et al. 2017) on a table of statistics, or on the sparse rows of texts.

Binary and multi-class targets are one booster; a multi-label target is one a class. Auxiliary labels of a
binary target are learned by trees of their own, whose scores are mixed with the target's (``folding``) and
folded into the same booster. Deterministic: histograms by row, fixed seeds and threads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
from scipy import sparse

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import ConfigError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.model import FitResult, Member, Model, Watch, load_arrays, save_arrays, silent
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Bag, Table, View
from ehrbench.models.export import member_of
from ehrbench.models.folding import folded
from ehrbench.models.labels import check_learnable
from ehrbench.models.settings import check_flag, check_integer, check_range
from ehrbench.models.sparse_rows import csr

#: Share of the target's positives that have a wider outcome.
IMPLIED = 0.9
#: Trees between two calls of the watch.
WATCH_EVERY = 25


class LightGBM(Model):
    """Settings have LightGBM's own names (https://lightgbm.readthedocs.io/en/stable/Parameters.html).

    early_stopping_rounds: trees without a better log loss on ``valid`` before stopping; 0 always grows
        ``n_estimators`` trees. auxiliary_share: of the score, from trees grown on the mean of the wider
        outcomes among the auxiliary labels, where the task has any and the target is binary. threads: of
        training and prediction.
    """

    def __init__(
        self,
        *,
        target: Target,
        featurizer: Featurizer,
        n_estimators: int = 400,
        learning_rate: float = 0.03,
        num_leaves: int = 8,
        max_depth: int = -1,
        min_data_in_leaf: int = 20,
        min_sum_hessian_in_leaf: float = 1e-3,
        feature_fraction: float = 0.15,
        bagging_fraction: float = 1.0,
        lambda_l1: float = 0.0,
        lambda_l2: float = 0.0,
        min_gain_to_split: float = 0.0,
        path_smooth: float = 0.0,
        max_bin: int = 63,
        extra_trees: bool = False,
        early_stopping_rounds: int = 0,
        auxiliary_share: float = 0.5,
        threads: int = 1,
    ) -> None:
        self.target, self.featurizer = target, featurizer
        check_integer("n_estimators", n_estimators, 1, 100_000)
        check_range("learning_rate", learning_rate, 1e-5, 1.0)
        check_integer("num_leaves", num_leaves, 2, 131_072)
        if max_depth != -1:
            check_integer("max_depth", max_depth, 1, 64)
        check_integer("min_data_in_leaf", min_data_in_leaf, 1, 1_000_000)
        check_range("min_sum_hessian_in_leaf", min_sum_hessian_in_leaf, 0.0, 1e6)
        check_range("feature_fraction", feature_fraction, 1e-3, 1.0)
        check_range("bagging_fraction", bagging_fraction, 1e-3, 1.0)
        for key, value in {
            "lambda_l1": lambda_l1,
            "lambda_l2": lambda_l2,
            "path_smooth": path_smooth,
        }.items():
            check_range(key, value, 0.0, 1e6)
        check_range("min_gain_to_split", min_gain_to_split, 0.0, 1e6)
        check_integer("max_bin", max_bin, 2, 65_535)
        check_flag("extra_trees", extra_trees)
        check_integer("early_stopping_rounds", early_stopping_rounds, 0, 100_000)
        check_range("auxiliary_share", auxiliary_share, 0.0, 0.99)
        check_integer("threads", threads, 1, 1024)
        self.auxiliary_share = auxiliary_share
        self.n_estimators, self.early_stopping_rounds, self.threads = (
            n_estimators,
            early_stopping_rounds,
            threads,
        )
        self.params: dict[str, Any] = {
            "learning_rate": learning_rate,
            "num_leaves": num_leaves,
            "max_depth": max_depth,
            "min_data_in_leaf": min_data_in_leaf,
            "min_sum_hessian_in_leaf": min_sum_hessian_in_leaf,
            "feature_fraction": feature_fraction,
            "bagging_fraction": bagging_fraction,
            "bagging_freq": 0 if bagging_fraction == 1.0 else 1,
            "lambda_l1": lambda_l1,
            "lambda_l2": lambda_l2,
            "min_gain_to_split": min_gain_to_split,
            "path_smooth": path_smooth,
            "max_bin": max_bin,
            "extra_trees": extra_trees,
            "num_threads": threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        self._boosters: list[lgb.Booster] = []
        self._categorical: list[int] = []

    def fit(
        self,
        train: Records,
        valid: Records | None,
        *,
        seed: int,
        steps: int | None = None,
        watch: Watch = silent,
    ) -> FitResult:
        check_learnable(train.labels, self.target)
        self.featurizer.fit(train)
        view, y = self.featurizer.transform(train), train.labels
        x, self._categorical = _table(view), view.categorical if isinstance(view, Table) else []
        checks = None if valid is None else (_table(self.featurizer.transform(valid)), valid.labels)
        rounds = self.n_estimators if checks is not None or steps is None else steps
        columns = _label_columns(y, self.target)
        check_columns = None if checks is None else _label_columns(checks[1], self.target)
        wider = self._wider(y, train.auxiliary_labels)
        total = (len(columns) + (wider is not None)) * rounds
        curve: list[tuple[int, dict[str, float]]] = []
        self._boosters = []
        for k, column in enumerate(columns):
            check = None if checks is None or check_columns is None else (checks[0], check_columns[k])
            progress = _Progress(watch, curve, k * rounds, total)
            self._boosters.append(self._grow(x, column, check, rounds, seed, progress))
        best = [
            booster.best_iteration if booster.best_iteration > 0 else rounds for booster in self._boosters
        ]
        if wider is not None:
            progress = _Progress(watch, curve, rounds, total)
            other = self._grow(x, wider, None, best[0], derive_seed(seed, "auxiliary"), progress)
            known = ~np.isnan(y[:, 0])
            self._boosters = [folded(self._boosters[0], other, self.auxiliary_share, x[known], y[known, 0])]
        return FitResult(int(np.median(best)), tuple(curve))

    def _wider(self, y: FloatArray, labels: FloatArray) -> FloatArray | None:
        """(U,) mean of a unit's wider outcomes, NaN where none is known; None where there is none to learn.

        y (U, 1), labels (U, A). A wider outcome is an auxiliary label that the target implies, as death in
        hospital implies death within a year: ``IMPLIED`` of the target's positives have it.
        """
        if not self.auxiliary_share or self.target.kind != "binary":
            return None
        positive = labels[y[:, 0] == 1]
        seen = (~np.isnan(positive)).sum(axis=0)
        labels = labels[:, np.nansum(positive, axis=0) >= np.maximum(IMPLIED * seen, 1)]
        if not labels.shape[1]:
            return None
        known = ~np.isnan(labels)
        count = known.sum(axis=1)
        mean = np.where(known, labels, 0).sum(axis=1) / np.maximum(count, 1)
        return np.where(count > 0, mean, np.nan)

    def _grow(
        self,
        x: FloatArray | sparse.csr_matrix,
        y: FloatArray,
        check: tuple[FloatArray | sparse.csr_matrix, FloatArray] | None,
        rounds: int,
        seed: int,
        progress: _Progress,
    ) -> lgb.Booster:
        """One booster on the rows whose label is known; labels between 0 and 1 are shares."""
        multiclass = self.target.kind == "multiclass"
        shares = not multiclass and not np.isin(y[~np.isnan(y)], (0, 1)).all()
        objective = "multiclass" if multiclass else "cross_entropy" if shares else "binary"
        params = self.params | {"seed": seed, "objective": objective}
        if multiclass:
            params["num_class"] = self.target.n_classes
        known = ~np.isnan(y)
        data = lgb.Dataset(
            x[known], y[known], free_raw_data=True, categorical_feature=self._categorical or "auto"
        )
        callbacks: list[Any] = [progress]
        sets = []
        if check is not None and (rows := ~np.isnan(check[1])).any():
            sets.append(data.create_valid(check[0][rows], check[1][rows]))
            if self.early_stopping_rounds:
                callbacks.append(lgb.early_stopping(self.early_stopping_rounds, verbose=False))
        return lgb.train(
            params, data, rounds, valid_sets=sets, valid_names=["valid"][: len(sets)], callbacks=callbacks
        )

    def predict(self, records: Records) -> FloatArray:
        if not self._boosters:
            raise RuntimeError("LightGBM is not fitted")
        x = _table(self.featurizer.transform(records.without_labels()))
        return self.target.probabilities(raw_scores(self._boosters, x, self.threads))

    def save(self, directory: Path) -> None:
        self._write(directory)

    def export(self, directory: Path) -> Member:
        self._write(directory)
        return member_of("lightgbm", self.featurizer)

    def _write(self, directory: Path) -> None:
        for k, booster in enumerate(self._boosters):
            name = "model.txt" if self.target.kind != "multilabel" else f"model.{k}.txt"
            booster.save_model(directory / name)  # the best iteration, where stopped early
        save_arrays(directory / "featurizer.npz", self.featurizer.state())

    def restore(self, directory: Path) -> None:
        single = self.target.kind != "multilabel"
        names = ["model.txt"] if single else [f"model.{k}.txt" for k in range(self.target.n_classes)]
        self._boosters = [lgb.Booster(model_file=directory / name) for name in names]
        self.featurizer.restore(load_arrays(directory / "featurizer.npz"))


class _Progress:
    """LightGBM callback: tells the watch every ``WATCH_EVERY`` trees and at the last one."""

    before_iteration = False
    order = 5

    def __init__(
        self, watch: Watch, curve: list[tuple[int, dict[str, float]]], offset: int, total: int
    ) -> None:
        self.watch, self.curve, self.offset, self.total = watch, curve, offset, total

    def __call__(self, env: Any) -> None:
        step = env.iteration + 1
        if step % WATCH_EVERY and step != env.end_iteration:
            return
        results = env.evaluation_result_list or ()
        values = {"valid_loss": float(results[0][2])} if results else {}
        self.curve.append((self.offset + step, values))
        self.watch(self.offset + step, self.total, values)


def raw_scores(boosters: list[lgb.Booster], x: FloatArray | sparse.csr_matrix, threads: int) -> FloatArray:
    """(U, C) raw scores: of one booster, or one column of each."""
    columns = [np.asarray(b.predict(x, raw_score=True, num_threads=threads)) for b in boosters]
    scores = [column[:, None] if column.ndim == 1 else column for column in columns]
    return np.concatenate(scores, axis=1)


def _table(view: View) -> FloatArray | sparse.csr_matrix:
    """Values (U, F) of a ``Table``, or rows of a ``Bag``: what is not there is 0 in these, not missing."""
    if isinstance(view, Bag):
        return csr(view)
    if not isinstance(view, Table):
        raise ConfigError(
            "view", f"LightGBM takes a Table or a Bag, not a {type(view).__name__}", "use view: table"
        )
    return view.values


def _label_columns(y: FloatArray, target: Target) -> list[FloatArray]:
    """Labels (U,) of each booster, NaN where unknown: 0 and 1, or the class number for multi-class."""
    if target.kind == "multiclass":
        unknown = np.isnan(y).any(axis=1)
        return [np.where(unknown, np.nan, np.nan_to_num(y).argmax(axis=1))]
    return [y[:, k] for k in range(target.n_classes)]
