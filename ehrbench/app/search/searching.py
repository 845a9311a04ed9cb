"""Searching: what ``experiments/search.py`` and ``experiments/train.py`` do once Hydra has composed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from ehrbench.app.composed.blocks import LONGEST_NAME, Settings
from ehrbench.app.composed.checking import check, recorded, written
from ehrbench.app.composed.console import command, comparing, leaderboard, plain_console, shown, terminal
from ehrbench.app.runs import certifying, outputs, tables
from ehrbench.app.runs.sealing import seal
from ehrbench.app.runs.slicing import write_slices
from ehrbench.app.search.joining import joining
from ehrbench.app.search.logs import logs_of
from ehrbench.app.search.opening import made_folder, open_search
from ehrbench.app.search.trackers import finish, tracked
from ehrbench.app.search.workers import LocalWorkers
from ehrbench.app.wired.gpus import visible_gpus
from ehrbench.app.wired.provenance import uncommitted
from ehrbench.app.wired.wiring import Wired
from ehrbench.core.bundle import file_digest
from ehrbench.core.digest import digest
from ehrbench.core.errors import ConfigError
from ehrbench.core.files import replacing, write_json
from ehrbench.core.progress import Progress
from ehrbench.core.run_folder import (
    CERTIFICATE,
    CERTIFIED,
    CONFIG,
    PREDICTIONS,
    RECORDS,
    REPORT,
    SKIPPED,
    SUMMARY,
    TRIALS,
    RunFolder,
)
from ehrbench.report import failures, write_model_card, write_report
from ehrbench.spine.search import Conclusion
from ehrbench.statistics.evaluation import by_model

#: Parts of the configuration that make another run of ``train``; its name holds their digest.
SHAPING = (
    *("task", "model", "protocol", "data", "metric", "threshold", "ensemble", "sampler", "pruner"),
    *("seed", "refit", "search"),
)


def search(config: Mapping[str, Any]) -> float:
    """Search, judge, export. Returns the ensemble's outer mean of the metric."""
    settings = check(config)
    return _run(settings, _named(settings))


def train(config: Mapping[str, Any]) -> float:
    """Cross-validate each model's own settings, no search. Returns what Hydra's sweepers minimise.

    It is the mean inner value, negated where greater is better: a sweep by the outer one would choose on the
    records that judge it.
    """
    settings = check({**config, "n_trials": 1, "workers": 1})
    alone = {"space": {}, "n_trials": 1}
    models = {name: block.model_copy(update=alone) for name, block in settings.model.items()}
    settings = settings.model_copy(update={"model": models})
    config = {**config, "model": recorded(settings)["model"]}
    shaping = digest({k: config[k] for k in SHAPING})[:8]
    return _run(settings, _named(settings, *models, shaping), inner=True)


def work(config: Mapping[str, Any]) -> None:
    """Spend tickets only: what a local worker does; the command that started it does the rest."""
    settings = check(config)
    _, progress = terminal()
    wired = open_search(settings, _named(settings), progress)
    with tracked(wired):
        wired.search.spend(progress)


def folder_of(config: Mapping[str, Any]) -> Path:
    """Where ``search`` leaves the run of this configuration."""
    settings = check(config)
    return Path(settings.runs_dir) / _named(settings)


def _named(settings: Settings, *more: str) -> str:
    """The study's name: as given, or task, protocol and ``more``."""
    name = settings.study_name or "-".join((settings.task.name, settings.protocol.name, *more))
    if len(name) > LONGEST_NAME:
        problem = f"{name[:40]}… would have {len(name)} characters"
        raise ConfigError("study_name", problem, f"give one of at most {LONGEST_NAME}: study_name=NAME")
    return name


def _run(settings: Settings, name: str, *, inner: bool = False) -> float:
    with made_folder(settings.runs_dir, name) as run:
        return _search(settings, run, inner=inner)


def _search(settings: Settings, run: RunFolder, *, inner: bool) -> float:
    console, progress = terminal()
    try:
        wired = open_search(settings, run.name, progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Nothing was trained yet.") from None
    console.print(_banner(wired))
    gpus = visible_gpus(settings.trainer.accelerator)
    n_workers = settings.workers or max(1, len(gpus))
    try:
        with tracked(wired) as trackings:
            with (
                joining(settings) as arguments,
                logs_of(settings, run) as logs,
                LocalWorkers(n_workers - 1, arguments, logs, gpus),
            ):
                wired.search.spend(progress)
            summary, results = _conclude(wired, run, progress)
            finish(trackings, run)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Finished fits are kept; the same command goes on from here.") from None
    _print(wired, summary, run)
    metric = wired.search.metric.name
    if inner:
        mean = sum(s["inner"] for s in summary["selected"].values()) / len(summary["selected"])
        return -wired.search.metric.searched.gain(float(mean))
    return float(results["ensemble"].get(metric, {}).get("mean", float("nan")))


def _conclude(wired: Wired, run: RunFolder, progress: Progress) -> tuple[dict[str, Any], dict[str, Any]]:
    """Judge, write and tell what was found; the summary, and each model's metrics."""
    outcome = wired.search.conclude(progress)
    results = outputs.judge(wired, outcome, progress)
    added = uncommitted(wired.modules())
    summary = outputs.summarise(wired, outcome, results, added)
    outputs.write_code(run, added)
    _write(run, wired, outcome, summary, progress)
    wired.search.forget_losers()
    return summary, results


def _banner(wired: Wired) -> Text:
    search, records = wired.search, wired.cohort.records
    budget = ", ".join(f"{name} {c.n_trials}" for name, c in search.contenders.items())
    head = f": {search.task}, {search.split.label}, {search.metric.name}"
    lines = [
        Text.assemble((search.study_name, "bold"), head),
        Text(f"{len(records):,} records of sets {', '.join(wired.cohort.sets)}; trials a study: {budget}"),
    ]
    notes = list(wired.cohort.notes)
    for name, contender in search.contenders.items():
        notes += [
            f"{name}: its own {key}={value} is not in its space, so that the first trial draws another"
            for key, value in contender.outside().items()
        ]
    lines += [Text.assemble(("note ", "yellow"), note) for note in notes]
    if wired.cohort.skipped:
        skipped = (f"Rows skipped: {len(wired.cohort.skipped):,}", "yellow")
        lines.append(Text.assemble(skipped, f"; {SKIPPED} will list them"))
    if wired.cohort.label == "simulated":
        lines.append(Text("SIMULATED COHORT: no figure below says anything about patients", "bold red"))
    return Text("\n").join(lines)


def _write(
    run: RunFolder, wired: Wired, outcome: Conclusion, summary: dict[str, Any], progress: Progress
) -> None:
    """Everything under the run's folder; certificate, report and seal last, since they speak of the rest."""
    with replacing(run / CONFIG) as path:
        path.write_text(written(wired.settings), encoding="utf-8")
    tables.write_predictions(run / PREDICTIONS, wired, outcome)
    tables.write_records(run / RECORDS, wired)
    tables.write_skipped(run / SKIPPED, wired)
    tables.write_trials(run / TRIALS, wired)
    summary["files"] = {name: file_digest(run / name) for name in CERTIFIED if name != SUMMARY}
    write_json(run / SUMMARY, summary)
    outputs.write_search_bundle(run.bundle, wired, outcome.final, summary["models"]["ensemble"], progress)
    if wired.settings.report.explained:
        from ehrbench.app.runs.explaining import (
            write_explanations,  # half a second that workers need not wait
        )

        write_explanations(run, wired, outcome.decided, wired.settings.report.explained, progress)
    write_slices(run, wired, outcome, progress)
    options: dict[str, Any] = {"seed": wired.search.seed, "progress": progress}
    options["n_bootstrap"] = min(1000, wired.settings.report.n_bootstrap)
    write_model_card(run.path, **options)
    write_json(run / CERTIFICATE, certifying.certificate(run, wired.search))
    write_report(run.path, progress=progress)
    seal(run, wired.search.backend.ledger)


def _print(wired: Wired, summary: Mapping[str, Any], run: RunFolder) -> None:
    """The result, on standard output: all else that a search says is for whoever waits for it."""
    console = plain_console()
    order = by_model(summary["models"], wired.search.metric)
    budget = ", ".join(f"{name} {n}" for name, n in summary["budget"].items())
    title = f"{summary['study_name']}: {summary['protocol']}, trials a study: {budget}\n"
    title += "outer test, mean (95 % interval)"
    if summary["cohort"] == "simulated":
        title += "  SIMULATED"
    columns = outputs.reported_metrics(wired)[:5]
    leaderboard(console, title, [(name, summary["models"][name]) for name, _ in order], columns)
    lines = [f"report    {shown(run / REPORT)}", f"summary   {shown(run / SUMMARY)}"]
    if wired.cohort.skipped:
        lines.append(f"skipped   {shown(run / SKIPPED)}")
    lines += [f"not made  {p.stem}; why: {shown(p)}; please report it" for p in failures(run.path)]
    lines.append(f"serve     {command('ehrbench', 'serve', '--bundle', run.bundle)}")
    mlflow = wired.settings.tracker.mlflow
    if mlflow is not None and mlflow.uri is not None:
        lines.append(f"compare   {comparing(mlflow.uri)}")
    console.print("\n".join(lines), soft_wrap=True)
