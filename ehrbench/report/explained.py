"""Explanations of a run as its page shows them: ``explanations.json``, checked, drawn and put in words.

What the numbers are and how they were had says ``ehrbench.explain``, which the file comes from; nothing is
explained again here.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ehrbench.core.errors import BundleError
from ehrbench.core.run_folder import EXPLANATIONS, PREDICTIONS
from ehrbench.report.attempts import Attempts
from ehrbench.report.figure import Figure
from ehrbench.report.figures import explanations as figures
from ehrbench.report.run import Run

SCHEMA = 1
#: What drawing a file meets that does not hold what it should.
_MALFORMED = (KeyError, TypeError, IndexError, AttributeError)
_KEYS = ("n_records", "n_permuted", "permutation", "attributions", "course", "examples", "predictions")


@dataclass(frozen=True)
class Explanations:
    """What the section shows, or why it shows nothing.

    worth: the three parameters the metric lost most by, with the loss; missingness: model -> share of its
    attribution that is missingness.
    """

    why: str | None = None
    n_records: int = 0
    n_permuted: int = 0
    worth: tuple[tuple[str, float], ...] = ()
    missingness: Mapping[str, float] | None = None
    overall: tuple[Figure, ...] = ()
    examples: tuple[Figure, ...] = ()
    n_units: int | None = None


def explanations(run: Run, colour: str, attempts: Attempts | None = None) -> Explanations:
    """Raises BundleError where the file is malformed; one of other predictions is not shown, and says so.

    attempts: a figure that cannot be drawn says so in its place.
    """
    again = f"ehrbench explain {shlex.quote(run.folder.name)} makes it"
    path = run.folder / EXPLANATIONS
    if not path.exists():
        return Explanations(why=f"{EXPLANATIONS} is not in the run's folder: {again}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: is not JSON ({error}) — {again}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise BundleError(f"{path}: is not of schema {SCHEMA} — {again}")
    if "why" in content:  # they could not be made
        return Explanations(why=str(content["why"]))
    if missing := [key for key in _KEYS if key not in content]:
        raise BundleError(f"{path}: {missing[0]} is missing — {again}")
    if content["predictions"] != run.digests[PREDICTIONS]:
        return Explanations(why=f"{EXPLANATIONS} goes with other predictions than these: {again} again")
    try:
        return _drawn(run, content, colour, attempts or Attempts(run.folder))
    except _MALFORMED as error:
        raise BundleError(f"{path}: malformed ({type(error).__name__}: {error}) — {again}") from error


def _drawn(run: Run, content: Mapping[str, Any], colour: str, attempts: Attempts) -> Explanations:
    def draw(name: str, make: Callable[[], Figure]) -> Figure:
        return attempts.figure(name, make, through=_MALFORMED)

    def example(k: int, one: Mapping[str, Any]) -> list[Figure]:
        def lost(why: str) -> list[Figure]:
            return [Figure(f"example-{k}", f"Example {k + 1}", "", why=f"{why[0].upper()}{why[1:]}.")]

        return attempts.part(
            f"example-{k}", lambda: figures.example(k, one, run, shown, step_hours), lost, through=_MALFORMED
        )

    step_hours = int(content.get("step_hours", 1))
    attributions = content["attributions"]
    shares = {m: _share(a["parameters"]) for m, a in attributions.items() if "parameters" in a}
    permuted = content["permutation"]
    overall = [draw("permutation", lambda: figures.permutation(run, permuted, run.leader, colour))]
    overall += [draw("course", lambda: figures.course(content["course"], figures.axis_of_time(run)))]
    for model in [m for m in run.ranking if m in attributions]:
        found = attributions[model]
        overall.append(draw(f"attribution-{model}", partial(figures.attribution, model, found)))
        if any(kinds["value"] for kinds in found.get("hours", {}).values()):
            drawn = partial(figures.hours, model, found, figures.axis_of_time(run, step_hours), step_hours)
            overall.append(draw(f"hours-{model}", drawn))
    shown = next((m for m in run.ranking if m in shares), None)
    examples = [f for k, one in enumerate(content["examples"]) for f in example(k, one)]
    drops = content["permutation"].get("drops", {}).get(run.leader, {})
    mean = {name: float(np.mean(values)) for name, values in drops.items()}
    worth = sorted(mean.items(), key=lambda item: -item[1])[:3]
    return Explanations(
        None,
        content["n_records"],
        content["n_permuted"],
        tuple(worth),
        shares,
        tuple(overall),
        tuple(examples),
        content.get("n_units"),
    )


def _share(parameters: Mapping[str, Mapping[str, float]]) -> float:
    """Share of missingness in a model's whole attribution."""
    total = sum(sum(kinds.values()) for kinds in parameters.values())
    return sum(kinds["missingness"] for kinds in parameters.values()) / total if total else 0.0
