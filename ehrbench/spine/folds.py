"""Folds: which records a procedure may learn from, and which judge it.

Splits go by group: no group, and no two records of identical content, ever stand on both sides of one. Folds
are stratified by what the groups' labels look like, seeded, and independent of the order of equal records'
processing on any machine. Positions are positions in the cohort.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ehrbench.core.digest import derive_seed, digest
from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.records import Records
from ehrbench.core.types import IntArray
from ehrbench.spine.scored import FEWEST, unscored
from ehrbench.spine.stratification import parts

#: What helps where folds have too few of a class.
FEWER_FOLDS = "use fewer folds (protocol.outer_folds, protocol.inner_folds) or more records (data.sets)"
#: The parts of one fold of an external file of splits.
PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class InnerFold:
    """What one Fit trains on, and what it stops on and predicts."""

    train: IntArray
    valid: IntArray


@dataclass(frozen=True, eq=False)
class OuterFold:
    """One run of the whole procedure: everything is chosen on ``train``, ``test`` sees the finished thing.

    index: number of the fold, or None for the fold over all records that makes a nested bundle (no test).
    inner: folds of ``train``; together their ``valid`` parts are the out-of-fold records.
    """

    index: int | None
    train: IntArray
    test: IntArray
    inner: tuple[InnerFold, ...]
    digest: str

    @property
    def name(self) -> str:
        return "all" if self.index is None else str(self.index)


@dataclass(frozen=True)
class Split:
    """The outer folds of a protocol.

    label: how figures made from it are called ("nested 5x5", "holdout a -> b", "…, scored 11 of 14 classes").
    final: the fold whose procedure becomes the bundle; one of ``outer`` where the protocol has a fixed
        training set.
    unscored: class (its column) -> why no macro mean counts it (see ``scored``).
    """

    label: str
    outer: tuple[OuterFold, ...]
    final: OuterFold
    unscored: Mapping[int, str] = field(default_factory=dict)

    @property
    def all_folds(self) -> tuple[OuterFold, ...]:
        """Outer folds, and the final one where it is a fold of its own."""
        return self.outer if self.final in self.outer else (*self.outer, self.final)


def nested(records: Records, k_outer: int, k_inner: int, seed: int, label: str = "nested") -> Split:
    """Outer k x inner k folds, and one over all records for the bundle."""
    groups = split_groups(records)
    everything = np.arange(len(records))
    parts = _k_fold(records, everything, groups, k_outer, derive_seed(seed, "outer"), "protocol.outer_folds")
    outer = []
    for i, test in enumerate(parts):
        train = np.setdiff1d(everything, test, assume_unique=True)
        outer.append(_outer_fold(records, groups, i, train, test, k_inner, seed))
    final = _outer_fold(records, groups, None, everything, everything[:0], k_inner, seed)
    return _split(records, groups, f"{label} {k_outer}x{k_inner}", tuple(outer), final)


def holdout(
    records: Records,
    train: IntArray,
    test: IntArray,
    k_inner: int,
    seed: int,
    label: str,
    duplicates: str = "drop",
) -> Split:
    """One fixed training set, one fixed test set; inner folds of the training set.

    duplicates: training records that share a group or their whole content with a test record are dropped
        (``drop``; the label counts them), refused (``refuse``: DataError) or left (``allow``; the label
        says so).
    """
    groups = split_groups(records)
    train, dropped = _apart(records, groups, train, test, duplicates, label)
    fold = _outer_fold(records, groups, 0, train, test, k_inner, seed)
    return _split(records, groups, label + _marks(duplicates, dropped), (fold,), fold)


def from_file(
    records: Records,
    folds: Sequence[Mapping[str, Sequence[object]]],
    k_inner: int,
    seed: int,
    label: str,
    *,
    inner: str = "pooled",
    duplicates: str = "drop",
) -> Split:
    """External splits: ``[{"train": [id…], "valid": [id…], "test": [id…]}, …]``.

    label: the file's name.
    inner: ``pooled`` splits train + valid into ``k_inner`` folds; ``valid`` uses the published valid part
        alone for stopping and selection (the label then says so).
    duplicates: as for ``holdout``, for each fold; with ``inner=valid`` also between train and valid.
    Raises DataError naming an unknown or repeated record id, or one that stands in two parts.
    """
    position = {str(name): i for i, name in enumerate(records.ids)}
    groups, outer, dropped = split_groups(records), [], 0
    for i, fold in enumerate(folds):
        parts = {part: _positions(fold.get(part, ()), position, label, i, part) for part in PARTS}
        together = np.concatenate(list(parts.values()))
        values, counts = np.unique(together, return_counts=True)
        if (counts > 1).any():
            twice = records.ids[values[counts > 1][0]]
            problem = "stands twice in one split, where train, valid and test must be apart"
            raise DataError(
                problem, file=label, record=twice, field=f"folds[{i}]", remedy="mend the split file"
            )
        name = f"fold {i} of {label}"
        test, pooled = np.sort(parts["test"]), np.sort(np.concatenate([parts["train"], parts["valid"]]))
        train, n_dropped = _apart(records, groups, pooled, test, duplicates, name)
        dropped += n_dropped
        if inner == "valid":
            valid, fitted = (np.intersect1d(parts[part], train) for part in ("valid", "train"))
            fitted, n_dropped = _apart(records, groups, fitted, valid, duplicates, name, "valid")
            dropped += n_dropped
            train = np.union1d(fitted, valid)
            outer.append(_finish(records, i, train, test, (InnerFold(fitted, valid),)))
        else:
            outer.append(_outer_fold(records, groups, i, train, test, k_inner, seed))
    if not outer:
        raise DataError("holds no folds", file=label, field="folds", remedy="mend the split file")
    marks = _marks(duplicates, dropped)
    if inner == "valid":
        marks = ", stopped and chosen on valid" + _marks(duplicates, dropped, "valid or test")
    return _split(records, groups, f"file {label}{marks}", tuple(outer), outer[0])


def split_groups(records: Records) -> IntArray:
    """(N,) group numbers in which records of one group, or of identical content, are one."""
    return join(relabel(records.groups), relabel(records.digests))


def halves(records: Records, seed: int) -> tuple[IntArray, IntArray]:
    """Positions of two halves of the records, by group and with their share of each class, as folds are."""
    groups = relabel(records.groups)
    first, second = _k_fold(records, np.arange(len(records)), groups, 2, seed, "protocol.inner_folds")
    return first, second


def _split(
    records: Records, groups: IntArray, label: str, outer: tuple[OuterFold, ...], final: OuterFold
) -> Split:
    """The split, having decided which classes it can score."""
    split = Split(label, outer, final)
    judging = []
    for fold in split.all_folds:
        judging += [(f"inner fold {j} of outer fold {fold.name}", i.valid) for j, i in enumerate(fold.inner)]
        judging += [(f"outer fold {fold.name}", fold.test)] * (fold.index is not None)
    left_out, n = unscored(records, groups, judging), records.labels.shape[1]
    if len(left_out) == n:
        raise DataError(
            f"{label}: no class has {FEWEST} groups with it and {FEWEST} without in every fold; "
            f"the first has {left_out[0]}",
            remedy=FEWER_FOLDS,
        )
    if left_out:
        label = f"{label}, scored {n - len(left_out)} of {n} classes"
    return replace(split, label=label, unscored=left_out)


def _outer_fold(
    records: Records, groups: IntArray, index: int | None, train: IntArray, test: IntArray, k: int, seed: int
) -> OuterFold:
    inner_seed = derive_seed(seed, "inner", "all" if index is None else index)
    parts = _k_fold(records, train, groups, k, inner_seed, "protocol.inner_folds")
    inner = tuple(InnerFold(np.setdiff1d(train, valid, assume_unique=True), valid) for valid in parts)
    return _finish(records, index, train, test, inner)


def _finish(
    records: Records, index: int | None, train: IntArray, test: IntArray, inner: tuple[InnerFold, ...]
) -> OuterFold:
    for j, fold in enumerate(inner):
        name = f"inner fold {j} of outer fold {'all' if index is None else index}"
        _check_classes(records, fold.train, f"training part of {name}")
        _check_classes(records, fold.valid, name)
    if index is not None:
        _check_classes(records, test, f"outer fold {index}")
    ids = records.ids.astype(str)
    content = [ids[train], ids[test], *(ids[part] for f in inner for part in (f.train, f.valid))]
    return OuterFold(index, train, test, inner, digest(*content))


def _k_fold(
    records: Records, index: IntArray, groups: IntArray, k: int, seed: int, key: str
) -> list[IntArray]:
    """``index`` in k parts by group, alike in their labels and about equal in units."""
    if k < 2:
        raise ConfigError(key, f"{k} folds cannot be made", "choose at least 2")
    group = relabel(groups[index])
    n_groups = int(group.max()) + 1 if len(group) else 0
    if n_groups < k:
        raise ConfigError(
            key, f"{k} folds need at least {k} groups; there are {n_groups}", "choose fewer folds"
        )
    part = parts(records, index, group, k, seed)
    return [np.sort(index[part == i]) for i in range(k)]


def _check_classes(records: Records, index: IntArray, name: str) -> None:
    """A binary fold of one class trains and judges nothing."""
    y = records.labels[records.units_of(index)]
    if y.shape[1] != 1:
        return
    known = y[~np.isnan(y)]
    positive = int(known.sum())
    if positive in (0, len(known)):
        what = (
            "no labelled unit" if not len(known) else f"only {'positive' if positive else 'negative'} units"
        )
        n, n_positive = int((~np.isnan(records.labels)).sum()), int(np.nansum(records.labels))
        remedy = FEWER_FOLDS
        if n_positive in (0, n):
            remedy = "give records of both classes (data.sets): of one, nothing can be learned"
        raise DataError(
            f"{name} has {what}; {n_positive:,} of all {n:,} labelled units are positive", remedy=remedy
        )


def _apart(
    records: Records,
    groups: IntArray,
    train: IntArray,
    judging: IntArray,
    duplicates: str,
    name: str,
    part: str = "test",
) -> tuple[IntArray, int]:
    """Training records without those that a judging record repeats, and how many those were."""
    both = np.isin(groups[train], groups[judging])
    if duplicates == "allow" or not both.any():
        return train, 0
    if duplicates == "refuse":
        raise DataError(
            f"{int(both.sum())} training records share a group or their whole content with {part} records",
            file=name,
            record=records.ids[train[both][0]],
            remedy="mend the split, or say protocol.duplicates=drop",
        )
    return train[~both], int(both.sum())


def _marks(duplicates: str, dropped: int, judging: str = "test") -> str:
    marks = ", duplicates allowed" * (duplicates == "allow")
    records = "record dropped that repeats" if dropped == 1 else "records dropped that repeat"
    return marks + f", {dropped} training {records} {judging} records" * (dropped > 0)


def _positions(
    ids: Sequence[object], position: Mapping[str, int], label: str, fold: int, part: str
) -> IntArray:
    found = []
    for name in ids:
        if str(name) not in position:
            raise DataError(
                "is not among the records read",
                file=label,
                record=name,
                field=f"folds[{fold}].{part}",
                remedy="add its set to data.sets, or mend the split file",
            )
        found.append(position[str(name)])
    return np.asarray(found, dtype=np.int64)


def relabel(names: np.ndarray) -> IntArray:
    return np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64).ravel()


def join(a: IntArray, b: IntArray) -> IntArray:
    """Connected components of two groupings of the same records."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_a, n = int(a.max()) + 1, int(a.max()) + int(b.max()) + 2
    edges = coo_array((np.ones(len(a), dtype=np.int8), (a, n_a + b)), shape=(n, n))
    return np.asarray(connected_components(edges, directed=False)[1][a], dtype=np.int64)
