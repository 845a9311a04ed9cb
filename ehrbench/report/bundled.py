"""The procedure that became the bundle: its own calibrator and thresholds, and why these.

In a nested protocol no fold judges it: it is the same procedure run once more, over all records. In the
others it is the judged procedure itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ehrbench.report.run import Run
from ehrbench.report.svg import number

ALL = "all"
_MEANING = {"identity": "identity (probabilities are left as they are)"}


@dataclass(frozen=True)
class Bundled:
    """of: the records whose out-of-fold predictions it was fitted on, in words; judged: whether a fold judged
    just this procedure; calibrator: its name and why it was chosen, a sentence's end, or None where the run
    does not say; thresholds: class -> the bundle's own."""

    of: str
    judged: bool
    calibrator: str | None
    thresholds: Mapping[str, float]


def bundled(run: Run) -> Bundled:
    folds = {fold["name"]: fold for fold in run.summary["folds"]}
    judged = ALL not in folds
    fold = run.summary["folds"][0] if judged else folds[ALL]
    of = f"{'the' if judged else 'all'} {fold['n_train']:,} {'training ' * judged}{run.words.records}"
    ensemble = fold.get("chosen", {}).get("ensemble", {})
    name = ensemble.get("calibrator")
    calibrator = None if name is None else f"{_MEANING.get(name, name)}{_why(name, ensemble)}"
    thresholds = dict(zip(run.target.classes, run.manifest.thresholds, strict=False))
    return Bundled(of, judged, calibrator, thresholds)


def _why(name: str, ensemble: Mapping[str, Any]) -> str:
    if "reason" in ensemble:
        return f", because there was {ensemble['reason']}"
    tried = ensemble.get("calibrators", {})
    if len(tried) < 2 or name not in tried:
        return ""
    best = min(tried, key=lambda one: tried[one]["log_loss"])
    loss = number(tried[name]["log_loss"])
    if name == best:
        return f", because its cross-fitted log loss is the least ({loss})"
    error = number(tried[name]["standard_error"], 2)
    return (
        f", because it is the simplest whose cross-fitted log loss ({loss}) is within one standard error "
        f"({error}) of the least ({number(tried[best]['log_loss'])}, {best})"
    )
