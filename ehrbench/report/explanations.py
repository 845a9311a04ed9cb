"""Explanations of a run as its page shows them: ``explanations.json``, checked, drawn and put in words.

What the numbers are and how they were had says ``ehrbench.explain``, which the file comes from; nothing is
explained again here.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ehrbench.core.errors import BundleError
from ehrbench.core.run_folder import EXPLANATIONS, PREDICTIONS
from ehrbench.report.figure import Figure
from ehrbench.report.figures import explanations as figures
from ehrbench.report.run import Run

SCHEMA = 1
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


def explanations(run: Run, colour: str) -> Explanations:
    """Raises BundleError where the file is malformed; one of other predictions is not shown, and says so."""
    again = f"ehrbench explain {shlex.quote(run.folder.name)} makes it"
    path = run.folder / EXPLANATIONS
    if not path.exists():
        return Explanations(why=f"{EXPLANATIONS} is not in the run's folder: {again}")
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: is not JSON ({error}) — {again}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise BundleError(f"{path}: is not of schema {SCHEMA} — {again}")
    if missing := [key for key in _KEYS if key not in content]:
        raise BundleError(f"{path}: {missing[0]} is missing — {again}")
    if content["predictions"] != run.digests[PREDICTIONS]:
        return Explanations(why=f"{EXPLANATIONS} goes with other predictions than these: {again} again")
    try:
        return _drawn(run, content, colour)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise BundleError(f"{path}: malformed ({type(error).__name__}: {error}) — {again}") from error


def _drawn(run: Run, content: Mapping[str, Any], colour: str) -> Explanations:
    attributions = content["attributions"]
    shares = {m: _share(a["parameters"]) for m, a in attributions.items() if "parameters" in a}
    overall = [figures.permutation(run, content["permutation"], run.leader, colour)]
    overall += [figures.course(content["course"])]
    for model, found in attributions.items():
        overall.append(figures.attribution(model, found))
        if found.get("hours"):
            overall.append(figures.hours(model, found))
    shown = next((m for m in run.ranking if m in shares), None)
    examples = [f for k, one in enumerate(content["examples"]) for f in figures.example(k, one, run, shown)]
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
    )


def _share(parameters: Mapping[str, Mapping[str, float]]) -> float:
    """Share of missingness in a model's whole attribution."""
    total = sum(sum(kinds.values()) for kinds in parameters.values())
    return sum(kinds["missingness"] for kinds in parameters.values()) / total if total else 0.0
