"""Score counts: how many positives and negatives stand in each score bin, in the data and in each replicate.

Every curve of the report (ROC, precision–recall, calibration, net benefit) is a function of these counts, so
the group bootstrap is drawn once and a replicate costs one sparse product: groups are drawn with replacement
within their fold (all together where folds share any), and all models see the same draws. Bins are the
score's own values where there are few, and quantiles of it (ties kept together) where there are many; the
decision thresholds asked for are bin edges, so that counts at them are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy import sparse

from ehrbench.core.types import FloatArray, IntArray
from ehrbench.statistics.fold_data import FoldPredictions
from ehrbench.statistics.resampling import draws, strata

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
    folds = [fold.take(np.flatnonzero(~np.isnan(fold.y[:, column]))) for fold in folds]
    finite = [m for m in models if all(m in f.p and np.isfinite(f.p[m][:, column]).all() for f in folds)]
    edges = {m: _edges(np.concatenate([f.p[m][:, column] for f in folds]), thresholds) for m in finite}
    out = {m: np.zeros((len(folds), n_replicates + 1, 2, len(edges[m]) + 1)) for m in finite}
    for stratum in strata([fold.group for fold in folds]):
        cells = {
            (m, k): _cells(edges[m], folds[k].p[m][:, column], folds[k].y[:, column], group, stratum.n_groups)
            for m in finite
            for k, group in zip(stratum.folds, stratum.member, strict=True)
        }
        at_once, at = max(1, _CELLS_AT_ONCE // max(stratum.n_groups, 1)), 0
        themselves = np.ones((1, stratum.n_groups))
        for weights in chain([themselves], draws(stratum, n_replicates, seed, at_once)):
            for (m, k), of in cells.items():
                counts = (of @ weights.T).T  # (replicates, 2 B)
                out[m][k, at : at + len(counts)] = counts.reshape(len(counts), 2, -1)
            at += len(weights)
    return {m: _finish(folds, m, column, edges[m], out[m]) for m in finite}


def _edges(p: FloatArray, thresholds: FloatArray) -> FloatArray:
    values = np.unique(p)
    if len(values) > MOST_BINS:
        values = np.unique(np.quantile(p, np.linspace(0, 1, MOST_BINS + 1), method="lower"))
    return np.unique(np.concatenate([values, thresholds]))


def _cells(
    edges: FloatArray, p: FloatArray, label: FloatArray, group: IntArray, n_groups: int
) -> sparse.csr_matrix:
    n_bins = len(edges) + 1
    row = np.searchsorted(edges, p, "right") + np.where(label == 1, 0, n_bins)
    return sparse.csr_matrix((np.ones(len(p)), (row, group)), shape=(2 * n_bins, n_groups))


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
