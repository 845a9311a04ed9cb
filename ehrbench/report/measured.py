"""Worst slices by measured values, as the page shows them: ``slices.json``, read and checked.

What they are and how they were found says ``ehrbench.statistics.discovery``, whose answer the file holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ehrbench.core.errors import BundleError
from ehrbench.core.run_folder import PREDICTIONS, SLICES
from ehrbench.report.run import AGAIN, Run
from ehrbench.statistics.discovery import LEVEL

SCHEMA = 1


@dataclass(frozen=True)
class MeasuredSlice:
    """One slice on the judged half.

    wrong (low to high): share of its units that are wrong; rest: of the others; excess (excess_low to
    excess_high): their difference, 95 % intervals by group; searched_wrong: the share where it was found, too
    high by the choice.
    """

    conditions: tuple[str, ...]
    n: int
    positive: float
    wrong: float
    low: float
    high: float
    rest: float
    excess: float
    excess_low: float
    excess_high: float
    missed: float | None
    false_alarm: float | None
    searched_wrong: float
    p_value: float
    p_holm: float


@dataclass(frozen=True)
class MeasuredSlices:
    """worse: those beyond chance on the judged half (``LEVEL``, Holm), worst first, of the n_found that were
    worst where they were searched; or why none could be sought."""

    worse: tuple[MeasuredSlice, ...] = ()
    n_found: int = 0
    n_tried: int = 0
    n_searched: int = 0
    n_judged: int = 0
    why: str | None = None


def measured(run: Run) -> MeasuredSlices:
    """Raises BundleError where ``slices.json`` is malformed; one of other predictions is not shown."""
    path = run.folder / SLICES
    if not path.exists():
        return MeasuredSlices(why=f"{SLICES} is not in the run's folder: the task offers no view named table")
    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise BundleError(f"{path}: is not of schema {SCHEMA} — {AGAIN}")
        if "why" in content:  # they could not be sought
            return MeasuredSlices(why=str(content["why"]))
        if content["predictions"] != run.digests[PREDICTIONS]:
            return MeasuredSlices(why=f"{SLICES} goes with other predictions than these")
        found = tuple(MeasuredSlice(**{**s, "conditions": tuple(s["conditions"])}) for s in content["found"])
        worse = sorted((s for s in found if s.excess > 0 and s.p_holm < LEVEL), key=lambda s: -s.excess)
        sizes = content["n_tried"], content["n_searched"], content["n_judged"]
        return MeasuredSlices(tuple(worse), len(found), *sizes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path}: is malformed ({error}) — {AGAIN}") from error
