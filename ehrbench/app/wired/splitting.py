"""Splitting: the cohort that a protocol asks for, read and cut into its folds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ehrbench.app.composed.blocks import Data, External, Holdout, Nested, Settings, Temporal
from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.progress import Progress
from ehrbench.core.task import Cohort, Publisher
from ehrbench.core.types import IntArray
from ehrbench.spine import alike, folds
from ehrbench.spine.folds import Split

#: How the cohort's flow calls the records that ``data.limit`` leaves.
LIMITED = "left after data.limit"


def read_and_split(publisher: Publisher, settings: Settings, progress: Progress) -> tuple[Cohort, Split]:
    """The cohort of the protocol, cut into its folds; what is nearly the same across them among its notes."""
    cohort, split = _read_and_split(publisher, settings, progress)
    found = alike.count(cohort.records, split)
    if not found.n_records:
        return cohort, split
    note = (
        f"{found.n_records:,} records are nearly the same as one of another group; {found.n_tested:,} are "
        "tested where their like was trained on. data.alike=join keeps them together"
    )
    return replace(cohort, notes=(*cohort.notes, note)), split


def _read_and_split(publisher: Publisher, settings: Settings, progress: Progress) -> tuple[Cohort, Split]:
    protocol, data, seed = settings.protocol, settings.data, settings.seed
    match protocol:
        case Nested():
            cohort = _limited(_cohort(publisher, data, data.sets, progress), data, seed)
            label = f"nested{_of(cohort)}"
            return cohort, folds.nested(
                cohort.records, protocol.outer_folds, protocol.inner_folds, seed, label
            )
        case Holdout():
            _check_holdout(data)
            cohort = _limited(
                _cohort(publisher, data, [*data.train_sets, *data.test_sets], progress), data, seed
            )
            train, test = (
                np.flatnonzero(np.isin(cohort.set_of, names)) for names in (data.train_sets, data.test_sets)
            )
            label = f"holdout {'+'.join(data.train_sets)} -> {'+'.join(data.test_sets)}{_of(cohort)}"
            split = folds.holdout(
                cohort.records, train, test, protocol.inner_folds, seed, label, protocol.duplicates
            )
            return cohort, split
        case Temporal():
            cohort = _limited(_cohort(publisher, data, data.sets, progress), data, seed)
            earlier, later = _by_time(cohort, protocol.before)
            label = f"temporal, before {protocol.before} -> after{_of(cohort)}"
            return cohort, folds.holdout(
                cohort.records, earlier, later, protocol.inner_folds, seed, label, protocol.duplicates
            )
        case External():
            if data.limit is not None:
                problem = "a file of splits says itself which records are used"
                raise ConfigError("data.limit", problem, "leave it out, or say data.limit=null")
            path = Path(protocol.path)
            named = _read_splits(path, need_valid=protocol.inner == "valid")
            cohort = _named(_cohort(publisher, data, data.sets, progress), named)
            split = folds.from_file(
                cohort.records,
                named,
                protocol.inner_folds,
                seed,
                path.name,
                inner=protocol.inner,
                duplicates=protocol.duplicates,
            )
            return cohort, split


def _cohort(publisher: Publisher, data: Data, sets: Sequence[str], progress: Progress) -> Cohort:
    cohort = publisher.cohort(Path(data.root), sets, progress)
    return replace(cohort, records=alike.joined(cohort.records)) if data.alike == "join" else cohort


def _by_time(cohort: Cohort, before: str) -> tuple[IntArray, IntArray]:
    """Positions of the records before a day, and of those on it or later; of an unknown day neither."""
    if not len(cohort.time_of):
        raise ConfigError(
            "protocol", "the task's records have no time", "say task.time=COLUMN, where it has one"
        )
    try:
        day = (np.datetime64(before, "s") - np.datetime64("2000-01-01", "s")) / np.timedelta64(1, "D")
    except ValueError as error:
        raise ConfigError("protocol.before", f"{before!r} is no day", "write it as 2020-12-31") from error
    parts = np.flatnonzero(cohort.time_of < day), np.flatnonzero(cohort.time_of >= day)
    for part, where in zip(parts, ("before", "on or after"), strict=True):
        if not len(part):
            known = cohort.time_of[~np.isnan(cohort.time_of)]
            days = [str(np.datetime64("2000-01-01") + int(d)) for d in (known.min(), known.max())]
            remedy = f"choose a day between {days[0]} and {days[1]}"
            raise ConfigError("protocol.before", f"no record is {where} {before}", remedy)
    return parts


def _check_holdout(data: Data) -> None:
    for key, sets in (("data.train_sets", data.train_sets), ("data.test_sets", data.test_sets)):
        if not sets:
            remedy = f"give {key}=[...], or choose another protocol"
            raise ConfigError(key, "the hold-out protocol needs training and test sets", remedy)
    if both := sorted(set(data.train_sets) & set(data.test_sets)):
        raise ConfigError("data.test_sets", f"set {both[0]} is also a training set", "name it in one of them")


def _of(cohort: Cohort) -> str:
    return f" (limited to {cohort.flow[LIMITED]} records)" if LIMITED in cohort.flow else ""


def _limited(cohort: Cohort, data: Data, seed: int) -> Cohort:
    """At most ``data.limit`` records, chosen by seed, group after group."""
    if data.limit is None or len(cohort.records) <= data.limit:
        return cohort
    _, group = np.unique(cohort.records.groups, return_inverse=True)
    order = np.random.default_rng(derive_seed(seed, "limit")).permutation(int(group.max()) + 1)
    rank = np.argsort(order)[group]  # (N,) position of each record's group in the random order
    chosen = np.sort(np.argsort(rank, kind="stable")[: data.limit])
    flow = {**cohort.flow, LIMITED: data.limit}
    return replace(cohort.take(chosen), flow=flow)


def _named(cohort: Cohort, splits: Sequence[Mapping[str, list[object]]]) -> Cohort:
    """The records that a file of splits names: nothing else takes part in its figures."""
    named = {str(name) for fold in splits for part in folds.PARTS for name in fold.get(part, ())}
    chosen = np.flatnonzero([str(name) in named for name in cohort.records.ids])
    if len(chosen) in (0, len(cohort.records)):  # none: the fold's first id is told as unknown
        return cohort
    flow = {**cohort.flow, "named in the file of splits": len(chosen)}
    return replace(cohort.take(chosen), flow=flow)


def _read_splits(path: Path, *, need_valid: bool) -> list[dict[str, list[object]]]:
    """The folds of a file of splits; DataError names the file and the fold that is not as it must be."""
    remedy = 'write {"folds": [{"train": [...], "valid": [...], "test": [...]}, ...]}'
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror})", file=path, remedy="give protocol.path=FILE"
        ) from error
    except ValueError as error:
        raise DataError(f"is not JSON ({error})", file=path, remedy=remedy) from error
    found = raw.get("folds") if isinstance(raw, dict) else None
    if not isinstance(found, list) or not found:
        raise DataError("holds no list of folds", file=path, field="folds", remedy=remedy)
    needed = ("train", "valid", "test") if need_valid else ("train", "test")
    for i, fold in enumerate(found):
        for part in folds.PARTS:
            ids = fold.get(part, [] if part not in needed else None) if isinstance(fold, dict) else None
            if not isinstance(ids, list) or (part in needed and not ids):
                field = f"folds[{i}].{part}"
                raise DataError("is not a list of record ids", file=path, field=field, remedy=remedy)
    return found
