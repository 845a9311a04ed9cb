"""Folds keep groups and identical content on one side, cover everything once, and repeat by seed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.records import Records
from ehrbench.features.rows import Rows
from ehrbench.spine import folds
from ehrbench.spine.folds import OuterFold, Split, split_groups


def cohort(n: int, n_groups: int, seed: int, units: int = 1, duplicates: int = 0) -> Records:
    """n records in at most n_groups groups; the first ``duplicates`` repeat the content of the last."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 3))
    if duplicates:
        values[:duplicates] = values[-1]
    n_units = rng.integers(1, units + 1, n)
    group = rng.integers(0, n_groups, n)
    y = (rng.random((int(n_units.sum()), 1)) < 0.3).astype(float)
    return Records(
        ids=np.array([f"r{i}" for i in range(n)]),
        groups=np.array([f"g{g}" for g in group]),
        payload=Rows(values.astype(np.float32), ("a", "b", "c")),
        n_units=n_units,
        target=y,
    )


def check_fold(records: Records, fold: OuterFold) -> None:
    group = split_groups(records)
    assert not set(group[fold.train]) & set(group[fold.test])
    assert sorted([*fold.train, *fold.test]) == list(range(len(records)))
    valid = np.concatenate([inner.valid for inner in fold.inner])
    assert sorted(valid) == sorted(fold.train)  # each training record is out of fold exactly once
    for inner in fold.inner:
        assert not set(group[inner.train]) & set(group[inner.valid])
        assert sorted([*inner.train, *inner.valid]) == sorted(fold.train)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(120, 300),
    n_groups=st.integers(60, 300),
    seed=st.integers(0, 2**31 - 1),
    units=st.integers(1, 6),
    k=st.integers(2, 4),
    duplicates=st.integers(0, 10),
)
def test_nested_folds_separate_groups_and_cover_everything(n, n_groups, seed, units, k, duplicates):
    records = cohort(n, n_groups, seed, units, duplicates)
    split = folds.nested(records, k, k, seed)
    assert len(split.outer) == k
    assert sorted(np.concatenate([fold.test for fold in split.outer])) == list(range(n))
    for fold in split.outer:
        check_fold(records, fold)
    assert split.final.index is None
    check_fold(records, split.final)


def test_folds_are_stratified_and_balanced():
    rng = np.random.default_rng(0)
    records = cohort(2000, 10**6, 1)
    split = folds.nested(records, 5, 5, 0)
    shares = [records.labels[fold.test].mean() for fold in split.outer]
    assert np.ptp(shares) < 0.005
    assert np.ptp([len(fold.test) for fold in split.outer]) <= 2
    del rng


def test_units_are_balanced_over_folds_where_records_own_many():
    records = cohort(400, 10**6, 2, units=40)
    split = folds.nested(records, 4, 4, 0)
    units = [records.n_units[fold.test].sum() for fold in split.outer]
    assert np.ptp(units) < 0.05 * np.mean(units)


def digests(split: Split) -> list[str]:
    return [fold.digest for fold in split.all_folds]


def test_same_seed_same_folds_other_seed_other_folds():
    records = cohort(300, 200, 3)
    assert digests(folds.nested(records, 3, 3, 7)) == digests(folds.nested(records, 3, 3, 7))
    assert digests(folds.nested(records, 3, 3, 7)) != digests(folds.nested(records, 3, 3, 8))


def test_more_folds_than_groups_is_refused_by_key():
    with pytest.raises(
        ConfigError, match=r"protocol\.outer_folds: 5 folds need at least 5 groups; there are 3"
    ):
        folds.nested(cohort(60, 3, 0), 5, 2, 0)


def test_a_fold_of_one_class_is_named():
    records = cohort(60, 60, 0)
    y = np.zeros((60, 1))
    y[:2] = 1
    with pytest.raises(DataError, match=r"fold \d.* has only negative units"):
        folds.nested(Records(records.ids, records.groups, records.payload, records.n_units, y), 5, 5, 0)


def test_holdout_drops_refuses_or_allows_identical_content_on_both_sides():
    records = cohort(100, 10**6, 4, duplicates=1)  # record 0 repeats the last one
    sides = (np.arange(50), np.arange(50, 100))
    with pytest.raises(DataError, match=r"record r0: 1 training records share"):
        folds.holdout(records, *sides, 3, 0, "a -> b", "refuse")
    split = folds.holdout(records, *sides, 3, 0, "a -> b")
    assert set(split.outer[0].train) == set(range(1, 50))
    assert "1 training record dropped that repeats test records" in split.label
    allowed = folds.holdout(records, *sides, 3, 0, "a -> b", "allow")
    assert set(allowed.outer[0].train) == set(range(50))
    assert "duplicates allowed" in allowed.label


def test_holdout_bundle_fold_has_seen_training_records_only():
    records = cohort(200, 10**6, 5)
    split = folds.holdout(records, np.arange(120), np.arange(120, 200), 3, 0, "a -> b")
    assert split.final is split.outer[0]
    assert split.all_folds == split.outer
    assert set(split.final.train) == set(range(120))


def external(records: Records, **more: object) -> Split:
    ids = records.ids.tolist()
    spec = [{"train": ids[:100], "valid": ids[100:130], "test": ids[130:]}]
    return folds.from_file(records, spec, 3, 0, "splits.json", **more)  # type: ignore[arg-type]


def test_external_split_pools_train_and_valid():
    records = cohort(200, 10**6, 6)
    fold = external(records).outer[0]
    assert set(fold.train) == set(range(130))
    assert len(fold.inner) == 3


def test_external_split_may_use_the_published_valid_part_and_says_so():
    records = cohort(200, 10**6, 6)
    split = external(records, inner="valid")
    assert "chosen on valid" in split.label
    assert set(split.outer[0].inner[0].valid) == set(range(100, 130))


def test_external_split_keeps_groups_apart_between_train_and_valid_too():
    """What is stopped and chosen on valid must not have been fitted on its patients."""
    records = cohort(200, 10**6, 6)
    groups = records.groups.copy()
    groups[90:100], groups[80:85] = groups[100:110], groups[130:135]
    records = replace(records, groups=groups)
    split = external(records, inner="valid")
    (inner,) = split.outer[0].inner
    assert inner.train.tolist() == [*range(80), *range(85, 90)]
    assert inner.valid.tolist() == list(range(100, 130))
    assert split.outer[0].train.tolist() == [*inner.train, *inner.valid]
    assert "15 training records dropped that repeat valid or test records" in split.label
    with pytest.raises(DataError, match=r"record r80: 5 training records share .* with test records"):
        external(records, inner="valid", duplicates="refuse")
    groups[80:85] = groups[70:75]
    with pytest.raises(DataError, match=r"record r90: 10 training records share .* with valid records"):
        external(records, inner="valid", duplicates="refuse")
    (inner,) = external(records, inner="valid", duplicates="allow").outer[0].inner
    assert len(inner.train) == 100


def test_external_split_names_unknown_and_repeated_ids():
    records = cohort(50, 10**6, 7)
    with pytest.raises(DataError, match=r"record r999.*folds\[0\]\.test"):
        folds.from_file(records, [{"train": ["r1"], "test": ["r999"]}], 2, 0, "s.json")
    with pytest.raises(DataError, match=r"record r1.*twice in one split"):
        folds.from_file(records, [{"train": ["r1"], "test": ["r1"]}], 2, 0, "s.json")
