"""Scoring: a bundle on new records, with labels (evaluate) or without (predict)."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from ehrbench import metrics
from ehrbench.app.composed.blocks import BatchPrediction, Evaluation, GateData, Scored
from ehrbench.app.composed.checking import checked
from ehrbench.app.composed.console import leaderboard, plain_console, shown, terminal
from ehrbench.app.runs.made_by import made_by
from ehrbench.app.runs.outputs import positives
from ehrbench.app.wired.building import build_publisher
from ehrbench.core.errors import BundleError, ConfigError, DataError, check_once
from ehrbench.core.files import replacing, write_json
from ehrbench.core.records import Records
from ehrbench.core.task import Publisher, Skipped
from ehrbench.runtime.bundle import Bundle, Prediction
from ehrbench.spine.folds import split_groups
from ehrbench.spine.scored import unscored
from ehrbench.statistics.evaluation import evaluate
from ehrbench.statistics.fold_data import FoldData
from ehrbench.tasks.raw_files import parse_files

#: What ``evaluate.py`` writes.
METRICS, PREDICTIONS = "metrics.json", "predictions.csv"
#: Columns of the latter, and of what ``predict.py`` writes.
CALLS = ("record", "unit", "class", "probability", "decision")
#: Skipped rows told one by one.
_SHOWN = 10


def evaluate_bundle(config: Mapping[str, Any]) -> float:
    """Write metrics.json and predictions.csv; the value of the first metric.

    Raises BundleError when a record belongs to a group the bundle was made from.
    """
    settings = checked(Evaluation, config)
    sets = settings.data.sets
    check_once("data.sets", sets)
    console, progress = terminal()
    bundle = Bundle.load(settings.bundle, threads=settings.threads)
    cohort = publisher_of(bundle, settings.data).cohort(Path(settings.data.root), sets, progress)
    records = cohort.records
    seen = bundle.seen(records)
    if seen.any():
        raise BundleError(
            f"{bundle.directory}: {int(seen.sum())} of {len(records)} records "
            f"(the first is {records.ids[seen][0]}) "
            "were used to make this bundle — evaluate it on records it has not seen"
        )
    with progress.step("predicting"):
        prediction = bundle.predict(records.without_labels())
    apart = split_groups(records)
    groups = np.repeat(apart, records.n_units)
    few = unscored(records, apart, [(f"sets {', '.join(sets)}", np.arange(len(records)))])
    target = bundle.manifest.target
    if set(target.scored) - set(few):  # else every metric says itself why it has no value
        target = target.without(few)
    p, owner = prediction.probabilities, records.unit_record
    judged = [FoldData(records.labels, p, groups, bundle.threshold, record=owner, levels=prediction.levels)]
    chosen = [metrics.load(name) for name in bundle.task.metrics]
    results = evaluate(judged, chosen, target, settings.seed, n_replicates=settings.n_bootstrap)
    for result in results.values():
        if "mean" in result:
            result["value"] = result.pop("mean")
            del result["sd"], result["folds"]
    folder = Path(settings.output or bundle.directory.parent / f"evaluation-{'-'.join(sets)}")
    write_json(
        folder / METRICS,
        {
            **results,
            "n": len(records),
            "n_units": records.total_units,
            "prevalence": positives(records.labels, target),
            "threshold": bundle.threshold.tolist(),
            "threshold_rule": bundle.manifest.threshold_rule,
            "cohort": cohort.label,
            "sets": sets,
            "data_digest": cohort.digest,
            "unscored": list(target.unscored),
            "bundle": bundle.digest,
            "bundle_cohort": bundle.manifest.cohort,
            "flow": dict(cohort.flow),
        },
    )
    write_calls(folder / PREDICTIONS, records, prediction, bundle)
    title = f"{bundle.manifest.study_name} on {', '.join(sets)}: {len(records):,} records"
    title += "  SIMULATED" * (cohort.label == "simulated")
    found = {
        name: {**result, "mean": result["value"]} for name, result in results.items() if "value" in result
    }
    shown_metrics = [metric for metric in chosen if metric.name in found][:8]
    leaderboard(plain_console(), title, [("ensemble", found)], shown_metrics)
    if target.unscored:
        rare = ", ".join(target.unscored)
        too_rare = f", too rare here or in the search: {rare}"
        console.print(Text.assemble(("in no mean over classes", "yellow"), too_rare))
    for result in results.values():
        if "undefined" in result:
            console.print(Text.assemble(("no value", "yellow"), f" of {result['undefined']}"))
    _say_skipped(console, cohort.skipped)
    written = (f"metrics      {shown(folder / METRICS)}", f"predictions  {shown(folder / PREDICTIONS)}")
    console.print("\n".join(written), soft_wrap=True)
    return float(results[bundle.task.metrics[0]].get("value", float("nan")))


def publisher_of(bundle: Bundle, data: Scored | GateData) -> Publisher:
    """The publisher of the configuration that made the bundle, for the bundle's task.

    Files of labelled records that are named take the place of those it was made from, where it takes such.
    """
    block = made_by(bundle).task
    for key in ("file", "labels", "descriptors"):
        if (place := getattr(data, key)) is not None:
            if key not in block.publisher:
                raise ConfigError(f"data.{key}", f"task {block.name} takes none", "leave it out")
            block.publisher[key] = place
    return build_publisher(block.publisher, bundle.task)


def predict_files(config: Mapping[str, Any]) -> None:
    """Write one row a record, unit and class for raw files without labels.

    Raises DataError, and writes nothing, when no record can be read, or when more than ``max_skipped`` of the
    rows or of the records cannot.
    """
    settings = checked(BatchPrediction, config)
    console, progress = terminal()
    bundle = Bundle.load(settings.bundle, threads=settings.threads)
    with progress.step("Reading records"):
        parsed = parse_files(bundle.task, Path(settings.input))
    if not len(parsed.records):
        first = parsed.skipped[0] if parsed.skipped else None
        raise DataError(
            first.problem if first else "holds no records",
            file=first.file if first else settings.input,
            field=first.field if first else None,
            remedy="give raw records of the bundle's task; none could be read",
        )
    bundle.task.check_skipped(
        parsed, "mend it, or predict the rest with a larger max_skipped", settings.max_skipped
    )
    ids, counts = np.unique(parsed.records.ids, return_counts=True)
    if (counts > 1).any():
        problem, record = "stands twice in the input", ids[counts > 1][0]
        raise DataError(problem, file=settings.input, record=record, remedy="keep one of them")
    with progress.step("predicting"):
        prediction = bundle.predict(parsed.records)
    output = Path(settings.output)
    write_calls(output, parsed.records, prediction, bundle)
    console.print(f"predicted records: {len(parsed.records):,}  {shown(output)}", soft_wrap=True)
    _say_skipped(console, parsed.skipped, parsed.n_lost)


def _say_skipped(console: Console, skipped: Sequence[Skipped], n_lost: int = 0) -> None:
    if not skipped:
        return
    lost = f", lost records: {n_lost:,}" * bool(n_lost)
    console.print(Text(f"skipped rows: {len(skipped):,}{lost}", "yellow"))
    for one in skipped[:_SHOWN]:
        console.print(f"  {one.file}, record {one.record}, field {one.field}: {one.problem}")
    if len(skipped) > _SHOWN:
        console.print(f"  and {len(skipped) - _SHOWN:,} more")


def write_calls(path: Path, records: Records, prediction: Prediction, bundle: Bundle) -> None:
    """CSV of the calls."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CALLS)
        for *named, p, called in calls(records, prediction, bundle):
            writer.writerow([*named, repr(p), called])


def calls(
    records: Records, prediction: Prediction, bundle: Bundle
) -> Iterator[tuple[str, int, str, float, int]]:
    """A row of ``CALLS`` for each unit and class; decision: 1 where the unit is called."""
    ids, numbers = records.ids[records.unit_record], records.unit_number
    p, called = prediction.probabilities, bundle.called(prediction)
    for u in range(len(p)):
        for c, name in enumerate(bundle.manifest.target.classes):
            yield str(ids[u]), int(numbers[u]), name, float(p[u, c]), int(called[u, c])
