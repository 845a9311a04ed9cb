"""Paired tests between several models, and the groups of models that they cannot tell apart.

Two questions, two tests: do *these fitted models* differ on patients like these (DeLong for AUROC, paired
bootstrap otherwise), and do *the procedures* differ on other samples (corrected resampled t over folds)?
Each is corrected by Holm over the pairs. Groups are drawn from the first, as a compact letter display: two
models share a letter exactly where their difference is not significant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase

from ehrbench.core.digest import derive_seed
from ehrbench.core.metric import Metric
from ehrbench.core.target import Target
from ehrbench.statistics.comparison import (
    Difference,
    compare,
    holm,
    minimum_detectable_difference,
    resampled_t_difference,
)
from ehrbench.statistics.fold_data import FoldPredictions

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
    data = {m: [f.of(m) for f in folds] for m in models}
    seed = derive_seed(seed, "pairs", metric.name)
    fitted = compare(data, metric, target, seed=seed, n_replicates=n_replicates, which=which)
    procedures = [_procedure(folds, values.get(a), values.get(b)) for a, b in fitted]
    corrected = holm([procedure.p_value if procedure else None for procedure in procedures])
    n_tests = max(1, sum(difference.p_holm is not None for difference in fitted.values()))
    pairs = []
    for (a, b), procedure, p in zip(fitted, procedures, corrected, strict=True):
        difference = fitted[a, b]
        error = difference.standard_error
        pairs.append(
            Pair(
                a,
                b,
                None if difference.value is None else difference,
                replace(procedure, p_holm=p) if procedure else None,
                difference.reason if difference.value is None else None,
                minimum_detectable_difference(error, n_tests=n_tests) if error else None,
            )
        )
    return pairs


def _procedure(
    folds: Sequence[FoldPredictions], a: Sequence[float] | None, b: Sequence[float] | None
) -> Difference | None:
    if a is None or b is None or len(folds) < 2 or not all(f.n_train for f in folds):
        return None
    ratio = sum(f.n_test for f in folds) / sum(f.n_train for f in folds)  # both of records
    return resampled_t_difference(a, b, ratio)


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
