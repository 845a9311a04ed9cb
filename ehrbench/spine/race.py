"""Race: what a trial reports while it runs, so that a hopeless one can stop early.

Each finished inner fold is cut into blocks of groups, the same for every trial of a study and as many as
there are groups where those are few, and each block gives one step: the jackknife's pseudo-value of the
searched metric, B m - (B - 1) m(without the block), for B blocks (Tukey 1958; Miller 1974, "The jackknife - a
review", eq. 1.2). Steps of two trials are paired, their mean is the metric (of a linear statistic exactly, of
a smooth one nearly), and their spread says how sure it is: a test over them asks the question that the search
asks. The metric on each block alone would be another question, with few positives in each; log loss would
favour trials that calibrate over trials that rank.

For metrics of decisions, which need a threshold, the race is run on AUROC. Of a metric with an ideal between
(a calibration slope) its distance is raced, which has a corner there: the pseudo-values are the metric's own,
less the ideal, turned to the side on which the fold lies. Where the metric does not exist on the fold or
without one of its blocks, the fold gives no step for any trial.
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
from ehrbench.spine.stratification import parts


@dataclass(frozen=True)
class Race:
    """How trials are paired: ``blocks`` pseudo-values a fold, or one a group."""

    metric: Metric
    target: Target
    blocks: int = 20

    def steps(self, records: Records, probabilities: FloatArray, fold: int, seed: int) -> dict[int, float]:
        """Optuna step -> value for one finished inner fold; the same steps for every trial.

        records: the fold's validation records with labels; probabilities (U, C) of their units.
        """
        y = records.labels
        block = np.repeat(self._block_of_record(records, derive_seed(seed, "race", fold)), records.n_units)
        try:
            whole = self._score(y, probabilities)
            n = int(block.max()) + 1
            without = [self._score(y[block != b], probabilities[block != b]) for b in range(n)]
        except UndefinedMetric:
            return {}
        first = fold * self.blocks
        values = {first + b: n * whole - (n - 1) * left for b, left in enumerate(without)}
        ideal = self.metric.ideal
        if ideal is None:
            return values
        return {at: value - ideal if whole > ideal else ideal - value for at, value in values.items()}

    def _score(self, y: FloatArray, probabilities: FloatArray) -> float:
        return self.metric(y, probabilities, target=self.target)

    def _block_of_record(self, records: Records, seed: int) -> IntArray:
        """(N,) block of each record: its group's, dealt in order of label content, ties shuffled.

        Of several classes as folds are dealt, so that no block holds all that a rare one has.
        """
        _, first, group = np.unique(records.groups, return_index=True, return_inverse=True)
        if records.labels.shape[1] > 1:
            n_blocks = min(self.blocks, len(first))
            block = parts(records, np.arange(len(records)), group.ravel(), n_blocks, seed)
            return np.unique(block, return_inverse=True)[1].ravel()
        group = np.argsort(np.argsort(first))[group]  # numbered as they come
        owner = np.repeat(group, records.n_units)
        positives = np.bincount(
            owner, weights=np.nan_to_num(records.labels).sum(axis=1), minlength=len(first)
        )
        order = np.random.default_rng(seed).permutation(len(first))
        order = order[np.argsort(-positives[order], kind="stable")]
        block = np.empty(len(first), dtype=np.int64)
        block[order] = np.arange(len(first)) % self.blocks
        return block[group]
