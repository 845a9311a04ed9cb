"""Outputs of a search: what ``summary.json`` says, and the bundle; other files say ``core.run_folder``.

Schema of ``summary.json`` (schema 1)
-------------------------------------
study_name, task, words (what the task calls its things), units (of its variables), protocol,
    cohort ("publisher" or "simulated"), metric, seed, refit, created;
threshold_rule: how folds.chosen.thresholds were chosen, on each fold's inner out-of-fold predictions;
data: {digest, sets, n_records, n_units, positives: {class: share}, flow: {step: count}, skipped: count,
    notes: what was guessed of the data or looks odd in them, dvc: {path: {md5, as_recorded}} where DVC keeps
    the files (see app.wired.data_versions)};
budget: {model: trials of each of its studies};
models: {model or "ensemble": {metric: {mean, sd, folds: [...], interval: {low, high, level, method,
    n_replicates, ...}, interval_procedure: {...} where there are several folds} or {undefined: why}}};
    of several classes means over those that are scored;
unscored: {class: {why, models: {model: {metric: {mean, interval, folds_used} or {undefined: why}}}}}, where
    split has too few of a class to score it (see spine.scored): its own, over the folds that have a value;
selected: {model: {inner: mean inner value of the chosen trials, outer: mean outer value}} (the optimism);
    both of what the search optimised: for a metric with an ideal between, of the distance to it;
folds: [{name, digest, n_train, n_test, chosen: {models, ensemble, thresholds, calling, thresholds_given}}],
    "all" being the bundle's; calling: {model: {longest_gap, shortest_run}} where calls are mended along a
    record; thresholds_given: {class: why its threshold is 0.5 and not chosen};
studies: {key: {complete, pruned, failed: tickets, where there are any; fits, seconds}};
code: {git_commit, versions, plugins: {package: digest}, uncommitted: {module: {sha256, why}}, whose texts lie
    in code/}; files: {other file of the folder: SHA-256}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ehrbench import metrics
from ehrbench.app.composed.checking import written
from ehrbench.app.wired.provenance import Uncommitted, git_commit, plugin_sources, versions
from ehrbench.app.wired.wiring import Wired
from ehrbench.core.bundle import Manifest
from ehrbench.core.digest import digest
from ehrbench.core.files import replacing
from ehrbench.core.ledger import StudyKey
from ehrbench.core.metric import Metric
from ehrbench.core.progress import Progress
from ehrbench.core.run_folder import CODE, RunFolder
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.report.page import N_BOOTSTRAP
from ehrbench.runtime.bundle import Bundle
from ehrbench.spine.bundling import write_bundle
from ehrbench.spine.procedure import Decided, describe
from ehrbench.spine.search import Conclusion
from ehrbench.statistics.defined import by_class
from ehrbench.statistics.evaluation import evaluate
from ehrbench.statistics.fold_data import FoldData


def reported_metrics(wired: Wired) -> list[Metric]:
    """The task's metrics, the searched one first."""
    names = dict.fromkeys([wired.search.metric.name, *wired.task.metrics])
    return [metrics.load(name) for name in names]


def judge(wired: Wired, outcome: Conclusion, progress: Progress) -> dict[str, dict[str, Any]]:
    """Model or ensemble -> metric -> result, over the outer test folds."""
    search = wired.search
    results: dict[str, dict[str, Any]] = {}
    judged: dict[str, list[FoldData]] = {}
    for name in outcome.tested[0].probabilities:
        folds = _tested(wired, outcome, name)
        n_replicates = wired.settings.report.n_bootstrap
        chosen = reported_metrics(wired)
        twin = next((other for other, of in judged.items() if all(map(_alike, of, folds))), None)
        if twin is not None:  # an ensemble of one model is mostly that model
            results[name] = results[twin]
            continue
        with progress.step(f"intervals · {name}"):
            results[name] = evaluate(folds, chosen, search.target, search.seed, n_replicates=n_replicates)
        judged[name] = folds
    return results


def _alike(one: FoldData, other: FoldData) -> bool:
    """Whether both say and call the same of the same test records, to the rounding of a logit and back."""
    parts = ((one.p, other.p), (one.threshold, other.threshold), (one.levels, other.levels))
    known = [(a, b) for a, b in parts if a is not None and b is not None]
    return all(np.allclose(a, b, rtol=0, atol=1e-12, equal_nan=True) for a, b in known)


def _tested(wired: Wired, outcome: Conclusion, name: str) -> list[FoldData]:
    """What one model, or the ensemble, said of the outer tests."""
    dataset, folds = wired.search.dataset, []
    for decided, tested in zip(outcome.decided, outcome.tested, strict=True):
        fold = decided.fold
        records = dataset.open(fold, "test", tested.index)
        groups = np.repeat(dataset.groups[tested.index], records.n_units)
        n_train = len(np.unique(dataset.groups[fold.train]))
        p, threshold = tested.probabilities[name], decided.thresholds[name]
        levels = decided.calling[name].levels(p, records.n_units)
        folds.append(FoldData(records.labels, p, groups, threshold, n_train, records.unit_record, levels))
    return folds


def described(wired: Wired, added: Sequence[Uncommitted] = ()) -> dict[str, Any]:
    """What summary.json says of a search before anything is found; added: code that no commit has."""
    search = wired.search
    return {
        "schema": 1,
        "study_name": search.study_name,
        "task": search.task,
        "words": asdict(wired.task.words),
        "units": dict(wired.task.units),
        "protocol": search.split.label,
        "cohort": wired.cohort.label,
        "metric": search.metric.name,
        "threshold_rule": str(search.threshold),
        "seed": search.seed,
        "refit": search.refit,
        "data": _describe_data(wired),
        "budget": {name: contender.n_trials for name, contender in search.contenders.items()},
        "code": {
            "git_commit": git_commit(),
            "versions": versions(),
            "plugins": plugin_sources(),
            "uncommitted": {m.module: {"sha256": m.sha256, "why": m.why} for m in added},
        },
    }


def summarise(
    wired: Wired, outcome: Conclusion, results: Mapping[str, Any], added: Sequence[Uncommitted] = ()
) -> dict[str, Any]:
    """The content of summary.json; its schema is this module's text. added: what no commit has."""
    search = wired.search
    metric = search.metric.name
    apart = {"unscored": _describe_unscored(wired, outcome)} if search.split.unscored else {}
    return {
        **described(wired, added),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "models": results,
        **apart,
        "selected": {
            name: {
                "inner": float(np.mean([_inner(d, name) for d in outcome.decided])),
                "outer": _outer(results[name].get(metric, {}), search.metric),
            }
            for name in search.contenders
        },
        "folds": [_describe_fold(d, search.metric.searched) for d in outcome.every],
        "studies": _describe_studies(wired),
    }


def write_code(run: RunFolder, added: Sequence[Uncommitted]) -> None:
    """The text of what no commit has, a file a module: a commit alone would not bring it back."""
    for old in (run / CODE).glob("*.py"):
        old.unlink()
    for one in added:
        with replacing(run / CODE / f"{one.module}.py") as path:
            path.write_bytes(one.path.read_bytes())


def _describe_unscored(wired: Wired, outcome: Conclusion) -> dict[str, Any]:
    """Class -> why no macro mean counts it, and each model's values of it over the folds that have one."""
    search, classes = wired.search, {}
    names = [decided.fold.name for decided in outcome.decided]
    chosen, columns = reported_metrics(wired), sorted(search.split.unscored)
    by_model = {
        model: by_class(
            _tested(wired, outcome, model), chosen, search.target, names=names, columns=columns,
            seed=search.seed, n_replicates=min(N_BOOTSTRAP, wired.settings.report.n_bootstrap),
        )
        for model in outcome.tested[0].probabilities
    }  # fmt: skip
    for c in columns:
        name = search.target.classes[c]
        models = {m: {k: v.to_dict() for k, v in found[name].items()} for m, found in by_model.items()}
        classes[name] = {"why": search.split.unscored[c], "models": models}
    return classes


def _describe_data(wired: Wired) -> dict[str, Any]:
    cohort, target = wired.cohort, wired.search.target
    return {
        "digest": wired.search.dataset.digest,
        **({"dvc": dict(wired.versions)} if wired.versions else {}),
        "sets": list(cohort.sets),
        "n_records": len(cohort.records),
        "n_units": cohort.records.total_units,
        "positives": positives(cohort.records.labels, target),
        "flow": dict(cohort.flow),
        "skipped": len(cohort.skipped),
        "notes": list(cohort.notes),
    }


def positives(y: FloatArray, target: Target) -> dict[str, float | None]:
    """Class -> share of the units with a known label that have it; None where there are none."""
    known = ~np.isnan(y)
    shares = zip(target.classes, (y == 1).sum(axis=0), known.sum(axis=0), strict=True)
    return {name: float(n) / float(of) if of else None for name, n, of in shares}


def _inner(decided: Decided, name: str) -> float:
    return next(c.row.value or 0.0 for c in decided.chosen if c.name == name)


def _outer(result: Mapping[str, Any], metric: Metric) -> float | None:
    """Of what the search optimised, on the outer tests: as the inner value is, so that the two compare."""
    if metric.ideal is None or "folds" not in result:
        return result.get("mean")
    return -float(np.mean([metric.gain(value) for value in result["folds"]]))


def _describe_fold(decided: Decided, metric: Metric) -> dict[str, Any]:
    fold = decided.fold
    sizes = {"n_train": len(fold.train), "n_test": len(fold.test)}
    return {"name": fold.name, "digest": fold.digest, **sizes, "chosen": describe(decided, metric)}


def _describe_studies(wired: Wired) -> dict[str, Any]:
    search, described = wired.search, {}
    for fold in search.split.all_folds:
        for model in search.contenders:
            key = StudyKey(search.study_name, search.task, model, fold.index)
            rows = search.backend.ledger.tickets(key)
            seconds = sum(fit.duration_s for row in rows for fit in row.fits)
            fits = sum(len(row.fits) for row in rows)
            states: dict[str, Any] = dict(Counter(str(row.state) for row in rows))
            described[str(key)] = {**states, "fits": fits, "seconds": round(seconds, 1)}
    return described


def write_search_bundle(
    directory: Path, wired: Wired, decided: Decided, metrics: Mapping[str, Any], progress: Progress
) -> None:
    """Export a fold's procedure; metrics: of its ensemble, that its manifest tells."""
    search, task = wired.search, wired.task
    build = dict(wired.settings.task.build)
    manifest = Manifest(
        study_name=search.study_name,
        task=str(build.pop("_target_")),
        task_settings=build,
        target=search.target,
        models={},
        thresholds=[],
        threshold_rule=str(search.threshold),
        cohort=wired.cohort.label,
        data_digest=search.dataset.digest,
        data_sets=list(wired.cohort.sets),
        protocol=search.split.label,
        salt=digest(search.study_name, search.dataset.digest, "salt")[:16],
        git_commit=git_commit(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=search.seed,
        metrics=dict(metrics),
        versions=versions(),
    )
    write_bundle(
        directory, decided, manifest, written(wired.settings), task, search.refit, Bundle.load, progress
    )
