"""A whole study whose fits only sleep: the real spine and storage, for budgets, crashes and throughput."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from sqlalchemy import select

from ehrbench import metrics
from ehrbench.core.ledger import SPENT, StudyKey
from ehrbench.core.model import FitResult, Member, Model, Watch, silent
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.task import Cohort
from ehrbench.core.types import FloatArray
from ehrbench.infra.artifacts import FileArtifacts
from ehrbench.infra.database import Database
from ehrbench.infra.lease import LeaseKeeper
from ehrbench.infra.ledger import SqlLedger
from ehrbench.infra.schema import fits
from ehrbench.infra.study import Dashboard, optuna_storage
from ehrbench.spine import folds
from ehrbench.spine.dataset import Dataset
from ehrbench.spine.search import Backend, Contender, Search
from ehrbench.spine.space import read_space
from ehrbench.spine.study import Study
from ehrbench.spine.thresholds import ThresholdRule
from tests.runtime.toy import toy_records

KEY = StudyKey("sleep", "toy", "sleeper", 0)
SPACE = {"x": {"type": "float", "low": 0.0, "high": 1.0}, "n": {"type": "int", "low": 1, "high": 9}}


class Sleeper(Model):
    """Sleeps instead of learning; predicts by ``x`` and the record's place. ``began`` is told each fit."""

    def __init__(self, x: float, seconds: float, began: Callable[[int], None]) -> None:
        self.x, self.seconds, self.began = x, seconds, began

    def fit(
        self,
        train: Records,
        valid: Records | None,
        *,
        seed: int,
        steps: int | None = None,
        watch: Watch = silent,
    ) -> FitResult:
        self.began(seed)
        time.sleep(self.seconds)
        return FitResult(1)

    def predict(self, records: Records) -> FloatArray:
        return ((np.arange(len(records)) * 0.37 + self.x) % 1.0)[:, None]

    def save(self, directory: Path) -> None:
        (directory / "x").write_text(repr(self.x))

    def restore(self, directory: Path) -> None:
        self.x = float((directory / "x").read_text())

    def export(self, directory: Path) -> Member:
        raise TypeError("a sleeper is not exported")


@dataclass(frozen=True)
class SleeperBuilder:
    seconds: float
    log: Path
    name: str = "sleeper"

    def __call__(self, params: dict[str, Any]) -> Model:
        return Sleeper(params["x"], self.seconds, self._note)

    def _note(self, seed: int) -> None:
        with self.log.open("a") as file:
            file.write(f"{seed} {time.time()} {os.getpid()}\n")

    def settings(self) -> dict[str, Any]:
        return {}

    def defaults(self) -> dict[str, Any]:
        return {}


def sleeping_study(
    database: Database,
    folder: Path,
    *,
    n_trials: int,
    n_folds: int = 2,
    seconds: float = 0.05,
    lease_s: float = 60.0,
    worker: str = "w",
    space: Mapping[str, Mapping[str, Any]] = SPACE,
) -> Study:
    """A study of ``n_folds`` fits a trial, each of which sleeps ``seconds``; fits are noted in folder/log."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ledger = SqlLedger(database.engine, FileArtifacts(folder / "artifacts"), lease_s, max_attempts=50)
    storage = optuna_storage(database)
    records = toy_records([np.full((1, 3), i, dtype=np.float32) for i in range(80)])
    y = (np.arange(80) % 3 == 0).astype(float)[:, None]
    cohort = Cohort(
        Records(records.ids, records.groups, records.payload, records.n_units, target=y),
        ("s",),
        flow={"read": 80},
        set_of=np.repeat("s", 80),
    )
    backend = Backend(
        ledger=ledger,
        hold_lease=lambda claim: LeaseKeeper(ledger, claim, lease_s),
        make_sampler=lambda seed: optuna.samplers.TPESampler(seed=seed, constant_liar=True),
        pruner=optuna.pruners.NopPruner(),
        publish=lambda *what: Dashboard(storage, database.engine, ledger, *what),
        worker=worker,
    )
    search = Search(
        study_name=KEY.study_name,
        task=KEY.task,
        target=Target("binary", ("death",)),
        dataset=Dataset(cohort),
        split=folds.nested(cohort.records, 2, n_folds, 0, "nested"),
        contenders={
            "sleeper": Contender(
                SleeperBuilder(seconds, folder / "log"), read_space(space, "space"), space, n_trials
            )
        },
        metric=metrics.load("auroc"),
        race=None,
        ensemble={},
        threshold=ThresholdRule("f1"),
        refit="inner",
        seed=0,
        backend=backend,
    )
    return search.study("sleeper", search.split.outer[0])


def check_exact(study: Study, log: Path, n_folds: int) -> None:
    """Exactly the budget is spent, complete trials have all their fits, and none was trained once it was in.

    A fit's seed names its trial and fold; the log has the times at which fits began, the ledger those at
    which they were recorded, by the clock of one machine.
    """
    ledger = study.setting.ledger
    assert isinstance(ledger, SqlLedger)
    rows = ledger.tickets(study.key)
    assert [row.number for row in rows] == list(range(study.n_trials))
    assert {row.state for row in rows} <= SPENT
    assert all(len(row.fits) == n_folds for row in rows if row.state == "complete")
    query = select(fits.c.seed, fits.c.recorded)
    with ledger.engine.connect() as connection:
        recorded = {row.seed: row.recorded for row in connection.execute(query)}
    began = [line.split() for line in log.read_text().splitlines()]
    late = [seed for seed, at, _ in began if float(at) > recorded.get(int(seed), math.inf)]
    assert late == []
