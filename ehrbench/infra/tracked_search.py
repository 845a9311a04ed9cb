"""TrackedSearch: what a tracker (MLflow, …) shows of a search, read from the ledger and the run's folder.

A search is a run, and each of its spent trials is a run below it. All of it can be read again at any time, so
a tracker that was away, or a process that died while it wrote to one, costs nothing: whoever comes next reads
the same and writes what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import count
from typing import Any, Protocol

from ehrbench import metrics
from ehrbench.core.bundle import file_digest
from ehrbench.core.digest import digest
from ehrbench.core.files import CHECKSUMS
from ehrbench.core.ledger import SPENT, StudyKey, TicketRow
from ehrbench.core.run_folder import SUMMARY, RunFolder
from ehrbench.infra.ledger_reader import LedgerReader

#: What ``summary.json`` calls the ensemble among the models.
_ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class Point:
    """A value of a metric. step: an epoch, 0 for what has no course; at: seconds since the epoch."""

    name: str
    value: float
    step: int
    at: float


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker shows it.

    key: the same whenever it is read; parent: another run's key.
    started, ended: seconds since the epoch; None: not known, not yet.
    folder: of a finished search, whose files and bundle go with the run.
    """

    key: str
    name: str
    parent: str | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    points: tuple[Point, ...] = ()
    started: float | None = None
    ended: float | None = None
    failed: bool = False
    folder: RunFolder | None = None

    @cached_property
    def digest(self) -> str:
        """Of all that it shows, by which a tracker knows that it shows it."""
        sealed = None if self.folder is None else file_digest(self.folder / CHECKSUMS)
        points = [(p.name, repr(p.value), p.step, p.at) for p in self.points]
        return digest(dict(self.tags), dict(self.params), points, self.ended, sealed)[:16]


@dataclass(frozen=True)
class TrackedSearch:
    """One search of a ledger.

    identity: tells it from others of its name in other ledgers.
    about: what ``summary.json`` says of a search before anything is found (``app.outputs.described``), or all
        of it.
    folder: once it is finished.
    """

    ledger: LedgerReader
    identity: str
    about: Mapping[str, Any]
    folder: RunFolder | None = None
    _facts: dict[StudyKey, dict[str, Any]] = field(default_factory=dict)

    def finished(self, folder: RunFolder) -> TrackedSearch:
        """The search with what was found, once its folder is whole."""
        return finished_search(self.ledger, self.identity, folder)

    @property
    def name(self) -> str:
        return str(self.about["study_name"])

    @property
    def data(self) -> tuple[str, str, dict[str, int]]:
        """Name, digest and size of what was searched."""
        data = self.about["data"]
        sizes = {"records": int(data["n_records"]), "units": int(data["n_units"])}
        return f"{self.about['task']} {' '.join(data['sets'])}", str(data["digest"]), sizes

    def whole(self) -> TrackedRun:
        """The search's own run: of every model's figures, the ensemble's are those without a name."""
        about = self.about
        tags = self._tags() | {"kind": "search", "data_digest": str(about["data"]["digest"])[:16]}
        tags["git_commit"] = str(about["code"]["git_commit"])
        tags["budget"] = ", ".join(f"{name} {n}" for name, n in about["budget"].items())
        params = {name: str(about[name]) for name in ("protocol", "metric", "seed")}  # a budget may grow
        ended = None if self.folder is None else datetime.fromisoformat(about["created"]).timestamp()
        points = tuple(
            Point(name if model == _ENSEMBLE else f"{model}.{name}", float(result["mean"]), 0, ended or 0.0)
            for model, results in about.get("models", {}).items()
            for name, result in results.items()
            if self.folder is not None and "mean" in result
        )
        return TrackedRun(self.name, self.name, None, tags, params, points, ended=ended, folder=self.folder)

    def began(self) -> float | None:
        """When the first trial did; None before."""
        firsts = (row for key in self.ledger.studies(self.name) for row in self.ledger.tickets(key, 0, 0))
        return min((row.started for row in firsts if row.started is not None), default=None)

    def trials(self, held: Collection[str]) -> Iterator[TrackedRun]:
        """Spent trials, at least those whose keys are not held; of a finished search all, some now chosen."""
        for study in self.ledger.studies(self.name):
            first = 0
            if self.folder is None:
                if self.ledger.spent(study) == sum(key.startswith(f"{study}/") for key in held):
                    continue
                first = next(number for number in count() if _key(study, number) not in held)
            chosen = self._chosen.get((study.model, _fold(study)))
            for row in self.ledger.tickets(study, first):
                if row.state in SPENT:
                    yield self._trial(row, chosen=row.number == chosen)

    @cached_property
    def _chosen(self) -> dict[tuple[str, str], int]:
        """(model, outer fold) -> number of the trial that a finished search has chosen there."""
        folds = self.about["folds"] if self.folder is not None else []
        return {
            (model, fold["name"]): chosen["ticket"]
            for fold in folds
            for model, chosen in fold["chosen"]["models"].items()
        }

    def _tags(self) -> dict[str, str]:
        return {name: str(self.about[name]) for name in ("cohort", "protocol", "task")}

    def _trial(self, row: TicketRow, *, chosen: bool) -> TrackedRun:
        """Parameters, scores by fold and times; of a chosen trial the courses of its fits, by epoch."""
        study = row.study
        if study not in self._facts:
            self._facts[study] = self.ledger.facts(study)
        facts = self._facts[study]
        tags = self._tags() | {"model": study.model, "outer_fold": _fold(study), "state": row.state}
        tags |= {"fold_digest": str(facts["folds"])[:16], "seed": str(row.seed)}
        tags |= {"error": row.error[:500]} if row.error else {}
        tags |= {"chosen": "yes"} if chosen else {}
        metric = f"inner_{metrics.load(facts['metric']).searched.name}"
        values = {"seconds": sum(fit.duration_s for fit in row.fits)}
        for fit in row.counted:  # by name and not by step: folds are no course
            values |= {f"{metric}.fold{fit.fold}": fit.score, f"best_step.fold{fit.fold}": fit.best_step}
        if row.value is not None:
            values[metric] = row.value
        at = row.finished or 0.0
        points = [Point(name, float(value), 0, at) for name, value in values.items()]
        for fit in row.counted if chosen else ():
            for step, course in fit.curve:
                points += [Point(f"{n}.fold{fit.fold}", float(v), step, at) for n, v in course.items()]
        return TrackedRun(
            key=_key(study, row.number),
            name=f"{study.model} fold {_fold(study)} trial {row.number}",
            parent=self.name,
            tags=tags,
            params={"model": study.model, **{n: _plain(v) for n, v in (row.params or {}).items()}},
            points=tuple(points),
            started=row.started,
            ended=row.finished,
            failed=row.state == "failed",
        )


def finished_search(ledger: LedgerReader, identity: str, folder: RunFolder) -> TrackedSearch:
    """The search of a finished run's folder."""
    about = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    return TrackedSearch(ledger, identity, about, folder)


class Tracker(Protocol):
    """Shows searches elsewhere. Used by one thread; one process at a time writes what belongs to a search.

    name: what people call it.
    """

    name: str

    def catch_up(self, search: TrackedSearch) -> None:
        """Write what is missing. Raises whatever is raised where the tracker cannot take it."""
        ...

    def forget(self) -> None:
        """Others may have written meanwhile, or what was written last may be lost: look before writing."""
        ...


def _fold(study: StudyKey) -> str:
    return "all" if study.outer_fold is None else str(study.outer_fold)


def _key(study: StudyKey, number: int) -> str:
    return f"{study}/trial{number}"


def _plain(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float | bool) else json.dumps(value)
