"""Worst slices: where the models are most often wrong.

Every level of every subgroup and flag, and every pair of levels of two of them, is a slice if it holds enough
records (lattice search to depth two, after Chung et al. 2019, "Slice Finder"). A unit is *wrong* when a call
at its fold's threshold differs from its label (of any class). Slices are compared with the rest by their
share of wrong units (Fisher's exact test, one-sided; units of one group count together), corrected by Holm
over all slices tried, which the task named before it saw a prediction. Shown are those that are worse beyond
chance (``LEVEL``), and no others: the worst of many always looks bad. A slice that says no more than one it
lies within is dropped.

Shares of missed positives and false alarms stand beside, because a slice with more positives is also wrong
more often at the same quality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ehrbench.core.types import BoolArray, StrArray
from ehrbench.statistics.comparison import holm
from ehrbench.statistics.discovery import LEVEL, chance, effective
from ehrbench.statistics.fold_data import FoldPredictions

MINIMUM = 30
MOST = 10


@dataclass(frozen=True)
class Slice:
    """Units of records with all of ``conditions``.

    n: such units that were tested; wrong: share of them that are wrong; missed: of those with a positive
    label, share with one missed; false_alarm: of those with a negative label, share with one called positive
    (None: there are none).
    by_model: share wrong with every model.
    """

    conditions: tuple[tuple[str, str], ...]
    n: int
    wrong: float
    rest: float
    positive: float
    missed: float | None
    false_alarm: float | None
    by_model: Mapping[str, float]
    p_value: float
    p_holm: float | None = None


@dataclass(frozen=True)
class Slices:
    """found: worst first, at most ``MOST`` of the n_worse that are worse beyond chance, of n_tried; overall,
    always_wrong: shares of all units that ``model`` is wrong about, and that every model is; why: when none
    could be tried."""

    found: tuple[Slice, ...] = ()
    n_worse: int = 0
    n_tried: int = 0
    overall: float = 0.0
    always_wrong: float = 0.0
    why: str | None = None


def worst_slices(
    folds: Sequence[FoldPredictions], features: Mapping[str, StrArray], groups: StrArray, model: str
) -> Slices:
    """Slices in which ``model`` is wrong more often than elsewhere.

    features: name -> (N,) level of each record; groups: (N,) what counts as one.
    """
    if not features:
        return Slices(why="the task gives no subgroups or flags to describe records by")
    models = [m for m in folds[0].p if all(m in f.threshold for f in folds)]
    if model not in models:
        return Slices(why=f"there is no decision threshold of {model}")
    facts = _facts(folds, groups, models)
    record = facts["record"]
    members: dict[tuple[tuple[str, str], ...], BoolArray] = {}
    for name, levels in features.items():
        for level in sorted(set(levels[record])):
            members[((name, level),)] = levels[record] == level
    for (a,), (b,) in combinations(list(members), 2):
        if a[0] != b[0]:
            members[(a, b)] = members[(a,)] & members[(b,)]
    slices = {
        where: _slice(where, inside, facts, model, models)
        for where, inside in members.items()
        if min(len(np.unique(record[half])) for half in (inside, ~inside)) >= MINIMUM
    }
    corrected = holm([s.p_value for s in slices.values()])
    slices = {where: replace(s, p_holm=p) for (where, s), p in zip(slices.items(), corrected, strict=True)}
    worse = [
        s
        for s in slices.values()
        if s.wrong > s.rest and s.p_holm is not None and s.p_holm < LEVEL and not _explained(s, slices)
    ]
    worse.sort(key=lambda s: (s.rest - s.wrong, s.p_value))
    every = np.mean([facts[f"wrong {m}"] for m in models], axis=0) == 1
    shares = float(facts[f"wrong {model}"].mean()), float(every.mean())
    return Slices(tuple(worse[:MOST]), len(worse), len(slices), *shares)


def _facts(folds: Sequence[FoldPredictions], groups: StrArray, models: list[str]) -> dict[str, np.ndarray]:
    """(U,) of each tested unit: record, group, positive, negative; for each model wrong, missed, alarm.

    A unit that several folds test is one, and is wrong where it is in one of them.
    """
    unit = np.concatenate([np.stack([fold.record, fold.unit], axis=1) for fold in folds])
    labelled = np.concatenate([~np.isnan(fold.y).all(axis=1) for fold in folds])
    distinct, at = np.unique(unit[labelled], axis=0, return_inverse=True)

    def of_units(marked: list[BoolArray]) -> BoolArray:
        found = np.zeros(len(distinct), dtype=bool)
        found[at.ravel()[np.concatenate(marked)[labelled]]] = True
        return found

    record = distinct[:, 0]
    facts: dict[str, np.ndarray] = {"record": record, "group": groups[record]}
    facts["positive"] = of_units([(fold.y == 1).any(axis=1) for fold in folds])
    facts["negative"] = of_units([(fold.y == 0).any(axis=1) for fold in folds])
    for m in models:
        called = [fold.called(m) for fold in folds]
        pairs = list(zip(folds, called, strict=True))
        facts[f"missed {m}"] = of_units([((fold.y == 1) & ~c).any(axis=1) for fold, c in pairs])
        facts[f"alarm {m}"] = of_units([((fold.y == 0) & c).any(axis=1) for fold, c in pairs])
        facts[f"wrong {m}"] = facts[f"missed {m}"] | facts[f"alarm {m}"]
    return facts


def _slice(
    where: tuple[tuple[str, str], ...],
    inside: BoolArray,
    facts: Mapping[str, np.ndarray],
    model: str,
    models: list[str],
) -> Slice:
    wrong, rest = facts[f"wrong {model}"], ~inside
    n, share, elsewhere = int(inside.sum()), float(wrong[inside].mean()), float(wrong[rest].mean())
    here, there = (effective(wrong[half], facts["group"][half]) for half in (inside, rest))
    return Slice(
        where,
        n,
        share,
        elsewhere,
        float(facts["positive"][inside].mean()),
        _share(facts[f"missed {model}"], inside & facts["positive"]),
        _share(facts[f"alarm {model}"], inside & facts["negative"]),
        {m: float(facts[f"wrong {m}"][inside].mean()) for m in models},
        chance(share, here, elsewhere, there),
    )


def _share(fact: BoolArray, among: BoolArray) -> float | None:
    return float(fact[among].mean()) if among.any() else None


def _explained(one: Slice, all_slices: Mapping[tuple[tuple[str, str], ...], Slice]) -> bool:
    """Whether a slice of one of its conditions alone is wrong as often (within a tenth of the excess)."""
    if len(one.conditions) == 1:
        return False
    parents = [all_slices.get((condition,)) for condition in one.conditions]
    return any(
        parent is not None and parent.wrong - parent.rest >= 0.9 * (one.wrong - one.rest)
        for parent in parents
    )
