"""Own labels: which values of a person's own label columns mean what, settled once and then kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.target import Kind, Target
from ehrbench.core.types import FloatArray
from ehrbench.tasks.columns import NO, YES
from ehrbench.tasks.numbers import of_text, shown
from ehrbench.tasks.tabular_files import RawTable

#: What predictions of any such label are judged by.
METRICS = (
    *("auroc", "auprc", "brier", "log_loss", "sensitivity", "specificity", "f1", "balanced_accuracy"),
    *("net_benefit", "calibration_slope", "calibration_intercept", "ece"),
)
#: A label has at most so many values.
MOST_CLASSES = 40
#: Texts that name an outcome by themselves.
_OUTCOMES = frozenset({"died", "dead", "death", "deceased", "positive", "pos", "case", "malignant", "event"})


def settled_labels(labels: Sequence[str], positive: str | None, table: RawTable) -> dict[str, Any]:
    """Kind of target, classes, and the number of each value, as a task's settings hold them."""
    values: dict[str, dict[str, int]] = {}
    classes: list[str] = []
    for label in labels:
        texts = sorted({label_text(cell) for cell in table.columns[label].drop_null().unique().to_pylist()})
        if len(texts) < 2:
            problem = f"holds {'one value only, ' + texts[0] if texts else 'no value'}"
            raise DataError(problem, file=table.name, field=label, remedy="name another task.label")
        if len(texts) > (2 if len(labels) > 1 else MOST_CLASSES) and positive is None:
            remedy = "name a column of outcomes, or the value that is one by task.positive"
            raise DataError(f"holds {len(texts):,} values", file=table.name, field=label, remedy=remedy)
        values[label], found = label_values(texts, positive, label)
        classes += found
    kind = "multilabel" if len(labels) > 1 else "multiclass" if len(classes) > 1 else "binary"
    return {"kind": kind, "classes": classes, "values": values}


def target_of(settled: Mapping[str, Any]) -> Target:
    """The target that these settings name."""
    kind: Kind = settled["kind"]
    return Target(kind, tuple(settled["classes"]))


def labels_of(
    table: RawTable, labels: Sequence[str], settled: Mapping[str, Any], target: Target
) -> FloatArray:
    """(N, C) labels of a table's rows, NaN where unknown; DataError for a value training never had."""
    for label in labels:
        if label not in table.columns:
            remedy = "name it by task.label"
            raise DataError("has no such column", file=table.name, field=label, remedy=remedy)
    y = np.full((table.n_rows, target.n_classes), np.nan)
    for place, label in enumerate(labels):
        meant = {k: int(v) for k, v in settled["values"][label].items()}
        coded = table.columns[label].dictionary_encode()
        texts = [label_text(cell) for cell in coded.dictionary.to_pylist()]
        known = ~coded.is_null().to_numpy(zero_copy_only=False)
        codes = coded.indices.fill_null(0).to_numpy(zero_copy_only=False)
        numbers = np.array([meant.get(text, -1) for text in texts] or [-1])[codes]
        for i in np.flatnonzero(known & (numbers < 0))[:1].tolist():
            problem = f"{shown(texts[codes[i]])} is none of {', '.join(meant)}"
            raise table.fault(i, label, problem, "mend it")
        if target.kind == "multiclass":
            y[known] = np.eye(target.n_classes)[numbers[known]]
        else:
            y[known, place] = numbers[known]
    return y


def label_values(
    texts: Sequence[str], positive: str | None, label: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Value -> number of one label column, and the classes: (label,) for two values, else the values.

    Raises ConfigError where it cannot be told which of two is the outcome.
    """
    values = sorted(set(texts), key=lambda t: (of_text(t) is None, of_text(t) or 0.0, t))
    if positive is not None:
        if positive not in values:
            problem = f"{shown(positive)} is none of {', '.join(values)}"
            raise ConfigError("task.positive", problem, f"name a value of {label}")
        return {value: int(value == positive) for value in values}, (label,)
    if len(values) > 2:
        return {value: i for i, value in enumerate(values)}, tuple(values)
    yes = [value for value in values if value.lower() in YES | _OUTCOMES or of_text(value) == 1]
    no = [value for value in values if value.lower() in NO or of_text(value) == 0]
    if not yes and len(no) == 1 and len(values) == 2:
        yes = [value for value in values if value not in no]
    if len(yes) != 1:
        problem = f"of {' and '.join(map(shown, values))} it cannot be told which is the outcome"
        raise ConfigError("task.positive", problem, f"say task.positive={values[-1]}")
    return {value: int(value == yes[0]) for value in values}, (label,)


def label_text(cell: Any) -> str:
    """A label's cell as text: 1 for 1.0, true for True."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
