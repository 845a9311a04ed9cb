"""AUROC by placements: its variance by groups, and one that is large enough where positives are few.

A positive's placement is the share of negatives below it, a negative's that of positives above it (DeLong et
al. 1988); both average to the AUROC. Where groups own several units, their placements are added up by group
(Obuchowski 1997). By ranks in O(n log n) (Sun & Xu 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.statistics.fold_data import FoldData

#: So many observations of the greatest variance that placements of this mean can have are added to each kind.
PRIOR = 0.5


@dataclass(frozen=True, eq=False)
class Placements:
    """AUROCs of M models in one fold, and how they vary over its G groups.

    values: (M,); groups: (G,); influence: (2, M, G) what each group's positives, and its negatives, bring to
    them, with the small-sample factor of each kind; crossed: the same with the factor of all groups.
    """

    values: FloatArray
    groups: np.ndarray[Any, Any]
    influence: FloatArray
    crossed: FloatArray


def placed(y: FloatArray, p: FloatArray, group: np.ndarray[Any, Any]) -> Placements:
    """Of M models' probabilities p (M, U, C) for labels y (U, C), averaged over classes.

    Raises UndefinedMetric for a fold with one class, or with all of a class in one group: how much groups
    differ is then unknown.
    """
    groups, member = np.unique(group, return_inverse=True)
    n_models, _, n_classes = p.shape
    values, (influence, crossed) = np.zeros(n_models), np.zeros((2, 2, n_models, len(groups)))
    for c in range(n_classes):
        positive, negative = y[:, c] == 1, y[:, c] == 0
        m, n = int(positive.sum()), int(negative.sum())
        owners = [len(np.unique(member[rows])) for rows in (positive, negative, positive | negative)]
        if min(owners) < 2:
            raise UndefinedMetric(
                f"delong: {m} positives of {owners[0]} groups and {n} negatives of {owners[1]} in a fold; it "
                f"needs two groups with each kind"
            )
        factor = np.sqrt([of / (of - 1) for of in owners])
        for k in range(n_models):
            both = _placements(p[k, positive, c], p[k, negative, c])
            values[k] += both[0].mean() / n_classes
            for kind, (v, rows) in enumerate(zip(both, (member[positive], member[negative]), strict=True)):
                brought = np.bincount(rows, v - v.mean(), len(groups)) / (len(v) * n_classes)
                influence[kind, k] += factor[kind] * brought
                crossed[kind, k] += factor[2] * brought
    return Placements(values, groups, influence, crossed)


def mean_placed(parts: Sequence[Placements]) -> tuple[FloatArray, FloatArray]:
    """Mean AUROCs over folds (M,), and their covariance (M, M).

    S10/m + S01/n + 2 S11/(mn): sums over groups of products of their positives' placements, of their
    negatives', and of one with the other, with the factors I10/(I10 − 1), I01/(I01 − 1) and I/(I − 1) of
    groups with a positive, with a negative, and all (Obuchowski 1997). Folds are independent given the
    models, so their variances add, but for groups that stand in several of them: those count once, with all
    that they bring.
    """
    _, owner = np.unique(np.concatenate([part.groups for part in parts]), return_inverse=True)

    def whole(name: str) -> FloatArray:
        each = np.concatenate([getattr(part, name) for part in parts], axis=2) / len(parts)
        return np.array([[np.bincount(owner, row) for row in kind] for kind in each])  # (2, M, G)

    (of_positives, of_negatives), (positives, negatives) = whole("influence"), whole("crossed")
    covariance = of_positives @ of_positives.T + of_negatives @ of_negatives.T
    cross = positives @ negatives.T
    return np.mean([part.values for part in parts], axis=0), covariance + cross + cross.T


def few_variance(folds: Sequence[FoldData], target: Target) -> float | None:
    """Variance of the mean AUROC of one class where few groups have, or lack, the outcome; None: unknown.

    Seven placements rarely show their long tail, so that their variance is mostly too small: to each kind
    ``PRIOR`` observations of the variance A (1 − A), the greatest there can be, are added.
    """
    scored = list(target.scored)
    try:
        parts = [placed(f.y[:, scored], f.p[None][:, :, scored], f.group) for f in folds]
    except UndefinedMetric:
        return None
    _, ((variance,),) = mean_placed(parts)
    for fold, part in zip(folds, parts, strict=True):
        for kind in (0, 1):
            owners = len(np.unique(fold.group[fold.y[:, scored[0]] == 1 - kind]))
            greatest = float(part.values[0] * (1 - part.values[0])) / owners
            lacking = max(greatest - float((part.influence[kind, 0] ** 2).sum()), 0.0)
            variance += PRIOR / (owners - 1 + PRIOR) * lacking / len(folds) ** 2
    return float(variance)


def _placements(positive: FloatArray, negative: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Share of negatives below each positive, and of positives above each negative; ties half."""
    p, n = np.sort(positive), np.sort(negative)
    v10 = (np.searchsorted(n, positive, "left") + np.searchsorted(n, positive, "right")) / (2 * len(n))
    v01 = 1 - (np.searchsorted(p, negative, "left") + np.searchsorted(p, negative, "right")) / (2 * len(p))
    return v10, v01
