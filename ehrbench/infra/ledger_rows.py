"""Between the ledger's rows and the words of ``ehrbench.core.ledger``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement

from ehrbench.core.errors import ConfigError, StudyMismatch
from ehrbench.core.ledger import Fit, StudyKey, Ticket, TicketRow
from ehrbench.infra.schema import NAME_LENGTH, studies

_ABSENT = "absent"
#: Differences told by name.
MOST = 5
#: Facts that are digests, which tell people nothing: what is other, and the keys or place it comes from.
_DIGESTS = {
    "data": "other records or labels (see data and task)",
    "folds": "other folds of the same records (see protocol and seed)",
    "model.code": "another version of ehrbench's features, nets, models or metrics (see git log)",
}
#: Facts that hold a digest of each module that a study uses.
_CODE = ("model.code.", "search.code.")


def columns_of(key: StudyKey) -> dict[str, Any]:
    return {
        "study_name": key.study_name,
        "task": key.task,
        "model": key.model,
        "outer_fold": -1 if key.outer_fold is None else key.outer_fold,
    }


def is_study(key: StudyKey) -> list[ColumnElement[bool]]:
    return [studies.c[name] == value for name, value in columns_of(key).items()]


def study_of(row: Any) -> StudyKey:
    return StudyKey(row.study_name, row.task, row.model, None if row.outer_fold < 0 else row.outer_fold)


def ticket_of(key: StudyKey, row: Any, worker: str) -> Ticket:
    params = None if row.params is None else json.loads(row.params)
    return Ticket(key, row.number, row.token, worker, row.attempt, params, row.seed)


def fit_of(row: Any) -> Fit:
    return Fit(
        fold=row.fold,
        seed=row.seed,
        score=float("nan") if row.score is None else row.score,
        best_step=row.best_step,
        duration_s=row.duration_s,
        predictions=row.predictions,
        model=row.model,
        fold_digest=row.fold_digest,
        curve=tuple((step, values) for step, values in json.loads(row.curve)),
        steps={int(at): value for at, value in json.loads(row.steps or "{}").items()},
    )


def row_of(key: StudyKey, row: Any, fits: Sequence[Fit]) -> TicketRow:
    return TicketRow(
        study=key,
        number=row.number,
        state=row.state,
        attempt=row.attempt,
        worker=row.worker,
        params=None if row.params is None else json.loads(row.params),
        seed=row.seed,
        value=row.value,
        error=row.error,
        started=row.started,
        finished=row.finished,
        fits=tuple(fits),
        sampler_state=json.loads(row.sampler_state or "{}"),
        judged=row.judged,
    )


def check_key(key: StudyKey) -> None:
    """Raise ConfigError for names that do not fit the tables' keys: printable ASCII, at most 120 letters."""
    for name, text in (("study_name", key.study_name), ("task", key.task), ("model", key.model)):
        if not text or len(text) > NAME_LENGTH or not text.isascii() or not text.isprintable():
            raise ConfigError(
                name,
                f"{text!r} is not usable",
                f"take 1 to {NAME_LENGTH} printable ASCII letters, digits, signs",
            )


def check_facts(key: StudyKey, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise StudyMismatch that says how the stored study and the given one differ: up to five values by name,
    and digests in words."""
    before, after = dict(_leaves(stored)), dict(_leaves(given))
    differ = {n for n in before.keys() | after.keys() if before.get(n, _ABSENT) != after.get(n, _ABSENT)}
    told = [_DIGESTS[n] for n in _DIGESTS if n in differ and not (n == "folds" and "data" in differ)]
    code = {name.removeprefix(part) for name in differ for part in _CODE if name.startswith(part)}
    if code and "model.code" not in differ:  # else of a version that had one digest for all
        told.append(f"other code of {_some(sorted(code))} (see git log)")
    names = sorted(name for name in differ - _DIGESTS.keys() if not name.startswith(_CODE))
    told += [f"{n} was {_short(before, n)}, now {_short(after, n)}" for n in names[:MOST]]
    if len(names) > MOST:
        told.append(f"and {len(names) - MOST} more")
    raise StudyMismatch(
        f"study {key} exists with {'; '.join(told) or 'something other that it does not name'} — "
        f"take another study_name, or restore what has changed"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name))
    else:
        yield path, value


def _short(leaves: Mapping[str, Any], name: str) -> str:
    text = json.dumps(leaves[name]) if name in leaves else _ABSENT
    return text if len(text) <= 60 else f"{text[:57]}..."
