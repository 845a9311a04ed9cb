"""Letters say exactly what the tests say; pairs that cannot be tested say why."""

from dataclasses import replace
from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ehrbench import metrics
from ehrbench.statistics.comparison import Difference, resampled_t_difference
from ehrbench.statistics.pairs import Pair, compare_models, letters


def pair(a, b, different):
    found = Difference(0.1, 0.0, 0.2, 0.95, 0.01, 0.05, "delong", p_holm=0.01 if different else 0.8)
    return Pair(a, b, found, None)


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.booleans(), min_size=15, max_size=15))
    )
)
def test_models_share_a_letter_exactly_where_they_are_not_told_apart(drawn):
    n, flags = drawn
    models = [f"m{i}" for i in range(n)]
    found = [pair(a, b, flag) for (a, b), flag in zip(combinations(models, 2), flags, strict=False)]
    marks = letters(models, found)
    assert all(marks.values())
    for p in found:
        assert bool(set(marks[p.a]) & set(marks[p.b])) != p.different


def test_the_sharper_model_wins_and_holm_only_raises(binary):
    values = {m: binary.summary["models"][m]["auroc"]["folds"] for m in binary.models}
    found = compare_models(
        binary.folds,
        ["ssm", "lightgbm", "lstm"],
        binary.metric,
        binary.target,
        values,
        seed=0,
        n_replicates=50,
    )
    first = found[0]
    assert (first.a, first.b, first.different) == ("ssm", "lightgbm", True)
    assert first.fitted.value > 0
    assert all(p.fitted.p_holm >= p.fitted.p_value for p in found)
    assert all(p.detectable > 0 for p in found)
    assert found[0].procedure.method == "resampled_t"


def test_the_procedures_share_of_test_data_is_of_records_as_the_training_share_is(binary):
    """Not test groups over training records, which is too small where patients have several records."""
    values = {"ssm": [0.8, 0.85], "lstm": [0.7, 0.78]}
    folds = [replace(f, group=f.group // 3, n_train=300, n_test=150) for f in binary.folds[:2]]
    (pair,) = compare_models(
        folds, ["ssm", "lstm"], binary.metric, binary.target, values, seed=0, n_replicates=50
    )
    expected = resampled_t_difference(values["ssm"], values["lstm"], 0.5)
    assert (pair.procedure.low, pair.procedure.high) == (expected.low, expected.high)


def test_other_metrics_by_paired_bootstrap(binary):
    metric = metrics.load("brier")
    found = compare_models(
        binary.folds,
        ["ssm", "lstm"],
        metric,
        binary.target,
        {"ssm": None, "lstm": None},
        seed=0,
        n_replicates=200,
    )
    assert found[0].fitted.method.startswith("paired_bootstrap")
    assert found[0].fitted.value < 0
    assert found[0].procedure is None


def test_nan_predictions_are_a_reason_and_no_test(binary):
    folds = [
        f.__class__(**{**f.__dict__, "p": {**f.p, "ssm": np.full_like(f.p["ssm"], np.nan)}})
        for f in binary.folds
    ]
    found = compare_models(folds, ["ssm", "lstm"], binary.metric, binary.target, {}, seed=0, n_replicates=10)
    assert found[0].fitted is None
    assert "ssm has predictions that are not finite" in found[0].undefined
