"""Folds of a trial that are trained as one: recorded as they end, judged in order, resumed in the middle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from ehrbench.core.errors import FitError
from ehrbench.core.model import FitResult, Model, PlannedFit
from ehrbench.core.progress import SILENT
from ehrbench.models.logistic import Logistic
from ehrbench.spine.search import Search
from tests.spine.test_study import Wrapping, values, wired

RACED = ("n_trials=12", "sampler.n_startup_trials=3", "pruner=race", "pruner.least_chance=0.49")


class Abreast(Logistic):
    """Fits that end last to first, or in their order. ``told``: what was planned, ended and left off."""

    told: ClassVar[list[tuple[str, Any]]] = []
    faults: ClassVar[dict[int, BaseException]] = {}  # number of a fit over all -> what it raises instead
    in_order = False

    @property
    def trains_together(self) -> bool:
        return True

    @classmethod
    def fit_together(cls, fits: Sequence[PlannedFit]) -> Iterator[tuple[int, FitResult | FitError]]:
        cls.told.append(("planned", [fit.seed for fit in fits]))
        left = len(fits)
        try:
            for at in sorted(range(left), reverse=not cls.in_order):
                fault = cls.faults.get(sum(what == "ended" for what, _ in cls.told))
                if fault is not None and not isinstance(fault, FitError):
                    raise fault
                cls.told.append(("ended", fits[at].seed))
                left -= 1
                yield at, fits[at].run() if fault is None else fault
        finally:
            cls.told.append(("left", left))


class AbreastBuilder(Wrapping):
    def __init__(self, inner: Any) -> None:
        self.inner, self.name = inner, inner.name

    def __call__(self, params: dict[str, Any]) -> Model:
        model = self.inner(params)
        model.__class__ = Abreast
        return model


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Abreast, "told", [])
    monkeypatch.setattr(Abreast, "faults", {})


def abreast(search: Search) -> Search:
    contender = search.contenders["logistic"]
    return replace(
        search, contenders={"logistic": replace(contender, builder=AbreastBuilder(contender.builder))}
    )


def rows_of(search: Search) -> list[Any]:
    study = search.study("logistic", search.split.outer[0])
    return [
        (
            row.number,
            row.state,
            row.value,
            row.params,
            [(f.fold, f.score, f.predictions) for f in row.counted],
        )
        for row in search.backend.ledger.tickets(study.key)
    ]


def run(search: Search) -> list[Any]:
    search.study("logistic", search.split.outer[0]).run(SILENT)
    return rows_of(search)


def seeds(search: Search, ticket: int, *folds: int) -> list[int]:
    setting = search.study("logistic", search.split.outer[0]).setting
    return [setting.fit_seed(ticket, fold) for fold in folds]


def test_all_folds_at_once_give_the_trials_that_one_after_another_gives(tmp_path):
    """The race among them: it is judged fold by fold in their order, whichever ended first."""
    together = abreast(wired(tmp_path / "together", *RACED, metric="log_loss").search)
    alone = wired(tmp_path / "alone", *RACED, metric="log_loss").search
    assert run(together) == run(alone)
    assert {state for _, state, _ in values(together)} == {"complete", "pruned"}
    assert [len(found) for what, found in Abreast.told if what == "planned"] == [4] * 12


def test_a_lost_race_ends_what_still_trains(tmp_path, monkeypatch):
    """Here in the order of folds, so that the race is lost with some still to come."""
    monkeypatch.setattr(Abreast, "in_order", True)
    search = abreast(wired(tmp_path, *RACED, metric="log_loss").search)
    rows = run(search)
    left = [n for what, n in Abreast.told if what == "left"]
    pruned = [row for row in rows if row[1] == "pruned"]
    assert pruned
    assert [4 - len(row[4]) for row in rows] == left


def test_a_crash_in_the_middle_keeps_what_has_ended(tmp_path):
    search = abreast(wired(tmp_path / "together", "n_trials=2").search)
    Abreast.faults = {2: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        run(search)
    study = search.study("logistic", search.split.outer[0])
    (row,) = search.backend.ledger.tickets(study.key)
    assert (row.state, sorted(fit.fold for fit in row.fits)) == ("free", [2, 3])
    Abreast.told.clear()
    Abreast.faults = {}
    assert run(search) == run(wired(tmp_path / "alone", "n_trials=2").search)
    planned = [found for what, found in Abreast.told if what == "planned"]
    assert planned == [seeds(search, 0, 0, 1), seeds(search, 1, 0, 1, 2, 3)]


def test_a_fault_is_its_own_folds_and_ends_the_trial_in_its_turn(tmp_path):
    """The folds beside it are kept; trained alone in its turn, it fails again."""
    search = abreast(wired(tmp_path, "n_trials=1").search)
    Abreast.faults = {1: FitError("loss is NaN"), 4: FitError("loss is NaN again")}
    run(search)
    study = search.study("logistic", search.split.outer[0])
    (row,) = search.backend.ledger.tickets(study.key)
    assert (row.state, row.error) == ("failed", "loss is NaN again")
    assert sorted(fit.fold for fit in row.fits) == [0, 1, 3]


def test_nobody_helps_with_folds_that_are_trained_as_one(tmp_path, monkeypatch):
    search = abreast(wired(tmp_path, "n_trials=1").search)
    helper = wired(tmp_path).search
    helped, fit = [], Logistic.fit

    def asked(*args: Any, **kwargs: Any) -> Any:
        helped.append(helper.study("logistic", helper.split.outer[0]).help(SILENT))
        return fit(*args, **kwargs)

    monkeypatch.setattr(Logistic, "fit", asked)
    run(search)
    assert helped == [False] * 4
    assert [state for _, state, _ in values(search)] == ["complete"]
