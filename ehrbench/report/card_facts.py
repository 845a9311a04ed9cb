"""Facts of a card: what a run knows of its bundle, in sentences, for the cards that programs read.

The same facts as MODEL_CARD.md, without tables. None where the run does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ehrbench import metrics
from ehrbench.core.bundle import Manifest
from ehrbench.core.profile import Profile
from ehrbench.report.card import limits
from ehrbench.report.rendering import interval
from ehrbench.statistics.subgroups import Subgroup


@dataclass(frozen=True)
class CardFacts:
    """Sentences by subject. figures: metric's title -> {"value", "low", "high"}, of the ensemble."""

    name: str
    created: str
    version: str
    kind: str
    output: str
    use: str
    users: str
    role: str
    caution: str
    limits: str
    source: str
    flow: str
    inputs: str
    models: str
    fairness: str
    bias: str
    process: str
    demography: str | None
    validity: str | None
    subgroups: str | None
    figures: Mapping[str, Mapping[str, float | None]]
    by_subgroup: Mapping[str, float]
    simulated: bool


def card_facts(
    summary: Mapping[str, Any], manifest: Manifest, subgroups: Sequence[Subgroup], profile: Profile | None
) -> CardFacts:
    """Of a finished run. subgroups: of the bundle's model, with the searched metric."""
    data, title = summary["data"], metrics.load(summary["metric"]).title
    classes, simulated = ", ".join(manifest.target.classes), summary["cohort"] != "publisher"
    figures = _figures(manifest)
    judged = {f"{g.family}: {g.level}": g for g in subgroups}
    values = {
        name: v.mean
        for name, g in judged.items()
        if (v := g.values.get(summary["metric"])) and v.mean is not None and not g.small
    }
    variables = ", ".join(profile.variables) if profile else "variables that this bundle does not name"
    flow = "; ".join(f"{step}: {count:,}" for step, count in data.get("flow", {}).items())
    return CardFacts(
        name=summary["study_name"],
        created=manifest.created,
        version=manifest.git_commit,
        kind="Prediction",
        output=f"Calibrated probability of {classes} ({manifest.target.kind}), from 0 to 1, for each "
        f"{summary.get('words', {}).get('unit', 'unit')}; with it an interval or a set of classes, and a "
        f"call at a threshold chosen by {manifest.threshold_rule}.",
        use="Research on retrospective data: to compare methods, and to study predictions offline. Not a "
        "medical device; not tested at the bedside.",
        users="Researchers; no clinical users.",
        role="None: it must not decide about a patient.",
        caution=f"Any care of a patient. Records of another source than {', '.join(data['sets'])} of task "
        f"{summary['task']}: there it may do worse, and its calibration first of all.",
        limits=" ".join(limits(summary)),
        source=f"Task {summary['task']}, sets {', '.join(data['sets'])} ({summary['cohort']} cohort): "
        f"{data['n_records']:,} records, {data['n_units']:,} to predict.",
        flow=(flow + ". " if flow else "Not recorded how they were chosen. ")
        + f"Rows skipped as unreadable: {data['skipped']:,}.",
        inputs=f"Records are described by {variables}. Which of these are demographic or social is to be "
        "read from their names; models may use any, and config.yaml names each model's.",
        models="; ".join(f"{model} × {len(paths)}" for model, paths in manifest.models.items()),
        fairness="No constraint of fairness was put on training. The searched metric is reported for each "
        "subgroup that the task names, on outer-test records."
        * bool(judged)
        or "No constraint of fairness was put on training, and the task names no subgroups.",
        bias="None was taken: no reweighting, no resampling by group.",
        process=f"Protocol {summary['protocol']}: hyperparameters chosen by {title} on inner folds, figures "
        "of outer-test records that no choice has seen, intervals by resampling of groups.",
        demography="; ".join(f"{name}: {g.n_records:,} records" for name, g in judged.items()) or None,
        validity="; ".join(f"{name} {_told(one)}" for name, one in figures.items()) or None,
        subgroups="; ".join(f"{name}: {title} {value:.3f}" for name, value in values.items()) or None,
        figures=figures,
        by_subgroup=values,
        simulated=simulated,
    )


def _figures(manifest: Manifest) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {}
    for name, result in manifest.metrics.items():
        if result.get("mean") is not None:
            title = metrics.load(name).title if name in metrics.names() else name
            ends = result.get("interval") or {}
            found[title] = {"value": result["mean"], "low": ends.get("low"), "high": ends.get("high")}
    return found


def _told(one: Mapping[str, float | None]) -> str:
    return f"{one['value']:.4f}" + (f" {interval(one)}" if one["low"] is not None else "")
