"""A run folder, read back and checked: all that a report, a card or a comparison is made from.

Reads ``summary.json``, ``predictions.csv``, ``records.csv``, ``trials.csv``, ``config.yaml`` and the bundle's
manifest, as ``app.runs.outputs`` writes them. Nothing is trusted that can be checked: digests where the
summary has them (``files``), sizes, the cross-references between the files, and the metrics themselves, which
are computed again from the predictions and must agree with the summary (``check_metrics``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import yaml

from ehrbench import metrics
from ehrbench.core.bundle import MANIFEST, Manifest, file_digest
from ehrbench.core.errors import BundleError, ConfigError, UndefinedMetric
from ehrbench.core.metric import Metric
from ehrbench.core.run_folder import BUNDLE, CONFIG, PREDICTIONS, RECORDS, SUMMARY, TRIALS
from ehrbench.core.target import Target
from ehrbench.core.task import Words
from ehrbench.core.types import StrArray
from ehrbench.report.predictions import read_predictions
from ehrbench.statistics.evaluation import evaluate
from ehrbench.statistics.fold_data import FoldPredictions

ENSEMBLE = "ensemble"
#: How far an end of the headline's interval may lie from the one of so many replicates, in widths: five times
#: what such replicates vary.
INTERVAL, N_CHECKED = 0.25, 200
AGAIN = "run the search's command again: finished fits are kept, and it writes the folder anew"
_SUMMARY_KEYS = ("schema", "study_name", "task", "protocol", "cohort", "metric", "seed", "data", "budget",
                 "models", "selected", "folds", "code")  # fmt: skip
_TRIAL_COLUMNS = ("model", "outer_fold", "ticket", "state", "value", "params")


@dataclass(frozen=True, eq=False)
class Run:
    """One finished search.

    models: names in the summary's order, the ensemble among them where there is one.
    folds: outer test folds; ``records`` (N rows): record, group, set, outcome.<class>…,
        labelled.<class>…, subgroup.<name>…, flag.<name>….
    target: the bundle's; its ``unscored`` classes no figure counts but those of that class.
    trials: one row a ticket, with ``value`` a number or NaN and ``params`` a mapping.
    digests: SHA-256 of every file read.
    """

    folder: Path
    summary: Mapping[str, Any]
    target: Target
    models: tuple[str, ...]
    folds: tuple[FoldPredictions, ...]
    records: pd.DataFrame
    trials: pd.DataFrame
    config: Mapping[str, Any]
    manifest: Manifest
    digests: Mapping[str, str]

    @property
    def name(self) -> str:
        return str(self.summary["study_name"])

    @property
    def words(self) -> Words:
        """What the task calls its things; plain words for runs of before."""
        return Words(**self.summary.get("words", {}))

    def family(self, name: str) -> str:
        """A subgroup family as a heading, with the unit of its levels."""
        unit = self.summary.get("units", {}).get(name)
        return name.replace("_", " ") + (f" ({unit})" if unit else "")

    @property
    def simulated(self) -> bool:
        return bool(self.summary["cohort"] != "publisher")

    @property
    def metric(self) -> Metric:
        return metrics.load(str(self.summary["metric"]))

    @property
    def metrics(self) -> list[Metric]:
        """The reported metrics, the searched one first; those this version does not know are left out."""
        names = dict.fromkeys([self.summary["metric"], *next(iter(self.summary["models"].values()))])
        return [metrics.load(name) for name in names if name in metrics.names()]

    @property
    def leader(self) -> str:
        """The one model that pages speak of where they can speak of one only: what the bundle holds."""
        return ENSEMBLE if ENSEMBLE in self.models else self.ranking[0]

    @property
    def ranking(self) -> list[str]:
        """Models by the searched metric, best first; those without a value last."""
        metric = self.metric

        def gain(model: str) -> float:
            mean = self.summary["models"][model].get(metric.name, {}).get("mean")
            return -np.inf if mean is None else metric.gain(mean)

        return sorted(self.models, key=gain, reverse=True)

    def column(self, prefix: str) -> dict[str, pd.Series]:
        """Columns ``<prefix>.<name>`` of the records, by name."""
        return {
            c.split(".", 1)[1]: self.records[c] for c in map(str, self.records) if c.startswith(f"{prefix}.")
        }

    @property
    def families(self) -> dict[str, StrArray]:
        """Subgroup family -> (N,) level of each record."""
        return {name: column.to_numpy(dtype=str) for name, column in self.column("subgroup").items()}

    @property
    def features(self) -> dict[str, StrArray]:
        """The families, and flags as yes and no: all that the task describes records by."""
        flags = {
            name.replace("_", " "): flag.to_numpy(dtype=bool) for name, flag in self.column("flag").items()
        }
        return self.families | {name: np.where(flag, "yes", "no") for name, flag in flags.items()}

    @property
    def groups(self) -> StrArray:
        """(N,) what must not straddle a split: the patient."""
        return self.records["group"].to_numpy(dtype=str)


def read_run(folder: Path | str) -> Run:
    """Read and check a run folder. Raises BundleError naming a file missing, altered or malformed."""
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such run folder — name one that a search has finished")
    digests = {name: _digest(folder / name) for name in (SUMMARY, PREDICTIONS, RECORDS, TRIALS, CONFIG)}
    summary = _read_summary(folder / SUMMARY)
    _check_digests(folder, summary, digests)
    manifest_path = folder / BUNDLE / MANIFEST
    digests[f"{BUNDLE}/{MANIFEST}"] = _digest(manifest_path)
    try:
        manifest = Manifest.from_json(manifest_path.read_text(encoding="utf-8"))
    except (BundleError, UnicodeDecodeError) as error:
        raise BundleError(f"{manifest_path}: {error}") from error
    if manifest.data_digest != summary["data"]["digest"]:
        raise BundleError(f"{manifest_path}: its data digest is not that of {SUMMARY} — {AGAIN}")
    target = _target(folder / SUMMARY, manifest.target, summary.get("unscored", {}))
    records = _read_records(folder / RECORDS, summary)
    folds = read_predictions(folder / PREDICTIONS, records, manifest.target, summary["folds"], AGAIN)
    models = tuple(summary["models"])
    for fold in folds:
        if missing := sorted(set(models) - set(fold.p)):
            said = f"has no predictions of {', '.join(missing)} in fold {fold.name}"
            raise BundleError(f"{folder / PREDICTIONS}: {said} — {AGAIN}")
    run = Run(
        folder,
        summary,
        target,
        models,
        tuple(folds),
        records,
        _read_trials(folder / TRIALS),
        _read_config(folder / CONFIG),
        manifest,
        digests,
    )
    check_metrics(run)
    return run


def check_metrics(run: Run) -> None:
    """Compute the figures again from the predictions; BundleError naming model and metric that differ.

    Every metric of every model by fold, its mean and deviation; the headline's interval of the fitted models
    to a part of its width (``INTERVAL``), as another version's bootstrap need not be this one's.
    """
    try:
        headline = run.metric
    except ConfigError as error:
        raise BundleError(f"{run.folder / SUMMARY}: metric: {error}") from error
    for model in run.models:
        for metric in run.metrics:
            result = run.summary["models"][model].get(metric.name, {})
            if "undefined" in result or not result:
                continue
            found = fold_values(run.folds, model, metric, run.target)
            spread = float(np.std(found, ddof=1)) if len(found) > 1 else None
            again = {"folds": found, "mean": float(np.mean(found)), "sd": spread}
            for name, value in again.items():
                _check_same(run, f"{metric.name} of {model}, {name}", value, result.get(name))
        if (one := run.summary["selected"].get(model)) and "folds" in (
            result := run.summary["models"][model].get(headline.name, {})
        ):
            outer = np.mean(result["folds"])
            if headline.ideal is not None:
                outer = -np.mean([headline.gain(value) for value in result["folds"]])
            _check_same(run, f"{headline.name} of {model}, selected.outer", float(outer), one.get("outer"))
    _check_interval(run, headline)


def _check_same(run: Run, what: str, found: Any, said: Any) -> None:
    alike = np.shape(found) == np.shape(said) and (found is None) == (said is None)
    if alike and found is not None:
        alike = np.allclose(
            np.asarray(found, dtype=float),
            np.asarray(said, dtype=float),
            rtol=1e-6,
            atol=1e-6,
            equal_nan=True,
        )
    if not alike:
        _refuse(run, what, found, said)


def _check_interval(run: Run, metric: Metric) -> None:
    """The headline's interval, and that of the procedure where every record is a group of its own."""
    said = run.summary["models"][run.leader].get(metric.name, {})
    one = said.get("interval") or {}
    if one.get("low") is None:
        return
    data = [replace(fold.of(run.leader), n_train=fold.n_train) for fold in run.folds]
    again = evaluate(data, [metric], run.target, int(run.summary["seed"]), n_replicates=N_CHECKED)[
        metric.name
    ]
    drawn = int(one.get("n_replicates") or 0)
    part = INTERVAL if drawn >= N_CHECKED else 1.0  # ends of a quick try's few replicates are anywhere near
    allowed = {"interval": part * _width(again["interval"])}
    if run.records["group"].is_unique and "interval_procedure" in said:
        allowed["interval_procedure"] = 1e-6  # nothing is drawn for it
    for name, most in allowed.items():
        found, here = again[name], said[name]
        ends = [(found[end], here[end]) for end in ("low", "high") if found[end] is not None]
        if any(there is None or abs(value - there) > most for value, there in ends):
            _refuse(run, f"{name} of {metric.name} of {run.leader}", *map(list, zip(*ends, strict=True)))


def _refuse(run: Run, what: str, found: Any, said: Any) -> NoReturn:
    raise BundleError(
        f"{run.folder / PREDICTIONS}: {what} is {_digits(found)}, and {SUMMARY} says {_digits(said)}: one of "
        f"the two was altered — {AGAIN}"
    )


def fold_values(folds: Sequence[FoldPredictions], model: str, metric: Metric, target: Target) -> list[float]:
    """The metric on each fold; NaN where it has no value."""
    values = []
    for fold in folds:
        try:
            values.append(fold.of(model).value(metric, target))
        except UndefinedMetric:
            values.append(float("nan"))
    return values


def _width(interval: Mapping[str, Any]) -> float:
    return float(interval["high"] - interval["low"]) if interval["low"] is not None else 0.0


def _digits(values: Any) -> str:
    if isinstance(values, (list, tuple)):
        return "(" + ", ".join(map(_digits, values)) + ")"
    return f"{values:.6f}" if isinstance(values, (int, float)) else repr(values)


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}) — {AGAIN}") from error


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: is not JSON ({error}) — {AGAIN}") from error
    if not isinstance(summary, dict) or summary.get("schema") != 1:
        raise BundleError(f"{path}: is not a summary of schema 1 — {AGAIN}")
    for key in _SUMMARY_KEYS:
        if key not in summary:
            raise BundleError(f"{path}: {key} is missing — {AGAIN}")
    return summary


def _target(path: Path, target: Target, unscored: Mapping[str, Any]) -> Target:
    """The target with the classes that the run could not score."""
    if strange := [name for name in unscored if name not in target.classes]:
        raise BundleError(f"{path}: unscored class {strange[0]!r} is none of the target's — {AGAIN}")
    if len(unscored) == target.n_classes:
        raise BundleError(f"{path}: has no class that is scored — {AGAIN}")
    return target.without([target.classes.index(name) for name in unscored])


def _check_digests(folder: Path, summary: Mapping[str, Any], digests: Mapping[str, str]) -> None:
    for name, expected in summary.get("files", {}).items():
        if name in digests and digests[name] != expected:
            raise BundleError(f"{folder / name}: altered since the search wrote it — {AGAIN}")


def _read_records(path: Path, summary: Mapping[str, Any]) -> pd.DataFrame:
    records = read_table(path, ("record", "group", "set"))
    for column in (c for c in map(str, records) if c.startswith(("outcome.", "labelled."))):
        if not records[column].str.fullmatch(r"\d*").all():
            raise BundleError(f"{path}: {column} has values that are no counts — {AGAIN}")
    flags = [c for c in map(str, records) if c.startswith("flag.")]
    for column in flags:
        if not records[column].isin(("0", "1")).all():
            raise BundleError(f"{path}: {column} has values other than 0 and 1 — {AGAIN}")
        records[column] = records[column] == "1"
    expected = summary["data"]["n_records"]
    if len(records) != expected:
        raise BundleError(f"{path}: {len(records)} records, and {SUMMARY} says {expected} — {AGAIN}")
    if records["record"].duplicated().any():
        twice = records["record"][records["record"].duplicated()].iloc[0]
        raise BundleError(f"{path}: record {twice} stands twice — {AGAIN}")
    return records


def _read_trials(path: Path) -> pd.DataFrame:
    trials = read_table(path, _TRIAL_COLUMNS)
    try:
        trials["ticket"] = trials["ticket"].astype(int)
        trials["value"] = pd.to_numeric(trials["value"].replace("", None)).astype(float)
        trials["params"] = [json.loads(text or "{}") for text in trials["params"]]
    except (ValueError, json.JSONDecodeError) as error:
        raise BundleError(f"{path}: ticket, value or params is malformed ({error}) — {AGAIN}") from error
    return trials


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: is not YAML ({str(error).splitlines()[0]}) — {AGAIN}") from error
    if not isinstance(config, dict):
        raise BundleError(f"{path}: is not a mapping — {AGAIN}")
    return config


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV file as text columns; BundleError where the file or a column is missing."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}) — {AGAIN}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: is not a table ({str(error).strip()}) — {AGAIN}") from error
    if missing := [c for c in columns if c not in table]:
        raise BundleError(f"{path}: column {missing[0]} is missing — {AGAIN}")
    return table
