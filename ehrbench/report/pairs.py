"""Paired tests between the models of a run, and the groups of models that they cannot tell apart.

Two questions, two tests: do *these fitted models* differ on patients like these (DeLong for AUROC, paired
bootstrap otherwise), and do *the procedures* differ on other samples (corrected resampled t over folds)?
Each is corrected by Holm over the pairs. Groups are drawn from the first, as a compact letter display: two
models share a letter exactly where their difference is not significant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from string import ascii_lowercase

import numpy as np

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.target import Target
from ehrbench.report.predictions import FoldPredictions
from ehrbench.spine.comparison import (
    Difference,
    delong,
    holm,
    minimum_detectable_difference,
    paired_bootstrap,
    resampled_t_difference,
)
from ehrbench.spine.resampling import FoldData

ALPHA = 0.05


@dataclass(frozen=True)
class Pair:
    """Model a against model b; ``undefined`` says why there is no test of the fitted models.

    detectable: the difference this test would have found in 80 of 100 studies of this size.
    """

    a: str
    b: str
    fitted: Difference | None
    procedure: Difference | None
    undefined: str | None = None
    detectable: float | None = None

    @property
    def different(self) -> bool:
        return self.fitted is not None and self.fitted.p_holm is not None and self.fitted.p_holm < ALPHA


def fold_data(folds: Sequence[FoldPredictions], model: str) -> list[FoldData]:
    """One model's predictions as the spine's statistics take them."""
    return [FoldData(f.y, f.p[model], f.group, f.threshold.get(model)) for f in folds]


def compare_models(
    folds: Sequence[FoldPredictions],
    models: Sequence[str],
    metric: Metric,
    target: Target,
    values: Mapping[str, Sequence[float] | None],
    *,
    seed: int,
    n_replicates: int,
    which: Sequence[tuple[str, str]] | None = None,
) -> list[Pair]:
    """All pairs of ``models``, or those of ``which``.

    values: model -> the metric by fold, None where undefined.
    """
    pairs = []
    for a, b in combinations(models, 2) if which is None else which:
        fitted, why = None, None
        try:
            fitted = _fitted(folds, a, b, metric, target, seed, n_replicates)
        except UndefinedMetric as error:
            why = str(error)
        pairs.append(Pair(a, b, fitted, _procedure(folds, values.get(a), values.get(b)), why))
    first = holm([p.fitted.p_value if p.fitted else None for p in pairs])
    second = holm([p.procedure.p_value if p.procedure else None for p in pairs])
    n_tests = max(1, sum(p is not None for p in first))
    return [_corrected(*row, n_tests) for row in zip(pairs, first, second, strict=True)]


def _fitted(
    folds: Sequence[FoldPredictions],
    a: str,
    b: str,
    metric: Metric,
    target: Target,
    seed: int,
    n_replicates: int,
) -> Difference:
    one, two = fold_data(folds, a), fold_data(folds, b)
    for name in (a, b):
        if not all(np.isfinite(f.p[name]).all() for f in folds):
            raise UndefinedMetric(f"{name} has predictions that are not finite")
    if metric.name == "auroc":
        return delong(one, two)
    seed = derive_seed(seed, "pairs", metric.name)
    return paired_bootstrap(one, two, metric, target, seed=seed, n_replicates=n_replicates)


def _procedure(
    folds: Sequence[FoldPredictions], a: Sequence[float] | None, b: Sequence[float] | None
) -> Difference | None:
    if a is None or b is None or len(folds) < 2 or not all(f.n_train for f in folds):
        return None
    ratio = sum(f.n_test for f in folds) / sum(f.n_train for f in folds)  # both of records
    return resampled_t_difference(a, b, ratio)


def _corrected(pair: Pair, fitted: float | None, procedure: float | None, n_tests: int) -> Pair:
    error = pair.fitted.standard_error if pair.fitted else None
    return replace(
        pair,
        fitted=replace(pair.fitted, p_holm=fitted) if pair.fitted else None,
        procedure=replace(pair.procedure, p_holm=procedure) if pair.procedure else None,
        detectable=minimum_detectable_difference(error, n_tests=n_tests) if error else None,
    )


def letters(models: Sequence[str], pairs: Sequence[Pair]) -> dict[str, str]:
    """Model -> letters (Piepho 2004): models share a letter exactly where no test tells them apart."""
    different = {frozenset((p.a, p.b)) for p in pairs if p.different}
    groups: list[set[str]] = [set(models)]
    for pair in different:
        a, b = sorted(pair, key=list(models).index)
        split = [part for g in groups if {a, b} <= g for part in (g - {a}, g - {b})]
        groups = [g for g in groups if not {a, b} <= g] + split
        groups = [g for i, g in enumerate(groups) if not any(g < h or (g == h and j < i)
                  for j, h in enumerate(groups))]  # fmt: skip
    groups.sort(key=lambda g: sorted(map(list(models).index, g)))
    marks = [ascii_lowercase[i] if i < 26 else f"({i})" for i in range(len(groups))]
    return {m: "".join(mark for mark, g in zip(marks, groups, strict=True) if m in g) for m in models}
