"""Worst slices described by what was measured: which values go with records the procedure is wrong about.

``slices`` tries the few subgroups and flags that a task names. Here the columns of the task's
``table`` view are searched, hundreds of them and their pairs (beam search to depth two, after Lavrač et al.
2004, "Subgroup Discovery with CN2-SD"), so that the best of them would look bad by luck alone. Therefore half
of the *groups* (patients) serve the search and nothing else; the few slices found are judged on the other
half, where they are hypotheses made elsewhere: every figure shown is from there, with Holm over them.

A condition is a column at or below its lowest fifth, at or above its highest, missing, or, where it has few
values, equal to one of them. Cut points come from the searched half. It knows tables and wrong calls, no
modality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from ehrbench.core.digest import derive_seed
from ehrbench.core.types import BoolArray, FloatArray, IntArray
from ehrbench.core.views import Table
from ehrbench.statistics.comparison import holm

#: What is called worse beyond chance, after Holm.
LEVEL = 0.05
#: Units that a slice must hold where it is searched (the more, so that it can be judged), and where judged.
FEWEST_SEARCHED, FEWEST_JUDGED, LEAST_SHARE = 50, 30, 0.02
#: Slices judged; single conditions that pairs are built on; searched units (more say nothing new).
MOST, BEAM, MOST_SEARCHED = 8, 40, 20_000
#: A column of no more values than this is cut at each of them.
FEW_VALUES = 8
#: A pair must exceed each of its conditions by this much; a slice mostly within a worse one is left out.
BETTER, SAME = 1.25, 0.5


class Condition(NamedTuple):
    """relation: ``≤``, ``≥``, ``=`` with a value, or ``missing`` with None."""

    column: str
    relation: str
    value: float | None

    def of(self, table: Table) -> BoolArray:
        """(U,) whether it holds."""
        x = table.values[:, table.names.index(self.column)]
        if self.value is None:
            return np.isnan(x)
        compared = {"≤": np.less_equal, "≥": np.greater_equal, "=": np.equal}[self.relation]
        return np.asarray(compared(x, np.float32(self.value)))

    def words(self, levels: Mapping[str, tuple[str, ...]], unit_of: Callable[[str], str]) -> str:
        """As people read it: the level of a category by its text, an amount with its unit."""
        if self.value is None:
            return f"{self.column} {self.relation}"
        if self.column in levels:
            return f"{self.column} {self.relation} {levels[self.column][int(self.value)]}"
        amount = f"{self.value:.3g}".replace("-", "−")
        return f"{self.column} {self.relation} {amount} {unit_of(self.column)}".rstrip()


@dataclass(frozen=True)
class Calls:
    """Units of the outer tests: their row, whether the call was wrong, label and call (any class)."""

    table: Table  # (U, F)
    wrong: BoolArray  # (U,)
    positive: BoolArray  # (U,)
    called: BoolArray  # (U,)
    group: IntArray  # (U,)

    def take(self, index: IntArray) -> Calls:
        wrong, positive, called = (row[index] for row in (self.wrong, self.positive, self.called))
        return Calls(self.table.take(index), wrong, positive, called, self.group[index])

    @staticmethod
    def joined(parts: Sequence[Calls]) -> Calls:
        """The units of several outer folds, in order."""
        return Calls(
            Table(
                np.concatenate([p.table.values for p in parts]), parts[0].table.names, parts[0].table.levels
            ),
            np.concatenate([p.wrong for p in parts]),
            np.concatenate([p.positive for p in parts]),
            np.concatenate([p.called for p in parts]),
            np.concatenate([p.group for p in parts]),
        )


def discover(units: Calls, seed: int, unit_of: Callable[[str], str] = lambda column: "") -> dict[str, Any]:
    """Search one half of the groups, judge on the other; JSON-like.

    unit_of: column -> unit of its amounts, "" where there is none.
    n_tried: conditions and pairs; n_searched, n_judged: units of the two halves; found: the worst slices of
    the first half, as the second shows them.
    """
    names, group = np.unique(units.group, return_inverse=True)
    rng = np.random.default_rng(derive_seed(seed, "slices"))
    first = rng.permutation(len(names)) < len(names) // 2
    searched, judged = (units.take(np.flatnonzero(half)) for half in (first[group], ~first[group]))
    if len(searched.wrong) > MOST_SEARCHED:
        searched = searched.take(np.sort(rng.choice(len(searched.wrong), MOST_SEARCHED, replace=False)))
    n_tried, found = _search(searched)
    judgements = [_judge(conditions, share, judged, unit_of) for conditions, share in found]
    slices = [one for one in judgements if one is not None]
    corrected = holm([one["p_value"] for one in slices])
    return {
        "n_tried": n_tried,
        "n_searched": len(searched.wrong),
        "n_judged": len(judged.wrong),
        "found": [one | {"p_holm": p} for one, p in zip(slices, corrected, strict=True)],
    }


def _candidates(table: Table) -> Iterator[Condition]:
    for name, x in zip(table.names, table.values.T, strict=True):
        known = x[~np.isnan(x)]
        if len(known) < len(x):
            yield Condition(name, "missing", None)
        values = np.unique(known)
        if len(values) <= FEW_VALUES or name in table.levels:  # levels are in no order
            yield from (Condition(name, "=", float(v)) for v in values if len(values) > 1)
        else:
            low, high = np.quantile(known, [0.2, 0.8], method="inverted_cdf")
            yield Condition(name, "≤", float(low))
            yield Condition(name, "≥", float(high))


def _search(units: Calls) -> tuple[int, list[tuple[tuple[Condition, ...], float]]]:
    """How many were tried, and the worst, each with its share of wrong units; none mostly within a worse."""
    least = max(FEWEST_SEARCHED, int(LEAST_SHARE * len(units.wrong)))
    conditions = list(_candidates(units.table))
    if not conditions or units.wrong.all() or not units.wrong.any():
        return 0, []
    inside = np.array([c.of(units.table) for c in conditions])  # (K, U)
    kept = (inside.sum(axis=1) >= least) & ((~inside).sum(axis=1) >= least)
    conditions = [c for c, keep in zip(conditions, kept, strict=True) if keep]
    weight = inside[kept].astype(np.float32)
    excess, z = _excess(weight.sum(axis=1), weight @ units.wrong.astype(np.float32), units.wrong)
    tried: list[tuple[float, tuple[int, ...]]]
    tried = [(float(z[k]), (k,)) for k in range(len(conditions)) if excess[k] > 0]
    n_tried, new = len(conditions), np.ones(len(conditions), dtype=bool)
    for a in np.argsort(-z, kind="stable")[:BEAM]:
        if excess[a] <= 0:
            break
        new[a] = False
        n = weight @ weight[a]  # (K,)
        both, score = _excess(n, weight @ (weight[a] * units.wrong), units.wrong)
        large = new & (n >= least)
        n_tried += int(large.sum())
        better = large & (both >= BETTER * np.maximum(excess, excess[a]))
        tried += [(float(score[b]), (int(a), int(b))) for b in np.flatnonzero(better)]
    return n_tried, _apart(
        sorted(tried, key=lambda one: (-one[0], one[1])), weight > 0, conditions, units.wrong
    )


def _apart(
    ranked: Sequence[tuple[float, tuple[int, ...]]],
    inside: BoolArray,
    conditions: Sequence[Condition],
    wrong: BoolArray,
) -> list[tuple[tuple[Condition, ...], float]]:
    chosen: list[BoolArray] = []
    found = []
    for _, which in ranked:
        here = np.asarray(inside[list(which)].all(axis=0))
        if all((here & other).sum() <= SAME * here.sum() for other in chosen):
            chosen.append(here)
            found.append((tuple(conditions[k] for k in which), float(wrong[here].mean())))
        if len(found) == MOST:
            break
    return found


def _excess(n: FloatArray, k: FloatArray, wrong: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Share wrong inside less that outside, and its z, of slices of n units with k wrong ones."""
    total, all_wrong = len(wrong), int(wrong.sum())
    outside = np.maximum(total - n, 1)
    difference = k / np.maximum(n, 1) - (all_wrong - k) / outside
    pooled = all_wrong / total
    error = np.sqrt(pooled * (1 - pooled) * (1 / np.maximum(n, 1) + 1 / outside))
    return difference, difference / error


def _judge(
    conditions: Sequence[Condition], searched: float, units: Calls, unit_of: Callable[[str], str]
) -> dict[str, Any] | None:
    """The slice on units that did not find it; None where too few of them are in it.

    Intervals: Wilson's of the shares, and of their difference Newcombe's hybrid of the two (1998, Statistics
    in Medicine 17:873, method 10); p: the two-proportion score test.
    """
    inside = np.all([c.of(units.table) for c in conditions], axis=0)
    n, rest = int(inside.sum()), int((~inside).sum())
    if min(n, rest) < FEWEST_JUDGED:
        return None
    wrong, elsewhere = float(units.wrong[inside].mean()), float(units.wrong[~inside].mean())
    here, there = (effective(units.wrong[half], units.group[half]) for half in (inside, ~inside))
    (low, high), (rest_low, rest_high) = _wilson(wrong, here), _wilson(elsewhere, there)
    excess = wrong - elsewhere
    return {
        "conditions": [c.words(units.table.levels, unit_of) for c in conditions],
        "n": n,
        "positive": float(units.positive[inside].mean()),
        "wrong": wrong,
        "low": low,
        "high": high,
        "rest": elsewhere,
        "excess": excess,
        "excess_low": excess - float(np.hypot(wrong - low, rest_high - elsewhere)),
        "excess_high": excess + float(np.hypot(high - wrong, elsewhere - rest_low)),
        "missed": _share(~units.called, inside & units.positive),
        "false_alarm": _share(units.called, inside & ~units.positive),
        "searched_wrong": searched,
        "p_value": chance(wrong, here, elsewhere, there),
    }


def effective(wrong: BoolArray, group: np.ndarray) -> float:
    """So many independent units say as much of their share as these, of which some are one patient's.

    n over the design effect: the share's variance by groups over that of independent units (Kish 1965); with
    no variance to go by, the number of groups.
    """
    _, of = np.unique(group, return_inverse=True)
    share = float(wrong.mean())
    if share in (0.0, 1.0):
        return float(of.max() + 1)
    by_group = np.bincount(of, weights=wrong - share)
    return len(wrong) / max(1.0, float((by_group**2).sum()) / (len(wrong) * share * (1 - share)))


def chance(wrong: float, n: float, rest: float, n_rest: float) -> float:
    """How often luck alone makes so many of n units wrong or more: Fisher's exact test, of one side.

    wrong, rest: shares of n and n_rest ``effective`` units. A z-test of thirty is too sure in the far tail
    that a correction for hundreds of slices looks at. What is no whole count is rounded to the safe side.
    """
    few, most = (round(share * of, 6) for share, of in ((wrong, n), (rest, n_rest)))
    inside, outside = int(np.ceil(round(n, 6))), int(np.floor(round(n_rest, 6)))
    k, all_wrong = int(np.floor(few)), int(np.floor(few)) + int(np.ceil(most))
    return float(stats.hypergeom.sf(k - 1, inside + outside, min(all_wrong, inside + outside), inside))


def _wilson(share: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share of n units; never outside [0, 1], and honest for few."""
    z2 = float(stats.norm.ppf((1 + level) / 2)) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = float(np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n)))) / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def _share(fact: BoolArray, among: BoolArray) -> float | None:
    return float(fact[among].mean()) if among.any() else None
