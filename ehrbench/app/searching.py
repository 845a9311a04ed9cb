"""Searching: what ``experiments/search.py`` and ``experiments/train.py`` do once Hydra has composed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.markup import escape

from ehrbench.app import certifying, outputs, tables
from ehrbench.app.checking import Settings, check
from ehrbench.app.console import command, comparing, leaderboard, terminal
from ehrbench.app.files import replacing, write_json
from ehrbench.app.gpus import visible_gpus
from ehrbench.app.opening import open_search, run_folder
from ehrbench.app.sealing import seal
from ehrbench.app.slicing import write_slices
from ehrbench.app.wiring import Wired, named_models
from ehrbench.app.workers import LocalWorkers
from ehrbench.core.bundle import file_digest
from ehrbench.core.digest import digest
from ehrbench.core.progress import Progress
from ehrbench.report import failures, write_model_card, write_report
from ehrbench.spine.search import Conclusion
from ehrbench.statistics.evaluation import by_model

#: Parts of the configuration that make another run of ``train``; its name holds their digest.
SHAPING = (
    *("task", "model", "protocol", "data", "metric", "threshold", "ensemble", "sampler", "pruner"),
    *("seed", "refit"),
)


def search(config: Mapping[str, Any], arguments: list[str]) -> float:
    """Search, judge, export. Returns the ensemble's outer mean of the metric.

    arguments: of this command, for the local workers that join it.
    """
    settings = check(config)
    name = settings.study_name or f"{config['task']['name']}-{settings.protocol.name}"
    return _run(config, settings, name, arguments)


def train(config: Mapping[str, Any]) -> float:
    """Cross-validate each model's own settings, no search. Returns what Hydra's sweepers minimise.

    It is the mean inner value, negated where greater is better: a sweep by the outer one would choose on the
    records that judge it.
    """
    settings = check({**config, "n_trials": 1, "workers": 1})
    models = {n: {**dict(m), "space": {}, "n_trials": 1} for n, m in named_models(config).items()}
    config = {**config, "n_trials": 1, "model": models}
    shaping = {k: config[k] for k in SHAPING}
    name = f"{config['task']['name']}-{settings.protocol.name}-{'-'.join(models)}-{digest(shaping)[:8]}"
    return _run(config, settings, settings.study_name or name, [], inner=True)


def work(config: Mapping[str, Any]) -> None:
    """Spend tickets only: what a local worker does; the command that started it does the rest."""
    settings = check(config)
    name = settings.study_name or f"{config['task']['name']}-{settings.protocol.name}"
    _, progress = terminal()
    wired = open_search(config, settings, name, progress)
    try:
        wired.search.spend(progress)
    finally:
        wired.search.backend.tracker.close()


def _run(
    config: Mapping[str, Any], settings: Settings, name: str, arguments: list[str], *, inner: bool = False
) -> float:
    with run_folder(settings.runs_dir, name) as folder:
        return _search(config, settings, name, arguments, folder, inner=inner)


def _search(
    config: Mapping[str, Any],
    settings: Settings,
    name: str,
    arguments: list[str],
    folder: Path,
    *,
    inner: bool,
) -> float:
    console, progress = terminal()
    wired = open_search(config, settings, name, progress)
    console.print(_banner(wired))
    tracker = wired.search.backend.tracker
    _open_parent(wired)
    gpus = visible_gpus(settings.trainer.accelerator)
    n_workers = settings.workers or max(1, len(gpus))
    logs = Path(settings.logs_dir) / name if settings.logs_dir else folder
    try:
        with LocalWorkers(n_workers - 1, arguments, logs, gpus):
            wired.search.spend(progress)
        summary, results = _conclude(wired, folder, progress)
    except KeyboardInterrupt:
        console.print("[yellow]stopped.[/] Finished fits are kept; the same command goes on from here.")
        tracker.close(5)
        raise
    _print(console, wired, summary, folder)
    metric = wired.search.metric.name
    if inner:
        mean = sum(s["inner"] for s in summary["selected"].values()) / len(summary["selected"])
        return -wired.search.metric.searched.gain(float(mean))
    return float(results["ensemble"].get(metric, {}).get("mean", float("nan")))


def _conclude(wired: Wired, folder: Path, progress: Progress) -> tuple[dict[str, Any], dict[str, Any]]:
    """Judge, write and tell what was found; the summary, and each model's metrics."""
    outcome = wired.search.conclude(progress)
    results = outputs.judge(wired, outcome, progress)
    summary = outputs.summarise(wired, outcome, results)
    _write(folder, wired, outcome, summary, progress)
    wired.search.forget_losers()
    _close_parent(wired, summary, folder)
    return summary, results


def _banner(wired: Wired) -> str:
    search, records = wired.search, wired.cohort.records
    budget = ", ".join(f"{name} {c.n_trials}" for name, c in search.contenders.items())
    lines = [
        f"[bold]{search.study_name}[/]: {search.task}, {search.split.label}, {search.metric.name}",
        f"{len(records):,} records of sets {', '.join(wired.cohort.sets)}; trials a study: {budget}",
    ]
    lines += [f"[yellow]note[/] {escape(note)}" for note in wired.cohort.notes]
    if wired.cohort.skipped:
        lines.append(f"[yellow]Rows skipped: {len(wired.cohort.skipped):,}[/]; skipped.csv will list them")
    if wired.cohort.label == "simulated":
        lines.append("[bold red]SIMULATED COHORT: no figure below says anything about patients[/]")
    return "\n".join(lines)


def _open_parent(wired: Wired) -> None:
    search, tracker = wired.search, wired.search.backend.tracker
    budget = {name: contender.n_trials for name, contender in search.contenders.items()}
    tags = {**search.tags, "kind": "search", "data_digest": search.dataset.digest[:16]}
    tags["budget"] = ", ".join(f"{name} {n}" for name, n in budget.items())
    tracker.run(search.study_name, name=search.study_name, tags=tags)
    params = {"protocol": search.split.label, "metric": search.metric.name, "seed": search.seed}
    tracker.params(search.study_name, params)  # the budget is a tag: MLflow lets no parameter grow


def _close_parent(wired: Wired, summary: Mapping[str, Any], folder: Path) -> None:
    search, tracker = wired.search, wired.search.backend.tracker
    for model, results in summary["models"].items():
        values = {f"{model}.{name}": r["mean"] for name, r in results.items() if "mean" in r}
        tracker.metrics(search.study_name, values)
    files = (
        "summary.json",
        "predictions.csv",
        "report.html",
        "config.yaml",
        "certificate.json",
        "explanations.json",
        "slices.json",
        "checksums.json",
    )
    for name in files:
        if (folder / name).exists():
            tracker.artifact(search.study_name, folder / name)
    tracker.artifact(search.study_name, folder / "figures", "figures")
    tracker.artifact(search.study_name, folder / "bundle", "bundle")
    tracker.end(search.study_name)
    left = tracker.close()
    if left:
        print(f"{left} tracker calls wait in the spool; the next run sends them")


def _write(
    folder: Path, wired: Wired, outcome: Conclusion, summary: dict[str, Any], progress: Progress
) -> None:
    """Everything under the run's folder; certificate, report and seal last, since they speak of the rest."""
    with replacing(folder / "config.yaml") as path:
        path.write_text(
            OmegaConf.to_yaml(OmegaConf.create(json.loads(json.dumps(dict(wired.config))))), encoding="utf-8"
        )
    tables.write_predictions(folder / "predictions.csv", wired, outcome)
    tables.write_records(folder / "records.csv", wired)
    tables.write_skipped(folder / "skipped.csv", wired)
    tables.write_trials(folder / "trials.csv", wired)
    files = [name for name in certifying.FILES if name != "summary.json"]
    summary["files"] = {name: file_digest(folder / name) for name in files}
    write_json(folder / "summary.json", summary)
    outputs.write_search_bundle(folder / "bundle", wired, outcome, summary["models"], progress)
    if wired.settings.report.explained:
        from ehrbench.app.explaining import write_explanations  # half a second that workers need not wait

        write_explanations(folder, wired, outcome.decided, wired.settings.report.explained, progress)
    write_slices(folder, wired, outcome, progress)
    options: dict[str, Any] = {"seed": wired.search.seed, "progress": progress}
    options["n_bootstrap"] = min(1000, wired.settings.report.n_bootstrap)
    write_model_card(folder, **options)
    write_json(folder / "certificate.json", certifying.certificate(folder, wired.search))
    write_report(folder, progress=progress)
    seal(folder, wired.search.backend.ledger)


def _print(console: Console, wired: Wired, summary: Mapping[str, Any], folder: Path) -> None:
    order = by_model(summary["models"], wired.search.metric)
    budget = ", ".join(f"{name} {n}" for name, n in summary["budget"].items())
    title = f"{summary['study_name']}: {summary['protocol']}, trials a study: {budget}\n"
    title += "outer test, mean (95 % interval)"
    if summary["cohort"] == "simulated":
        title += "  SIMULATED"
    shown = outputs.reported_metrics(wired)[:5]
    leaderboard(console, title, [(name, summary["models"][name]) for name, _ in order], shown)
    console.print(f"report    {folder / 'report.html'}\nsummary   {folder / 'summary.json'}")
    if wired.cohort.skipped:
        console.print(f"skipped   {folder / 'skipped.csv'}")
    for path in failures(folder):
        console.print(f"not made  {path.stem}; why: {path}; please report it", markup=False)
    console.print(f"serve     {command('ehrbench')} serve --bundle {folder / 'bundle'}")
    if wired.settings.tracker.kind == "mlflow":
        console.print(f"compare   {comparing(wired.settings.tracker.uri)}")
