"""Explaining: a finished search's outer folds taken apart, as ``explanations.json``.

Everything is asked of the finished procedures and of outer-test records, which nothing was fitted or chosen
on: the figures say what the reported predictions rest on, not what the training records taught. Units of
``n_records`` records, drawn by seed and spread over the outer folds, are attributed and followed through
time: as many units as records, so that it takes as long whether a record has one or thousands (the beats of a
recording). ``PERMUTED`` times as many records are permuted, where there are so many.

Schema (1); ``why`` in place of the other keys says why there is nothing
------------------------------------------------------------------------
study_name, seed, predictions (SHA-256 of the predictions.csv they go with); n_records, n_units (attributed),
    n_permuted;
permutation: {metric, repeats, drops: {model or "ensemble": {parameter: [mean over outer folds, one a
    repeat]}}};
attributions: {model: {method, gap, agreement (Spearman's, with what a server says: see explain.agreement;
    null where it has none), parameters: {parameter: {value, missingness}} (mean absolute log-odds
    over units and classes), hours: {parameter: {value: [H], missingness: [H]}} (networks on sequences)}};
step_hours: hours of each of the H steps that courses are told in (1 in files of earlier versions);
course: {class, hours: [1…H], outcomes: {"with" | "without": {n, mean, low, high: [H]}} (10th and 90th
    percentile)}: the ensemble's probability of the first class, recomputed from what was measured by then;
examples: [{which, record, unit, outcome, probability, course: [H], measurements: [H], contributions: {model:
    {parameter: {value, missingness}}}}] (signed log-odds, of the first class).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.progress import Progress, Step
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.explain.agreement import agreement
from ehrbench.explain.attribution import Attribution, Unexplained, attribute, mean
from ehrbench.explain.payloads import Steps, parameters, until
from ehrbench.explain.permutation import metric_drops
from ehrbench.explain.repeated import Repeated
from ehrbench.explain.sources import Source
from ehrbench.spine.procedure import ENSEMBLE_NAME, Decided

SCHEMA = 1
#: Records permuted for each one attributed: a metric needs more records than a mean.
PERMUTED = 5
REPEATS = 3


@dataclass
class _Fold:
    """What one outer fold gave. H hours, 0 where records have no times; U units attributed.

    units: (U,) which of the records' units these are.
    """

    records: Records
    units: IntArray
    p: FloatArray  # (U, C), of the ensemble
    course: FloatArray  # (H, U), of the first class
    measurements: IntArray  # (U, H)
    attributions: dict[str, Attribution] = field(default_factory=dict)
    agreement: dict[str, float | None] = field(default_factory=dict)
    drops: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    n_permuted: int = 0


def explain(
    decided: Sequence[Decided],
    metric: Metric,
    target: Target,
    refit: str,
    *,
    n_records: int,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """The content of ``explanations.json`` for the decided outer folds of one search."""
    setting = decided[0].setting
    each = -(-n_records // len(decided))
    why: dict[str, str] = {}
    payload = setting.dataset.cohort.records.payload
    times = Steps.of(payload)
    models = [c.name for c in decided[0].chosen]
    steps = len(decided) * (times.n + len(models) + REPEATS * len(parameters(payload)))
    with progress.step("explanations", steps) as bar:
        folds = [_fold(d, metric, target, refit, each, times, seed, bar, why) for d in decided]
    if not parameters(payload):
        why["permutation"] = "the records of this task cannot be taken apart by parameter"
    content = {
        "schema": SCHEMA,
        "study_name": setting.key.study_name,
        "seed": seed,
        "n_records": sum(len(f.records) for f in folds),
        "n_units": sum(len(f.units) for f in folds),
        "n_permuted": sum(f.n_permuted for f in folds),
        "permutation": _permutation([f for f in folds if f.drops], metric, why),
        "attributions": {name: _attribution(folds, name, why) for name in models},
        "step_hours": times.hours,
        "course": _course(folds, target, times),
        "examples": _examples(folds, models),
    }
    return {name: _rounded(value) for name, value in content.items()}


def _fold(
    decided: Decided,
    metric: Metric,
    target: Target,
    refit: str,
    each: int,
    times: Steps,
    seed: int,
    bar: Step,
    why: dict[str, str],
) -> _Fold:
    """One outer fold; what could not be had goes into ``why``."""
    setting = decided.setting
    rng = np.random.default_rng(derive_seed(seed, "explain", setting.fold.name))
    drawn = rng.permutation(setting.fold.test)[: PERMUTED * each]
    # rows of their own: the cohort's would be computed whole for a few
    many = setting.dataset.open(setting.fold, "test", drawn).cached()
    few = many.take(np.arange(min(each, len(many)))).cached()
    fitted, unlabelled = decided.fitted(target, refit), few.without_labels()
    again, course = Repeated(fitted, unlabelled), np.zeros((times.n, few.total_units))
    for k, hour in reversed(list(enumerate(times.ends()))):
        course[k] = again.follow(until(few, hour))[ENSEMBLE_NAME][:, 0]
        bar.advance()
    counts = times.measured(few.payload)
    units = _some(few, each, np.random.default_rng(derive_seed(seed, "explain units", setting.fold.name)))
    p, owner = again.known[ENSEMBLE_NAME][units], few.unit_record[units]
    found = _Fold(few, units, p, course[:, units], counts[owner])
    for name, models in fitted.models.items():
        bar.note(name)
        try:
            told = mean([attribute(model, unlabelled, times, units) for model in models])
            found.attributions[name] = told
            found.agreement[name] = agreement(list(models), unlabelled, units, told, target)
        except Unexplained as error:
            why[name] = str(error)
        bar.advance()
    if parameters(many.payload):
        try:
            found.drops = metric_drops(
                fitted, many, metric, decided.thresholds, decided.calling, repeats=REPEATS, rng=rng, bar=bar
            )
            found.n_permuted = len(many)
        except UndefinedMetric as error:
            why["permutation"] = f"outer fold {setting.fold.name}: {error}"
    return found


def _some(records: Records, n: int, rng: np.random.Generator) -> IntArray:
    """Positions among all units of n of them, drawn as evenly over the records as they allow, in order."""
    order = rng.permutation(records.total_units)
    owner = records.unit_record[order]
    by_owner = np.argsort(owner, kind="stable")  # each record's units, shuffled
    rank = np.arange(len(order)) - np.repeat(np.cumsum(records.n_units) - records.n_units, records.n_units)
    turn = np.argsort(rank, kind="stable")  # one of each record, then another of each
    return np.sort(order[by_owner][turn][:n])


def _permutation(folds: Sequence[_Fold], metric: Metric, why: Mapping[str, str]) -> dict[str, Any]:
    if not folds:
        return {"why": why["permutation"]}
    drops = {
        model: {
            parameter: np.mean([f.drops[model][parameter] for f in folds], axis=0).tolist()
            for parameter in by_parameter
        }
        for model, by_parameter in folds[0].drops.items()
    }
    return {"metric": metric.name, "repeats": REPEATS, "drops": drops}


def _attribution(folds: Sequence[_Fold], model: str, why: Mapping[str, str]) -> dict[str, Any]:
    if model in why:
        return {"why": why[model]}
    timed = len(folds[0].course) > 0  # a sequence may be of records that have no hours
    found = [f.attributions[model] for f in folds]
    n = sum(f.p.size for f in folds)
    agreed = [value for f in folds if (value := f.agreement[model]) is not None]

    def mean_absolute(tables: Sequence[Mapping[Source, FloatArray]]) -> dict[str, dict[str, Any]]:
        total: dict[str, dict[str, Any]] = defaultdict(lambda: {"value": 0.0, "missingness": 0.0})
        for table in tables:
            for one, parts in table.items():
                size = np.abs(parts).sum(axis=(0, 1)) / n
                total[one.parameter][one.kind] = total[one.parameter][one.kind] + size
        return {
            name: {kind: np.asarray(size).tolist() for kind, size in kinds.items()}
            for name, kinds in total.items()
        }

    return {
        "method": found[0].method,
        "gap": max(a.gap for a in found),
        "agreement": float(np.mean(agreed)) if agreed else None,
        "parameters": mean_absolute([a.parts for a in found]),
        "hours": mean_absolute([a.by_hour for a in found]) if timed else {},
    }


def _course(folds: Sequence[_Fold], target: Target, times: Steps) -> dict[str, Any]:
    if not times.n:
        return {"why": "the records of this task have no times"}
    curves = np.concatenate([f.course for f in folds], axis=1)  # (H, U)
    y = np.concatenate([f.records.labels[f.units, 0] for f in folds])
    outcomes = {}
    for name, label in (("with", 1), ("without", 0)):
        of = curves[:, y == label]
        if of.shape[1]:
            low, high = np.quantile(of, (0.1, 0.9), axis=1)
            outcomes[name] = {"n": of.shape[1], "mean": of.mean(axis=1), "low": low, "high": high}
    if not outcomes:
        return {"why": f"of no record drawn it is known whether it had {target.classes[0]}"}
    return {"class": target.classes[0], "hours": times.ends(), "outcomes": outcomes}


def _examples(folds: Sequence[_Fold], models: Sequence[str]) -> list[dict[str, Any]]:
    """Four units whose first label is known: the clearest right and wrong answers, and an ordinary one."""
    p = np.concatenate([f.p[:, 0] for f in folds])
    y = np.concatenate([f.records.labels[f.units, 0] for f in folds])
    place = [(f, u) for f in folds for u in range(len(f.p))]
    order = [int(i) for i in np.argsort(p, kind="stable") if not np.isnan(y[i])]
    ill, well = [i for i in order if y[i] == 1], [i for i in order if y[i] == 0]
    wanted = {
        "highest risk, with the outcome": ill[-1:],
        "highest risk, without the outcome": well[-1:],
        "lowest risk, with the outcome": ill[:1],
        "median risk": order[len(order) // 2 :][:1],
    }
    chosen = {i: which for which, found in reversed(wanted.items()) for i in found}
    return [
        {"which": chosen[i], **_example(*place[i], models)} for i in sorted(chosen, key=p.__getitem__)[::-1]
    ]


def _example(fold: _Fold, unit: int, models: Sequence[str]) -> dict[str, Any]:
    records, own = fold.records, fold.units[unit]
    contributions: dict[str, dict[str, dict[str, float]]] = {}
    for name in models:
        if name in fold.attributions:
            signed = contributions.setdefault(name, {})
            for one, parts in fold.attributions[name].parts.items():
                kinds = signed.setdefault(one.parameter, {"value": 0.0, "missingness": 0.0})
                kinds[one.kind] = float(parts[unit, 0])
    return {
        "record": str(records.ids[records.unit_record[own]]),
        "unit": int(records.unit_number[own]),
        "outcome": bool(records.labels[own, 0]),
        "probability": float(fold.p[unit, 0]),
        "course": fold.course[:, unit],
        "measurements": fold.measurements[unit],
        "contributions": contributions,
    }


def _rounded(content: Any) -> Any:
    """JSON-like, with six digits."""
    match content:
        case Mapping():
            return {str(name): _rounded(value) for name, value in content.items()}
        case list() | tuple():
            return [_rounded(value) for value in content]
        case np.ndarray():
            return _rounded(content.tolist())
        case float():
            return float(f"{content:.6g}")
    return content
