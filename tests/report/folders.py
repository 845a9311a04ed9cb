"""Run folders from simulated predictions, in the format of ``app.runs.outputs``; no model is trained.

Labels follow a latent risk; each model sees it with its own noise, so that their order is known: the first of
``models`` is the sharpest, and the ensemble is their mean.
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import yaml
from scipy.special import expit, softmax

from ehrbench import metrics
from ehrbench.core.bundle import Manifest, file_digest
from ehrbench.core.run_folder import CERTIFIED
from ehrbench.core.target import Target
from ehrbench.core.task import Words
from ehrbench.statistics.evaluation import evaluate
from ehrbench.statistics.fold_data import FoldData

TARGETS = {
    "binary": Target("binary", ("death",)),
    "multilabel": Target("multilabel", ("edema", "effusion", "mass")),
    "multiclass": Target("multiclass", ("normal", "benign", "malignant")),
}
REPORTED = ("auroc", "auprc", "brier", "log_loss", "sensitivity", "specificity")


@dataclass(frozen=True)
class Sketch:
    """What a run folder should look like."""

    kind: str = "binary"
    n_records: int = 600
    n_folds: int = 3
    units: int = 1
    models: tuple[str, ...] = ("ssm", "lstm", "lightgbm")
    ensemble: bool = True
    n_trials: int = 14
    metric: str = "auroc"
    cohort: str = "publisher"
    n_bootstrap: int = 100
    prevalence: float = -1.5  # logit of the mean risk
    words: Words = field(default_factory=Words)
    seed: int = 0


def write_run(folder: Path, sketch: Sketch = Sketch()) -> Path:
    """Write the whole folder; its path."""
    rng = np.random.default_rng(sketch.seed)
    target = TARGETS[sketch.kind]
    n_units = sketch.n_records * sketch.units
    latent = rng.normal(sketch.prevalence, 1.6, (n_units, target.n_classes))
    y = _labels(target, latent, rng)
    record = np.repeat(np.arange(sketch.n_records), sketch.units)
    fold = rng.permutation(sketch.n_records) % sketch.n_folds  # before the models: others, the same folds
    p = _predictions(target, latent, sketch, rng)
    folder.mkdir(parents=True, exist_ok=True)
    _write_records(folder / "records.csv", sketch, rng)
    _write_predictions(folder / "predictions.csv", target, record, fold, y, p, sketch)
    _write_trials(folder / "trials.csv", sketch, rng)
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"model": {m: {"space": SPACE} for m in sketch.models}})
    )
    summary = _summary(sketch, target, record, fold, y, p)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2))
    manifest = Manifest(
        study_name=summary["study_name"], task="ehrbench.tasks.toy.Toy", task_settings={}, target=target,
        models={m: [f"members/{m}/0"] for m in sketch.models}, thresholds=[0.3] * target.n_classes,
        threshold_rule="f1", cohort=sketch.cohort, data_digest=summary["data"]["digest"], data_sets=["a"],
        protocol=summary["protocol"], salt="s", git_commit="c" * 40, created=summary["created"], seed=0,
        metrics=summary["models"].get("ensemble", {}),
    )  # fmt: skip
    (folder / "bundle").mkdir(exist_ok=True)
    (folder / "bundle" / "manifest.json").write_text(manifest.to_json())
    _write_skipped(folder / "skipped.csv", sketch)
    _write_certificate(folder, summary)
    return folder


SPACE = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "n_layers": {"type": "int", "low": 1, "high": 6},
    "pooling": {"type": "categorical", "choices": ["last", "mean", "attention"]},
    "heads": {"type": "categorical", "choices": [2, 4], "when": {"pooling": "attention"}},
}


def _labels(target: Target, latent: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if target.kind == "multiclass":
        chosen = np.array([rng.choice(target.n_classes, p=row) for row in softmax(latent, axis=1)])
        return np.eye(target.n_classes)[chosen]
    return (rng.random(latent.shape) < expit(latent)).astype(float)


def _predictions(
    target: Target, latent: np.ndarray, sketch: Sketch, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    found = {}
    for i, name in enumerate(sketch.models):
        scores = latent + rng.normal(0, 0.6 + 0.5 * i, latent.shape)
        found[name] = target.probabilities(scores)
    if sketch.ensemble:
        found["ensemble"] = np.mean(list(found.values()), axis=0)
    return found


def _write_records(path: Path, sketch: Sketch, rng: np.random.Generator) -> None:
    n = sketch.n_records
    sex, age = rng.choice(["female", "male"], n), rng.choice(["40-54", "55-64", "65-74", "75 and over"], n)
    ward = np.where(np.arange(n) < 3, "burns", rng.choice(["medical", "surgical"], n))  # a subgroup of three
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["record", "group", "set", "subgroup.sex", "subgroup.age", "subgroup.icu_type",
                         "flag.no_measurements"])  # fmt: skip
        for i in range(n):
            writer.writerow([f"0{i}", f"g{i}", "a", sex[i], age[i], ward[i], int(rng.random() < 0.05)])


def _write_skipped(path: Path, sketch: Sketch) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "record", "field", "problem"])
        for i in range(2):
            writer.writerow([f"set-a/0{i}.txt", f"0{i}", f"HR in line {7 + i}", f"'7{i}x' is not a number"])


def _write_certificate(folder: Path, summary: dict) -> None:
    folds = []
    for fold in summary["folds"]:
        train = {"records": fold["n_train"], "digest": "1" * 64}
        test = {"records": fold["n_test"], "digest": "2" * 64}
        purposes = {name: {**train, "outer_test_records": 0} for name in ("fit", "stack")}
        if fold["n_test"]:
            purposes["test"] = {**test, "outer_test_records": fold["n_test"]}
        named = {"name": fold["name"], "digest": fold["digest"]}
        folds.append(
            {**named, "train": train, "test": {**test, "groups": fold["n_test"]}, "purposes": purposes}
        )
    content = {
        "schema": 1, "study_name": summary["study_name"], "data_digest": summary["data"]["digest"],
        "protocol": summary["protocol"], "folds": folds,
        "files": {name: file_digest(folder / name) for name in CERTIFIED},
    }  # fmt: skip
    (folder / "certificate.json").write_text(json.dumps(content))


def _write_predictions(path, target, record, fold, y, p, sketch) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["record", "unit", "class", "label", "outer_fold", "model", "probability"])
        for k in range(sketch.n_folds):
            for model, values in p.items():
                for u in np.flatnonzero(fold[record] == k):
                    for c, name in enumerate(target.classes):
                        label = "" if np.isnan(y[u, c]) else int(y[u, c])
                        writer.writerow([f"0{record[u]}", u % sketch.units, name, label, k, model,
                                         repr(float(values[u, c]))])  # fmt: skip


def _write_trials(path: Path, sketch: Sketch, rng: np.random.Generator) -> None:
    names = ["model", "outer_fold", "ticket", "state", "attempt", "value", "seconds", "folds", "best_steps",
             "params", "error"]  # fmt: skip
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for fold in [*map(str, range(sketch.n_folds)), "all"]:
            for model in sketch.models:
                for ticket in range(sketch.n_trials):
                    params = {"learning_rate": float(10 ** rng.uniform(-4, -1)),
                              "n_layers": int(rng.integers(1, 7)),
                              "pooling": str(rng.choice(["last", "mean", "attention"]))}  # fmt: skip
                    if params["pooling"] == "attention":
                        params["heads"] = int(rng.choice([2, 4]))
                    value = (
                        0.85 - 0.02 * (np.log10(params["learning_rate"]) + 2.5) ** 2 + rng.normal(0, 0.005)
                    )
                    state = "failed" if ticket == 3 else "pruned" if ticket % 5 == 4 else "complete"
                    writer.writerow({"model": model, "outer_fold": fold, "ticket": ticket, "state": state,
                                     "attempt": 1, "value": repr(float(value)) if state == "complete" else "",
                                     "seconds": 1.5, "folds": "[0.8]", "best_steps": "[3]",
                                     "params": json.dumps(params),
                                     "error": "NaN loss" if state == "failed" else ""})  # fmt: skip


def _summary(sketch, target, record, fold, y, p) -> dict:
    chosen = [metrics.load(name) for name in dict.fromkeys([sketch.metric, *REPORTED])]
    threshold = np.full(target.n_classes, 0.3)
    results = {}
    for model, values in p.items():
        judged = []
        for k in range(sketch.n_folds):
            at = fold[record] == k
            judged.append(FoldData(y[at], values[at], record[at], threshold, int((fold != k).sum())))
        results[model] = evaluate(judged, chosen, target, 0, n_replicates=sketch.n_bootstrap)
    folds = [
        {
            "name": str(k), "digest": f"{k:064x}",
            "n_train": int((fold != k).sum()), "n_test": int((fold == k).sum()),
            "chosen": {
                "models": {m: {"ticket": 1, "params": {"learning_rate": 0.01}, f"inner_{sketch.metric}": 0.85,
                               "inner_by_fold": [0.85], "best_steps": [3]} for m in sketch.models},
                "ensemble": {"combiner": "linear_stack", "calibrator": "platt",
                             "calibrators": {
                                 "identity": {"log_loss": 0.3021, "excess": 0.0021, "standard_error": 0.001},
                                 "platt": {"log_loss": 0.3005, "excess": 0.0005, "standard_error": 0.0008},
                                 "isotonic": {"log_loss": 0.3, "excess": 0.0, "standard_error": 0.0},
                             },
                             "state": {"models": list(sketch.models)}},
                "thresholds": {m: threshold.tolist() for m in p},
            },
        }
        for k in range(sketch.n_folds)
    ]  # fmt: skip
    folds.append({**folds[0], "name": "all", "n_train": sketch.n_records, "n_test": 0})
    return {
        "schema": 1, "study_name": "toy-nested", "task": "toy", "words": asdict(sketch.words),
        "units": {"age": "years"},
        "protocol": f"nested {sketch.n_folds}x3", "cohort": sketch.cohort, "metric": sketch.metric, "seed": 0,
        "refit": "inner", "created": "2026-01-01T00:00:00+00:00",
        "data": {"digest": "d" * 64, "sets": ["a"], "n_records": sketch.n_records, "n_units": len(y),
                 "positives": dict(zip(target.classes, np.nanmean(y, axis=0).tolist(), strict=True)),
                 "flow": {"files found": sketch.n_records + 2, "records": sketch.n_records}, "skipped": 2},
        "budget": dict.fromkeys(sketch.models, sketch.n_trials), "models": results,
        "selected": {m: {"inner": 0.85, "outer": results[m][sketch.metric].get("mean")}
                     for m in sketch.models},
        "folds": folds,
        "studies": {f"toy-nested/toy/{m}/fold0": {"complete": 10, "failed": 1, "seconds": 12.5}
                    for m in sketch.models},
        "code": {"git_commit": "c" * 40 + "+", "versions": {"ehrbench": "0.1.0", "numpy": np.__version__}},
    }  # fmt: skip
