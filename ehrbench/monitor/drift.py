"""Drift: whether later records are of another kind than those the bundle was made from, at every look.

Of each described column the profile's bins are cut in two at every edge (of a category: each level against
the others), and known against not known. Fisher's exact test compares the shares of the training records with
those of a look, so no share is too small and no count too low for it.

A look is taken at every block of 100, 200, 400, … records once it is full: short blocks see a sudden change
at once, long ones a slow one at last, and none is diluted by years before it. How often one looks must not
raise the alarm. So the false alarms of all looks together are given out in advance:

    block b = 0, 1, … of length 100 · 2^s gets  α / ((s + 1)(s + 2)(b + 1)(b + 2)),

which sums to α however long it goes on and whoever looks how often (the union bound; alpha spending, Lan &
DeMets 1983). Within a look Holm's correction holds over all cuts of all columns. The chance of any false
alarm, of any column, ever, is at most α.

Where patients own several records these are not independent: counts are shrunk to one record a patient, on
both sides. A bin that the profile hides, since fewer than ten patients fell into it, is taken to hold as many
of them as agree best with the look.

Probabilities are shown beside (``compared``) and raise no alarm: the profile has them out of fold, of models
made from fewer records than the bundle's, which is a difference without any drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse
from scipy.stats import hypergeom

from ehrbench.core.profile import ABSENT, UNKNOWN, Bins, Profile
from ehrbench.core.types import BoolArray, FloatArray, IntArray
from ehrbench.monitor.observed import Observed
from ehrbench.statistics.comparison import holm

#: The chance of any false alarm, over all columns and for as long as a version is served.
ALPHA = 0.05
#: Records of the shortest look; fewer are not looked at.
LEAST = 100
#: Share of a block that may have been deleted for its age; where it is more, no look is taken any more.
MOST_LOST = 0.1
#: Exact tests are computed beyond so many standard errors; nearer, p is taken for 1, which flags nothing.
NEAR = 3.0


@dataclass(frozen=True)
class Shift:
    """One column whose share beyond a cut is another than in training.

    missing: of values not known. what: the cut in words; then, now: the share of training records, and of the
    look's. n: records of the look, made between since and until. p: after Holm; level: what it lies below.
    active: found by the newest look of its length.
    """

    column: str
    missing: bool
    what: str
    then: float
    now: float
    n: int
    since: str
    until: str
    p: float
    level: float
    active: bool


@dataclass(frozen=True)
class Drift:
    """shifts: the newest of each column's values and of its missingness, strongest first; looks: how many."""

    shifts: tuple[Shift, ...]
    looks: int

    @property
    def active(self) -> tuple[Shift, ...]:
        """Those that the newest looks found."""
        return tuple(shift for shift in self.shifts if shift.active)


@dataclass(frozen=True, eq=False)
class BinnedColumn:
    """Bins of one column or probability, and where I items fell, each of a record (``record``)."""

    name: str
    bins: Bins
    place: IntArray  # (I,) bins, then not known
    record: IntArray  # (I,)

    @property
    def reference(self) -> IntArray:
        """(B + 1,) training counts of the bins, and of values not known."""
        return np.array([*self.bins.counts, self.bins.missing])

    def upto(self, records: IntArray) -> IntArray:
        """(R, B + 1) the same of the first records, as many as each of ``records`` (R,) says, ascending."""
        n_bins, part = len(self.bins.counts) + 1, np.searchsorted(records, self.record, side="right")
        counts = np.bincount(part * n_bins + self.place, minlength=(len(records) + 1) * n_bins)
        return counts.reshape(-1, n_bins)[:-1].cumsum(axis=0)


def described(profile: Profile, observed: Observed) -> list[BinnedColumn]:
    """What ``Task.describe`` said of each record, as far as it still does."""
    found, every = [], np.arange(len(observed))
    for k, (name, bins) in enumerate(profile.variables.items()):
        place = observed.places[:, k]
        there = place != ABSENT
        whole = np.where(place == UNKNOWN, len(bins.counts), place)
        found.append(BinnedColumn(name, bins, whole[there].astype(np.int64), every[there]))
    return found


def probabilities(profile: Profile, observed: Observed, classes: tuple[str, ...]) -> list[BinnedColumn]:
    """Each class's probability, of units."""
    found = []
    for c, name in enumerate(classes):
        if (bins := profile.probabilities.get(name)) is not None and bins.edges:
            place = np.searchsorted(np.asarray(bins.edges), observed.p[:, c], side="right")
            found.append(BinnedColumn(f"probability of {name}", bins, place, observed.record))
    return found


def labels(bins: Bins) -> list[str]:
    """A name for each bin."""
    if bins.levels:
        return [*bins.levels, "other"]
    if not bins.edges:
        return ["known"]
    between = [f"{a:g} to {b:g}" for a, b in pairwise(bins.edges)]
    return [f"below {bins.edges[0]:g}", *between, f"{bins.edges[-1]:g} or more"]


def drift(profile: Profile, observed: Observed, n_patients: int, alpha: float = ALPHA) -> Drift:
    """What all looks so far have found. n_patients: in the profile's records."""
    looks = list(_looks(observed))
    compared = described(profile, observed)
    if not looks or not compared:
        return Drift((), 0)
    cuts = _Cuts.of(compared, profile, n_patients)
    newest: dict[tuple[str, bool], Shift] = {}
    latest = {look.scale: look for look in looks}  # ascending
    patient = np.unique(observed.patient, return_inverse=True)[1].ravel()
    edges, place = np.unique([[look.start, look.stop] for look in looks], return_inverse=True)
    place = place.reshape(-1, 2)
    upto = np.concatenate([column.upto(edges) for column in compared], axis=1)
    counts = upto[place[:, 1]] - upto[place[:, 0]]  # (L, T)
    for look, n in zip(looks, counts, strict=True):
        share = len(np.unique(patient[look.start : look.stop])) / look.n
        level = alpha * look.spent
        for k, p in cuts.beyond(n, share, level):
            at = [str(observed.made_at[i]) for i in (look.start, look.stop - 1)]
            newest_one = latest[look.scale] == look
            shift = Shift(*cuts.said(k, n), look.n, at[0], at[1], p, level, newest_one)
            key = shift.column, shift.missing
            if key not in newest or (shift.active, -shift.p) > (newest[key].active, -newest[key].p):
                newest[key] = shift
    ordered = sorted(newest.values(), key=lambda s: (not s.active, s.p / s.level))
    return Drift(tuple(ordered), len(looks))


@dataclass(frozen=True)
class _Look:
    """Records from start to stop, all of one block; spent: its part of all false alarms."""

    scale: int
    block: int
    start: int
    stop: int

    @property
    def n(self) -> int:
        return self.stop - self.start

    @property
    def spent(self) -> float:
        return 1 / ((self.scale + 1) * (self.scale + 2) * (self.block + 1) * (self.block + 2))


def _looks(observed: Observed) -> Iterator[_Look]:
    """Blocks that are full and still kept, with enough records of this version."""
    scale = 0
    while (size := LEAST << scale) <= observed.last:
        ends = np.searchsorted(observed.number, np.arange(observed.last // size + 1) * size, side="right")
        for block, (start, stop) in enumerate(pairwise(ends.tolist())):
            lost = observed.first - (block * size + 1)
            if stop - start >= LEAST and lost <= MOST_LOST * size:
                yield _Look(scale, block, start, stop)
        scale += 1


@dataclass(frozen=True, eq=False)
class _Cuts:
    """K cuts over the T bins of all columns: those beyond, and those beyond or not; what training had."""

    beyond_it: Any  # (K, T), sparse
    compared: Any  # (K, T), sparse
    hits: FloatArray  # (2, K) patients of training beyond: at least, and at most
    total: FloatArray  # (K,)
    names: tuple[tuple[str, bool, str], ...]

    @staticmethod
    def of(compared: list[BinnedColumn], profile: Profile, n_patients: int) -> _Cuts:
        blocks: tuple[list[BoolArray], list[BoolArray]] = [], []
        hits, total, names = [], [], []
        for column in compared:
            reference = column.reference
            shrunk = reference * min(1.0, n_patients / max(reference.sum(), 1))
            made = list(_cuts(column.bins, np.arange(len(reference)) < len(reference) - 1))
            for rows, part in zip(blocks, (1, 2), strict=True):
                rows.append(np.stack([cut[part] for cut in made]))
            for what, chosen, base in made:
                seen, all_of_it = float(shrunk[chosen].sum()), float(shrunk[base].sum())
                hidden = min(profile.fewest - 1, all_of_it / 2)
                least = all_of_it - hidden if seen == all_of_it else seen
                hits.append((round(least), round(hidden if seen == 0 else seen)))
                total.append(round(all_of_it))
                names.append((column.name, bool(chosen[-1]), what))
        beyond, among = (sparse.block_diag(rows, format="csr", dtype=np.float64) for rows in blocks)
        return _Cuts(beyond, among, np.array(hits).T, np.array(total), tuple(names))

    def beyond(self, counts: IntArray, share: float, level: float) -> list[tuple[int, float]]:
        """Cuts (number, p after Holm) of a look's counts (T,) below ``level``; share: patients a record."""
        k1, n1 = (np.rint(m @ counts * min(share, 1.0)) for m in (self.beyond_it, self.compared))
        n0 = self.total
        with np.errstate(invalid="ignore", divide="ignore"):
            k0 = np.clip(np.nan_to_num(np.rint(n0 * k1 / n1)), *self.hits)
            pooled = (k0 + k1) / (n0 + n1)
            error = np.sqrt(pooled * (1 - pooled) * (1 / n0 + 1 / n1))
            far = np.abs(k1 / n1 - k0 / n0) > NEAR * error
        p, tested = np.ones(len(k1)), np.flatnonzero(far & (n1 > 0))
        k, of = k1[tested], ((n0 + n1)[tested], (k0 + k1)[tested], n1[tested])
        p[tested] = np.minimum(1, 2 * np.minimum(hypergeom.cdf(k, *of), hypergeom.sf(k - 1, *of)))
        if not len(p) or p.min() * len(p) > level:
            return []
        corrected = holm(p.tolist())
        return [(k, q) for k, q in enumerate(corrected) if q is not None and q <= level]

    def said(self, k: int, counts: IntArray) -> tuple[str, bool, str, float, float]:
        """BinnedColumn, whether of missing values, the cut, and the shares."""
        now = float((self.beyond_it @ counts)[k] / (self.compared @ counts)[k])
        then = float(self.hits[:, k].mean() / self.total[k])
        return *self.names[k], then, now


def _cuts(bins: Bins, known: BoolArray) -> Iterator[tuple[str, BoolArray, BoolArray]]:
    """Words, the bins beyond, and the bins compared, of each cut of one column; the last bin: not known."""
    if sum(bins.counts):
        number = np.arange(len(known))
        for k, edge in enumerate(bins.edges):
            yield f"{edge:g} or more", (number > k) & known, known
        for k, level in enumerate([*bins.levels, "other"] if bins.levels else []):
            yield level, number == k, known
    yield "not known", ~known, np.ones(len(known), dtype=bool)
