"""Race: what a trial reports while it runs, so that a hopeless one can stop early.

Each finished inner fold is cut into blocks of groups, the same for every trial of a study, and each block's
value is one step. Steps of two trials are therefore paired, and a signed-rank test over them (Wilcoxon) has
enough pairs to fire; over five fold scores it hardly ever could. The value is the searched metric itself on
stratified blocks: log loss would favour trials that calibrate well over trials that rank well, and loss
weighting, a dimension of several spaces, moves it at will. (For metrics of decisions, which need a
threshold, the race is run on AUROC.) Where the metric does not exist on a block, the
block gives no step for any trial.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, IntArray


@dataclass(frozen=True)
class Race:
    """How trials are paired: ``blocks`` per fold, at least ten steps over all folds."""

    metric: Metric
    target: Target
    blocks: int = 4

    def steps(self, records: Records, probabilities: FloatArray, fold: int, seed: int) -> dict[int, float]:
        """Optuna step -> value for one finished inner fold; the same steps for every trial.

        records: the fold's validation records with labels; probabilities (U, C) of their units.
        """
        y = records.labels
        block = np.repeat(self._block_of_record(records, derive_seed(seed, "race", fold)), records.n_units)
        values = {}
        for b in range(self.blocks):
            inside = block == b
            try:
                values[fold * self.blocks + b] = self.metric(
                    y[inside], probabilities[inside], target=self.target
                )
            except UndefinedMetric:
                continue
        return values

    def _block_of_record(self, records: Records, seed: int) -> IntArray:
        """(N,) block of each record: dealt in order of label content, ties shuffled."""
        owner = records.unit_record
        positives = np.bincount(
            owner, weights=np.nan_to_num(records.labels).sum(axis=1), minlength=len(records)
        )
        order = np.random.default_rng(seed).permutation(len(records))
        order = order[np.argsort(-positives[order], kind="stable")]
        block = np.empty(len(records), dtype=np.int64)
        block[order] = np.arange(len(records)) % self.blocks
        return block
