"""Greedy ensemble selection (Caruana et al. 2004).

Adds, with replacement, the model that helps the mean probability most. Done on several random halves of the
groups (bags) and averaged, since one greedy path over-fits its hill-climbing set; halves of the units would
hold much the same, where a group owns many. Each bag keeps the best prefix of its path. Judged by log loss,
or by a metric that is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ehrbench.core.metric import Metric
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.ensemble._base import Combiner, Scores

N_BAGS, N_STEPS, _PATIENCE = 10, 25, 8
#: More units tell no more about a handful of weights.
_MOST_UNITS = 10_000


class GreedySelection(Combiner):
    """``weights`` (M,): how often each model was taken, over all bags; they sum to 1.

    metric: any metric that needs no threshold; log loss where it is None.
    """

    name = "greedy_selection"
    weights: FloatArray

    def __init__(self, metric: Metric | None = None) -> None:
        if metric is not None and metric.needs_threshold:
            raise ValueError(f"greedy selection cannot climb {metric.name}: it needs a decision threshold")
        self.metric = metric

    def _fit(self, z: FloatArray, y: FloatArray, fold: IntArray, group: IntArray, seed: int) -> None:
        p = np.stack([self.target.probabilities(scores) for scores in z])  # (M, U, C)
        counted = np.flatnonzero(~np.isnan(y).all(axis=1))
        _, first, member = np.unique(group[counted], return_index=True, return_inverse=True)
        place = np.argsort(np.argsort(first))[member.ravel()]  # groups numbered as they come
        rng, n_groups = np.random.default_rng(seed), len(first)
        size = max(min(n_groups // 2, _MOST_UNITS * n_groups // max(len(counted), 1)), 1)
        total = np.zeros(len(z))
        for _ in range(N_BAGS):
            drawn = np.zeros(n_groups, dtype=bool)
            drawn[rng.choice(n_groups, size, replace=False)] = True
            bag = counted[drawn[place]]
            total += self._climb(*self._hill(p[:, bag], y[bag]))
        self.weights = total / total.sum()

    def _hill(self, p: FloatArray, y: FloatArray) -> tuple[FloatArray, Callable[[FloatArray], float]]:
        """What is averaged, first axis M, and the loss of an average.

        Log loss needs the probability of what happened only, which averages as probabilities do.
        """
        metric = self.metric
        if metric is not None:
            return p, lambda mean: -metric.gain(metric(y, mean, target=self.target))
        if self.target.kind == "multiclass":
            happened = p[:, y == 1]  # (M, n)
        else:
            known = ~np.isnan(y)
            happened = np.where(y[known] == 1, p[:, known], 1 - p[:, known])
        return np.maximum(happened, 1e-15), lambda mean: -float(np.log(mean).mean())

    @staticmethod
    def _climb(p: FloatArray, loss: Callable[[FloatArray], float]) -> FloatArray:
        """(M,) shares of a greedy path's best prefix; it ends where ``_PATIENCE`` steps bring nothing."""
        total, counts = np.zeros_like(p[0]), np.zeros(len(p))
        best, best_counts = np.inf, counts
        for step in range(1, N_STEPS + 1):
            losses = [loss((total + member) / step) for member in p]
            taken = int(np.argmin(losses))
            total = total + p[taken]
            counts = counts + np.eye(len(p))[taken]
            if losses[taken] < best - 1e-12:
                best, best_counts = losses[taken], counts
            elif step - best_counts.sum() >= _PATIENCE:
                break
        return np.asarray(best_counts / best_counts.sum())

    def predict(self, scores: Scores) -> FloatArray:
        p = np.stack([self.target.probabilities(z) for z in self.stacked(scores)])
        return np.asarray((p * self.weights[:, None, None]).sum(axis=0))

    def to_json(self) -> dict[str, Any]:
        return {"models": list(self.models), "weights": self.weights.tolist()}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.weights = np.array(state["weights"])
