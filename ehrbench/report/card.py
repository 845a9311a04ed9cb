"""Model card: what a bundle is for, made from, how well it does and for whom (Mitchell et al. 2019).

Markdown, from the same facts as the report: the run's summary, the bundle's manifest, and the metrics by
subgroup. ``cards`` puts it into a run's bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ehrbench import metrics
from ehrbench.core.bundle import Manifest
from ehrbench.report.rendering import how_chosen, interval
from ehrbench.statistics.subgroups import MINIMUM, MINIMUM_EACH, Subgroup


def model_card(summary: Mapping[str, Any], manifest: Manifest, subgroups: Sequence[Subgroup] = ()) -> str:
    """The card as Markdown.

    subgroups: of the bundle's model, with the searched metric among their values; none where the task names
    none.
    """
    parts = [
        _head(summary, manifest),
        _use(manifest),
        _data(summary),
        _protocol(summary, manifest),
        _performance(summary, manifest),
        _by_subgroup(summary, subgroups),
        _thresholds(manifest),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits(summary)),
        _provenance(summary, manifest),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(summary: Mapping[str, Any], manifest: Manifest) -> str:
    title = f"# Model card: {summary['study_name']}"
    if summary["cohort"] == "publisher":
        return title
    return f"{title}\n\n> **SIMULATED COHORT.** No figure below says anything about patients."


def _use(manifest: Manifest) -> str:
    classes = ", ".join(manifest.target.classes)
    return (
        "## Intended use\n\n"
        f"Gives the probability of {classes} ({manifest.target.kind} target) for records in the format of "
        f"the task `{manifest.task}`. Made for research on the data named below: to compare methods, and "
        "to study predictions offline. It is not a medical device, has not been tested at the bedside, and "
        "must not decide about a patient. Records that its task cannot parse are refused, not guessed at."
    )


def _data(summary: Mapping[str, Any]) -> str:
    data = summary["data"]
    positives = "; ".join(
        f"{name} {'not known' if share is None else f'{share:.1%}'}"
        for name, share in data["positives"].items()
    )
    listed = " (skipped.csv)" * bool(data["skipped"])
    flow = "\n".join(f"- {step}: {count:,}" for step, count in data.get("flow", {}).items())
    return (
        f"## Data\n\nSets {', '.join(data['sets'])} ({summary['cohort']}): {data['n_records']:,} records, "
        f"{data['n_units']:,} units to predict. Share positive: {positives}. "
        f"Rows skipped as unreadable: {data['skipped']:,}{listed}.\n\n{flow}"
    ).rstrip()


def _protocol(summary: Mapping[str, Any], manifest: Manifest) -> str:
    budget = ", ".join(f"{model} {n}" for model, n in summary["budget"].items())
    title = metrics.load(summary["metric"]).title
    return (
        f"## How it was made\n\nProtocol: {summary['protocol']}. Hyperparameters were chosen by {title} on "
        f"inner folds; trials in each study: {budget}. Stack and calibrator were fitted on inner "
        "out-of-fold predictions. The figures below are of outer-test records, which no choice has seen. In "
        "a nested protocol they judge the procedure, and this bundle is that procedure run once "
        "more on all records."
    )


def _performance(summary: Mapping[str, Any], manifest: Manifest) -> str:
    rows = [
        "| Metric | Mean over outer folds | 95 %, these fitted models | 95 %, the procedure |",
        "|---|---|---|---|",
    ]
    called = False
    for metric, result in manifest.metrics.items():
        title = metric
        if metric in metrics.names():
            title = metrics.load(metric).title + " ‡" * metrics.load(metric).needs_threshold
            called |= metrics.load(metric).needs_threshold
        if "undefined" in result:
            rows.append(f"| {title} | undefined: {_cell(result['undefined'])} | | |")
            continue
        procedure = result.get("interval_procedure")
        ends = [interval(result.get("interval")), interval(procedure) if procedure else "one test fold"]
        rows.append(f"| {title} | {result['mean']:.4f} | {_cell(ends[0])} | {_cell(ends[1])} |")
    note = f"\n\n‡ at each outer fold's threshold, {how_chosen(manifest.threshold_rule)}." * called
    if unscored := summary.get("unscored"):
        why = "; ".join(f"{name} ({one['why']})" for name, one in unscored.items())
        note += f"\n\nMeans over classes leave out those that a fold has too few of to score them: {why}."
    return f"## Performance\n\n{_served(summary)}\n\n" + "\n".join(rows) + note


def _served(summary: Mapping[str, Any]) -> str:
    """What the ensemble is, in the procedure that became the bundle."""
    folds = {fold["name"]: fold for fold in summary["folds"]}
    chosen = folds.get("all", summary["folds"][0])["chosen"]["ensemble"]
    state, calibrator = chosen["state"], chosen["calibrator"]
    models = ", ".join(state["models"])
    if len(state["models"]) == 1:
        what = f"{models} alone"
    elif "best" in state:
        what = f"{state['best']} alone, the best of {models}"
    else:
        what = f"{chosen['combiner'].replace('_', ' ')} of {models}"
    how = "not recalibrated" if calibrator == "identity" else f"calibrated by {calibrator}"
    return f"Of the ensemble. The bundle serves this one: {what}; {how}."


def _by_subgroup(summary: Mapping[str, Any], groups: Sequence[Subgroup]) -> str:
    metric = summary["metric"]
    title = metrics.load(metric).title
    if not groups:
        return "## Subgroups\n\nThe task names no subgroups, so how the model does for whom is not known."
    rows = [f"| Subgroup | Records | Positive | {title} | 95 % |", "|---|---|---|---|---|"]
    for g in groups:
        name = f"{g.family.replace('_', ' ')}: {g.level}"
        value = g.values.get(metric)
        if g.small or value is None or value.mean is None:
            why = g.small or (value.undefined if value else None) or "no value"
            cells = f"not judged: {_cell(why)} | "
        else:
            cells = (
                f"{value.mean:.3f} | {_cell(interval(value.interval.to_dict() if value.interval else None))}"
            )
        rows.append(f"| {_cell(name)} | {g.n_records:,} | {g.positives:,} | {cells} |")
    least = f"Subgroups below {MINIMUM} records, or {MINIMUM_EACH} of either class, are not judged."
    return "## Subgroups\n\n" + least + "\n\n" + "\n".join(rows)


def _thresholds(manifest: Manifest) -> str:
    if not manifest.thresholds:
        return "## Thresholds\n\nNone: the bundle gives probabilities only."
    pairs = zip(manifest.target.classes, manifest.thresholds, strict=True)
    listed = "\n".join(f"- {name}: {threshold:.4f}" for name, threshold in pairs)
    how = how_chosen(manifest.threshold_rule)
    return f"## Thresholds\n\n{how[0].upper() + how[1:]}; positive at or above.\n\n{listed}"


def limits(summary: Mapping[str, Any]) -> list[str]:
    """Sentences that hold of every run, and of this one."""
    found = [
        "Judged on records of the same source as it was made from; elsewhere it may do worse, and its "
        "calibration first of all.",
        "The interval of these fitted models takes the models as given; that of the procedure is "
        "usually wider.",
        "What a score depends on is association in these data. It does not say what would help a patient.",
        "Records of patients it was made from are known by salted hashes; judge it on others.",
    ]
    if summary["cohort"] != "publisher":
        found.insert(0, "Made from simulated records: it knows nothing of patients.")
    if not summary["data"].get("flow"):
        found.append("How its records were chosen is not recorded.")
    return found


def _provenance(summary: Mapping[str, Any], manifest: Manifest) -> str:
    versions = ", ".join(f"{name} {v}" for name, v in manifest.versions.items())
    lines = [
        f"- made {manifest.created}, seed {manifest.seed}, commit `{manifest.git_commit}`",
        f"- data digest `{manifest.data_digest}`",
        f"- members: {', '.join(f'{model} × {len(paths)}' for model, paths in manifest.models.items())}",
    ]
    lines += [f"- {versions}"] if versions else []
    return "## Provenance\n\n" + "\n".join(lines)


def _cell(text: str) -> str:
    """Text that cannot break a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
