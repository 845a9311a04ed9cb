"""Stratification: groups dealt into parts that look alike in their labels and are about as large.

Of a binary target groups are dealt stratum by stratum, a stratum being the quartile of their share of
positives. Of several classes strata would be nearly as many as groups, so that rare classes fall where they
may; there it is done class by class, the rarest first (Sechidis, Tsoumakas & Vlahavas 2011, "On the
Stratification of Multi-Label Data", iterative stratification, ECML PKDD, algorithm 1), by groups.

Seeded, and a function of the labels, groups and sizes alone.
"""

from __future__ import annotations

import numpy as np

from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray, IntArray


def parts(records: Records, index: IntArray, group: IntArray, k: int, seed: int) -> IntArray:
    """(n,) the part, one of k, of each record at ``index``; group: (n,) numbers 0 … G - 1, kept together."""
    sizes = np.bincount(group, weights=records.n_units[index]).astype(np.float64)  # (G,) units
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sizes))
    if records.target is not None and records.target.shape[1] > 1:
        return _by_class(_rare_side(records, index, group), sizes, order, k, rng)[group]
    strata = _strata(records, index, group, sizes)
    order = order[np.lexsort((-sizes[order], strata[order]))]  # by stratum, large first, ties shuffled
    return _by_stratum(order, sizes, strata, k)[group]


def _units(records: Records, index: IntArray, group: IntArray) -> tuple[FloatArray, IntArray]:
    """Labels (U, C) of the units of the records at ``index``, and the group of each unit (U,)."""
    assert records.target is not None
    return records.target[records.units_of(index)], np.repeat(group, records.n_units[index])


def _by_group(rows: FloatArray, owner: IntArray, n_groups: int) -> FloatArray:
    """(G, C) sums of rows (U, C) over the units of each group."""
    return np.stack([np.bincount(owner, weights=c, minlength=n_groups) for c in rows.T], axis=1)


# --- several classes


def _rare_side(records: Records, index: IntArray, group: IntArray) -> FloatArray:
    """(G, C) units of each class's rarer label: the positive, or the negative where most are positive."""
    y, owner = _units(records, index, group)
    side = np.where(np.nansum(y, axis=0) > np.nansum(1 - y, axis=0), 0.0, 1.0)
    return _by_group((y == side).astype(np.float64), owner, int(group.max()) + 1)


def _by_class(
    counts: FloatArray, sizes: FloatArray, order: IntArray, k: int, rng: np.random.Generator
) -> IntArray:
    """(G,) parts. counts: (G, C) units of the label to be spread; order: in which groups come.

    The class that fewest of the remaining groups have comes next, and its groups, those with most of it
    first, go where most groups with it are still wanted; of equals where most of its units are, then where
    most units of any kind are, then by lot.
    """
    has = counts > 0
    wanted = np.tile(has.sum(axis=0) / k, (k, 1))  # (k, C) groups with each class
    units = np.tile(counts.sum(axis=0) / k, (k, 1))
    room = np.full(k, sizes.sum() / k)
    lot, part = rng.permutation(k), np.full(len(sizes), -1)

    def put(g: int, keys: tuple[FloatArray, ...]) -> None:
        to = int(np.lexsort((lot, *(-key for key in reversed(keys))))[0])
        part[g] = to
        wanted[to] -= has[g]
        units[to] -= counts[g]
        room[to] -= sizes[g]

    left = has.sum(axis=0)
    while (left > 0).any():
        c = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
        these = order[has[order, c] & (part[order] < 0)]
        for g in these[np.argsort(-counts[these, c], kind="stable")]:
            put(g, (wanted[:, c], units[:, c], room))
        left = has[part < 0].sum(axis=0)
    rest = order[part[order] < 0]
    for g in rest[np.argsort(-sizes[rest], kind="stable")]:
        put(g, (room,))
    return part


# --- one class


def _by_stratum(order: IntArray, sizes: FloatArray, strata: IntArray, k: int) -> IntArray:
    """Groups to parts, a run of equal stratum and size at a time, parts with the fewest units first."""
    part = np.zeros(len(order), dtype=np.int64)
    kinds = np.stack([strata[order], sizes[order]], axis=1)
    starts = np.flatnonzero(np.r_[True, (kinds[1:] != kinds[:-1]).any(axis=1)])
    total, within, stratum = np.zeros(k), np.zeros(k), -1
    for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
        run = order[start:stop]
        if strata[run[0]] != stratum:
            stratum, within = int(strata[run[0]]), np.zeros(k)
        emptiest = np.lexsort((total, within))
        to = emptiest[np.arange(len(run)) % k]
        part[run] = to
        added = np.bincount(to, minlength=k) * sizes[run[0]]
        within, total = within + added, total + added
    return part


def _strata(records: Records, index: IntArray, group: IntArray, sizes: FloatArray) -> IntArray:
    """(G,) strata: whether a group has a positive unit, then the quartile of its share of positives."""
    if records.target is None:
        return np.zeros(len(sizes), dtype=np.int64)
    y, owner = _units(records, index, group)
    count = _by_group(np.nan_to_num(y), owner, len(sizes))[:, 0]
    none = (count == 0).astype(np.int64)
    share = count / np.maximum(sizes, 1)
    if none.all() or (share[none == 0] == 1).all():
        return np.asarray(none)
    edges = np.quantile(share[none == 0], (0.25, 0.5, 0.75))
    return np.asarray(none * 4 + np.searchsorted(edges, share), dtype=np.int64)
