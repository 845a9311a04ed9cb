"""Outer-test predictions of a run, read from ``predictions.csv`` into one array a fold and model."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ehrbench.core.calling import Calling
from ehrbench.core.errors import BundleError
from ehrbench.core.target import Target
from ehrbench.core.types import IntArray
from ehrbench.statistics.fold_data import FoldPredictions

COLUMNS = ("record", "unit", "class", "label", "outer_fold", "model", "probability")


def read_predictions(
    path: Path, records: pd.DataFrame, target: Target, described: Sequence[Mapping[str, Any]], remedy: str
) -> list[FoldPredictions]:
    """All outer folds, in the summary's order. Raises BundleError naming record, fold and model at fault."""
    table = _read(path, remedy)
    codes = {name: table[name].cat for name in ("record", "class", "outer_fold", "model")}
    row_of = pd.Series(np.arange(len(records)), index=records["record"])
    rows = row_of.reindex(codes["record"].categories).to_numpy()
    if np.isnan(rows.astype(float)).any():
        unknown = codes["record"].categories[np.isnan(rows.astype(float))][0]
        raise BundleError(f"{path}: record {unknown} is not in records.csv — {remedy}")
    classes = {name: i for i, name in enumerate(target.classes)}
    if strange := [name for name in codes["class"].categories if name not in classes]:
        raise BundleError(f"{path}: class {strange[0]!r} is none of {', '.join(classes)} — {remedy}")
    number = np.array([classes[name] for name in codes["class"].categories])
    columns = {
        "record": rows.astype(np.int64)[codes["record"].codes],
        "class": number[codes["class"].codes],
        "unit": table["unit"].to_numpy(),
        "y": table["label"].to_numpy(),
        "p": table["probability"].to_numpy(),
        "model": codes["model"].codes.to_numpy(),
    }
    group = np.unique(records["group"].to_numpy(dtype=str), return_inverse=True)[1].ravel()
    models = list(codes["model"].categories)
    folds = []
    by_fold = codes["outer_fold"].codes.to_numpy()
    for description in described:
        where = np.flatnonzero(by_fold == _position(codes["outer_fold"].categories, description["name"]))
        if len(where):
            one = {name: column[where] for name, column in columns.items()}
            folds.append(_fold(path, one, description, models, group, target, records, remedy))
    if not folds:
        raise BundleError(f"{path}: has no predictions of any fold of summary.json — {remedy}")
    if len(table) != sum(f.y.size * len(f.p) for f in folds):
        raise BundleError(f"{path}: has predictions of a fold that summary.json does not name — {remedy}")
    return folds


def _read(path: Path, remedy: str) -> pd.DataFrame:
    kinds: dict[Hashable, Any] = {
        "record": "category",
        "class": "category",
        "outer_fold": "category",
        "model": "category",
    }
    try:
        table = pd.read_csv(
            path,
            dtype={**kinds, "unit": np.int64, "label": np.float64, "probability": np.float64},
            keep_default_na=False,
            na_values={"label": [""], "probability": ["nan"]},
            float_precision="round_trip",  # to the last bit: a probability may stand on its threshold
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read ({str(error).strip()}) — {remedy}") from error
    if missing := [c for c in COLUMNS if c not in table]:
        raise BundleError(f"{path}: column {missing[0]} is missing — {remedy}")
    y, p = table["label"].to_numpy(), table["probability"].to_numpy()
    if not np.isin(y[~np.isnan(y)], (0.0, 1.0)).all():
        raise BundleError(f"{path}: labels other than 0 and 1 — {remedy}")
    outside = ~((p >= 0) & (p <= 1)) & ~np.isnan(p)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise BundleError(f"{path}: line {first + 2} has probability {float(p[first])!r} — {remedy}")
    for column in kinds:
        table[column] = table[column].astype("category").cat.rename_categories(str)
    return table


def _position(categories: pd.Index, name: object) -> int:
    found = np.flatnonzero(categories.to_numpy() == str(name))
    return int(found[0]) if len(found) else -1


def _fold(
    path: Path,
    columns: Mapping[str, np.ndarray],
    description: Mapping[str, Any],
    models: Sequence[str],
    group: IntArray,
    target: Target,
    records: pd.DataFrame,
    remedy: str,
) -> FoldPredictions:
    order = np.lexsort((columns["class"], columns["unit"], columns["record"], columns["model"]))
    one = {name: column[order] for name, column in columns.items()}
    present = np.unique(one["model"])
    n, n_classes, name = len(order), target.n_classes, description["name"]
    if n % (len(present) * n_classes):
        raise BundleError(f"{path}: fold {name} has not as many rows for each model and class — {remedy}")
    shape = len(present), n // (len(present) * n_classes), n_classes
    record, unit, y, p, classes = (one[c].reshape(shape) for c in ("record", "unit", "y", "p", "class"))
    same = np.array_equal(y, np.broadcast_to(y[:1], shape), equal_nan=True)
    same = same and (record == record[:1, :, :1]).all() and (unit == unit[:1, :, :1]).all()
    if not (same and (classes == np.arange(n_classes)).all()):
        raise BundleError(
            f"{path}: the models of fold {name} do not have the same records, units and labels — {remedy}"
        )
    rows, units = record[0, :, 0], unit[0, :, 0]
    repeated = (rows[1:] == rows[:-1]) & (units[1:] == units[:-1])
    if repeated.any():
        twice = records["record"].iloc[rows[1:][repeated][0]]
        raise BundleError(f"{path}: record {twice} is predicted twice in fold {name} — {remedy}")
    if len(np.unique(rows)) != description["n_test"]:
        raise BundleError(
            f"{path}: fold {name} has {len(np.unique(rows))} records, and summary.json says "
            f"{description['n_test']} — {remedy}"
        )
    chosen = description.get("chosen", {})
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    counts = np.diff(np.append(starts, len(rows)))
    calling = {model: Calling(**how) for model, how in chosen.get("calling", {}).items()}
    said = {models[code]: p[i] for i, code in enumerate(present)}
    return FoldPredictions(
        name=str(name),
        record=rows,
        unit=units,
        group=group[rows],
        y=y[0],
        p=said,
        threshold={m: np.asarray(t, dtype=np.float64) for m, t in chosen.get("thresholds", {}).items()},
        n_train=int(description["n_train"]),
        n_test=int(description["n_test"]),
        levels={m: how.levels(said[m], counts) for m, how in calling.items() if m in said},
    )
