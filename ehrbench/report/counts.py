"""Score counts: how many positives and negatives stand in each score bin, in the data and in each replicate.

Every curve of the report (ROC, precision–recall, calibration, net benefit) is a function of these counts, so
the group bootstrap is drawn once and a replicate costs one sparse product: groups are drawn with replacement
within their fold (all together where folds share any), and all models see the same draws. Bins are the
score's own values where there are few, and quantiles of it (ties kept together) where there are many; the
decision thresholds asked for are bin edges, so that counts at them are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ehrbench.core.digest import derive_seed
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.report.predictions import FoldPredictions
from ehrbench.spine.resampling import strata

MOST_BINS = 512
_CELLS_AT_ONCE = 8_000_000  # group weights held at a time


@dataclass(frozen=True, eq=False)
class ScoreCounts:
    """One model and class over F folds; replicate 0 is the data themselves.

    edges: (B − 1,) ascending; bin b holds edges[b−1] ≤ p < edges[b].
    centre: (B,) mean score of each bin's units (of all folds).
    positives, negatives: (F, R + 1, B).
    """

    edges: FloatArray
    centre: FloatArray
    positives: FloatArray
    negatives: FloatArray

    @property
    def two_classes(self) -> np.ndarray:
        """(F,) whether the fold has both classes."""
        each = self.positives[:, 0].sum(axis=1), self.negatives[:, 0].sum(axis=1)
        return np.asarray((each[0] > 0) & (each[1] > 0))

    def pooled(self) -> tuple[FloatArray, FloatArray]:
        """Positives and negatives (R + 1, B) of all folds together."""
        return self.positives.sum(axis=0), self.negatives.sum(axis=0)


def score_counts(
    folds: Sequence[FoldPredictions],
    models: Sequence[str],
    column: int,
    thresholds: FloatArray,
    *,
    seed: int,
    n_replicates: int,
) -> dict[str, ScoreCounts]:
    """Counts of one class (``column``) for several models. Units of unknown label are left out.

    Models with a NaN among their probabilities are left out of the answer.
    """
    folds = [_known(fold, column) for fold in folds]
    finite = [m for m in models if all(m in f.p and np.isfinite(f.p[m][:, column]).all() for f in folds)]
    edges = {m: _edges(np.concatenate([f.p[m][:, column] for f in folds]), thresholds) for m in finite}
    out = {m: np.zeros((len(folds), n_replicates + 1, 2, len(edges[m]) + 1)) for m in finite}
    together = len(strata([f.group for f in folds])) < len(folds)  # folds share groups
    every = np.unique(np.concatenate([f.group for f in folds]))
    for k, fold in enumerate(folds):
        groups = every if together else np.unique(fold.group)
        group, n_groups = np.searchsorted(groups, fold.group), len(groups)
        label = fold.y[:, column].astype(np.int64)
        cells = {m: _cells(edges[m], fold.p[m][:, column], label, group, n_groups) for m in finite}
        rng = np.random.default_rng(derive_seed(seed, "curves", "all" if together else fold.name))
        for at, weights in _weights(n_groups, n_replicates, rng):
            for m in finite:
                counts = (cells[m] @ weights).T  # (replicates, 2 B)
                out[m][k, at : at + len(counts)] = counts.reshape(len(counts), 2, -1)
    return {m: _finish(folds, m, column, edges[m], out[m]) for m in finite}


def _known(fold: FoldPredictions, column: int) -> FoldPredictions:
    keep = ~np.isnan(fold.y[:, column])
    if keep.all():
        return fold
    return FoldPredictions(
        fold.name, fold.record[keep], fold.unit[keep], fold.group[keep], fold.y[keep],
        {m: p[keep] for m, p in fold.p.items()}, fold.threshold, fold.n_train, fold.n_test,
    )  # fmt: skip


def _edges(p: FloatArray, thresholds: FloatArray) -> FloatArray:
    values = np.unique(p)
    if len(values) > MOST_BINS:
        values = np.unique(np.quantile(p, np.linspace(0, 1, MOST_BINS + 1), method="lower"))
    return np.unique(np.concatenate([values, thresholds]))


def _cells(
    edges: FloatArray, p: FloatArray, label: IntArray, group: IntArray, n_groups: int
) -> sparse.csr_matrix:
    n_bins = len(edges) + 1
    row = np.searchsorted(edges, p, "right") + np.where(label == 1, 0, n_bins)
    return sparse.csr_matrix((np.ones(len(p)), (row, group)), shape=(2 * n_bins, n_groups))


def _weights(n_groups: int, n_replicates: int, rng: np.random.Generator) -> Iterator[tuple[int, FloatArray]]:
    """Blocks of (first replicate, weights (groups, replicates)); the data themselves first."""
    yield 0, np.ones((n_groups, 1))
    block = max(1, _CELLS_AT_ONCE // max(n_groups, 1))
    for at in range(0, n_replicates, block):
        width = min(block, n_replicates - at)
        drawn = [np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups) for _ in range(width)]
        yield at + 1, np.stack(drawn, axis=1).astype(np.float64)


def _finish(
    folds: Sequence[FoldPredictions], model: str, column: int, edges: FloatArray, counts: FloatArray
) -> ScoreCounts:
    p = np.concatenate([f.p[model][:, column] for f in folds])
    bins, n_bins = np.searchsorted(edges, p, "right"), len(edges) + 1
    size = np.bincount(bins, minlength=n_bins)
    middle = (np.r_[0.0, edges] + np.r_[edges, 1.0]) / 2
    total = np.bincount(bins, weights=p, minlength=n_bins)
    centre = np.divide(total, size, out=middle, where=size > 0)
    return ScoreCounts(edges, centre, counts[:, :, 0], counts[:, :, 1])
