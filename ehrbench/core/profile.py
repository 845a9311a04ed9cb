"""Profile: what the training records looked like, as counts, so that later ones are compared without them.

A bundle carries it as ``profile.json``: for each column of ``Task.describe``, and for each class's
out-of-fold probability of the ensemble, bins and how many fell into each. A monitor counts later records into
the same bins (``Bins.count``) and compares the two.

    {"format": 1, "n_records": 4000, "n_units": 4000, "fewest": 10,
     "variables": {"Age": {"edges": [41.5, …], "levels": [], "counts": [390, …], "missing": 0}, …},
     "probabilities": {"death": {"edges": [0.02, …], …}}}

- A number falls into the bin after as many ``edges`` as are not above it; there is one more bin than edges,
  and the outer two are open, so that no extreme is told. Edges are deciles of the training records.
- A category falls into the bin of its level, and into the last, "other", where it has none.
- Columns carry their units in their names, as ``Task.describe`` gives them.

No record can be found in it: a bin, that of missing values and "other" among them, holds records of at
least ``FEWEST`` groups (patients) or none; a smaller one is merged with a neighbour, or with the largest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ehrbench.core.errors import BundleError
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, IntArray, StrArray
from ehrbench.core.views import Table

FORMAT = 1
#: Groups that a bin which is not empty holds at least.
FEWEST = 10
MOST_BINS = 10
#: Places beside those of the bins: nothing is known; the column is not described any more.
UNKNOWN, ABSENT = -1, -2


@dataclass(frozen=True)
class Bins:
    """One variable: bins and what fell into them.

    edges: of a number, ascending; levels: of a category, named, with "other" behind them.
    counts: one a bin; missing: values that are not known.
    """

    edges: tuple[float, ...]
    levels: tuple[str, ...]
    counts: tuple[int, ...]
    missing: int

    def count(self, values: FloatArray, levels: Sequence[str] = ()) -> tuple[IntArray, int]:
        """How many of ``values`` (N,) fall into each bin, and how many are not known (NaN).

        levels: of a category, what the numbers in ``values`` stand for there; they need not be those of here.
        """
        known = ~np.isnan(values)
        place = self._place(values[known], levels)
        return np.bincount(place, minlength=len(self.counts)), int((~known).sum())

    def _place(self, values: FloatArray, levels: Sequence[str]) -> IntArray:
        if not self.levels:
            return np.searchsorted(np.asarray(self.edges), values, side="right")
        number = {level: k for k, level in enumerate(self.levels)}
        bin_of = np.array([number.get(level, len(number)) for level in levels], dtype=np.int64)
        return np.asarray(bin_of[values.astype(np.int64)])


@dataclass(frozen=True)
class Profile:
    """Bins of each described variable (by record) and of each class's probability (by unit)."""

    n_records: int
    n_units: int
    variables: Mapping[str, Bins]
    probabilities: Mapping[str, Bins]
    fewest: int = FEWEST
    format: int = FORMAT

    def places(self, described: Table) -> IntArray:
        """(N, F) int16: the bin that each record falls into, in the order of ``variables``.

        ``UNKNOWN`` where a value is not known; ``ABSENT`` of a column that ``described`` has not. All that a
        monitor needs to know of a record; it takes microseconds.
        """
        column = {name: k for k, name in enumerate(described.names)}
        taken = [column.get(name, -1) for name in self.variables]
        values = np.asarray(described.values, dtype=np.float64)
        values = np.c_[values, np.full(len(values), np.nan)][:, taken]  # (N, F)
        found = (self._edges <= values[:, :, None]).sum(axis=2, dtype=np.int16)
        for k, (name, bins) in enumerate(self.variables.items()):
            if bins.levels and taken[k] >= 0:
                known = ~np.isnan(values[:, k])
                found[known, k] = bins._place(values[known, k], described.levels.get(name, ()))
        found[np.isnan(values)] = UNKNOWN
        found[:, np.array(taken) < 0] = ABSENT
        return np.asarray(found)

    @cached_property
    def _edges(self) -> FloatArray:
        """(F, E) edges of all variables, filled up with NaN, which nothing reaches."""
        edges = [bins.edges for bins in self.variables.values()]
        made = np.full((len(edges), max(map(len, edges), default=0)), np.nan)
        for row, of_one in zip(made, edges, strict=True):
            row[: len(of_one)] = of_one
        return made

    def to_json(self) -> str:
        """The content of ``profile.json``."""
        return json.dumps(asdict(self), indent=1, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> Profile:
        """Raises BundleError for another format or a malformed content."""
        try:
            raw = json.loads(text)
            if raw["format"] != FORMAT:
                raise BundleError(
                    f"profile of format {raw['format']} is not {FORMAT} — export the bundle again"
                )
            for part in ("variables", "probabilities"):
                raw[part] = {name: _bins(one) for name, one in raw[part].items()}
            return Profile(**raw)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BundleError(f"profile cannot be read ({error}) — export the bundle again") from error


def profile(
    described: Table, groups: StrArray, probabilities: FloatArray, unit_groups: StrArray, target: Target
) -> Profile:
    """The profile of training records.

    described: (N, F) of ``Task.describe``; groups: (N,) whose the records are. probabilities: (U, C) of the
    ensemble, out of fold; unit_groups: (U,).
    """
    columns = zip(described.names, np.asarray(described.values, dtype=np.float64).T, strict=True)
    variables = {name: bins(values, groups, described.levels.get(name, ())) for name, values in columns}
    risks = zip(target.classes, probabilities.T, strict=True)
    return Profile(
        n_records=len(groups),
        n_units=len(unit_groups),
        variables=variables,
        probabilities={name: bins(values, unit_groups) for name, values in risks},
    )


def bins(values: FloatArray, groups: StrArray, levels: Sequence[str] = (), *, most: int = MOST_BINS) -> Bins:
    """Bins of ``values`` (N,), NaN where unknown, in which no one of ``groups`` (N,) stands out.

    most: bins of a number.
    """
    known = ~np.isnan(values)
    owner = np.unique(groups, return_inverse=True)[1].ravel()
    n_missing = int((~known).sum())
    if len(np.unique(owner[known])) < FEWEST:  # too few to be told apart from those who have none
        return Bins((), (), (0,), len(values))
    found, whose = values[known], owner[known]
    made = _categories(found, whose, levels) if levels else _numbers(found, whose, most)
    if n_missing and len(np.unique(owner[~known])) < FEWEST:
        counts = np.array(made.counts)
        counts[counts.argmax()] += n_missing
        return Bins(made.edges, made.levels, tuple(counts.tolist()), 0)
    return Bins(made.edges, made.levels, made.counts, n_missing)


def _numbers(values: FloatArray, owner: IntArray, most: int) -> Bins:
    distinct = np.unique(values)
    cuts = np.quantile(values, np.arange(1, most) / most, method="lower")
    at = np.unique(np.searchsorted(distinct, cuts))
    below, above = distinct[at[at < len(distinct) - 1]], distinct[at[at < len(distinct) - 1] + 1]
    edges = [_between(a, b) for a, b in zip(below, above, strict=True)]
    while True:
        empty = Bins(tuple(edges), (), (0,) * (len(edges) + 1), 0)
        place = empty._place(values, ())
        holds = _groups_in(place, owner, len(edges) + 1)
        small = int(holds.argmin())
        if holds[small] >= FEWEST or not edges:
            counts = np.bincount(place, minlength=len(edges) + 1)
            return Bins(empty.edges, (), tuple(counts.tolist()), 0)
        left = small > 0 and (small == len(edges) or holds[small - 1] <= holds[small + 1])
        del edges[small - 1 if left else small]


def _between(a: float, b: float) -> float:
    """A short number above a and at most b."""
    middle = (a + b) / 2
    short = float(f"{middle:.4g}")
    return short if a < short <= b else float(middle)


def _categories(values: FloatArray, owner: IntArray, levels: Sequence[str]) -> Bins:
    holds = _groups_in(values.astype(np.int64), owner, len(levels))
    kept = [level for level, n in zip(levels, holds, strict=True) if n >= FEWEST]
    while True:
        empty = Bins((), tuple(kept), (0,) * (len(kept) + 1), 0)
        place = empty._place(values, levels) if kept else np.zeros(len(values), dtype=np.int64)
        others = int(_groups_in(place, owner, len(kept) + 1)[-1])
        if not kept or others >= FEWEST or not (place == len(kept)).any():
            counts = np.bincount(place, minlength=len(kept) + 1)
            return Bins((), empty.levels, tuple(counts.tolist()), 0)
        kept.remove(min(kept, key=lambda level: holds[list(levels).index(level)]))


def _groups_in(place: IntArray, owner: IntArray, n_bins: int) -> IntArray:
    """Number of groups that have a value in each bin."""
    pairs = np.unique(place * (int(owner.max()) + 1) + owner)
    return np.bincount(pairs // (int(owner.max()) + 1), minlength=n_bins)


def _bins(raw: Mapping[str, Any]) -> Bins:
    made = Bins(tuple(raw["edges"]), tuple(raw["levels"]), tuple(raw["counts"]), int(raw["missing"]))
    if len(made.counts) != len(made.edges) + len(made.levels) + 1:
        raise ValueError(f"{len(made.counts)} counts do not fit the bins")
    return made
