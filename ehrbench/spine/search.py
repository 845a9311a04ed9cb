"""A search: one study for each model and outer fold, then the finished procedure on each outer test.

Any number of workers run the same search on one ledger. Each takes studies that nobody else works on first,
so that a study is searched in sequence as long as there are enough studies, and helps with the rest after:
first by whole trials, then, when no ticket is left to claim, by single fits of trials that others run.
Everything after the studies is computed from the ledger alone, so any worker may do it, at any later time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna

from ehrbench.core.digest import digest
from ehrbench.core.errors import FitError, UndefinedMetric
from ehrbench.core.ledger import HoldLease, Ledger, StudyKey
from ehrbench.core.metric import Metric
from ehrbench.core.model import Builder
from ehrbench.core.progress import Progress
from ehrbench.core.target import Target
from ehrbench.spine.dataset import Dataset
from ehrbench.spine.folds import OuterFold, Split
from ehrbench.spine.latency import AnswerLimit
from ehrbench.spine.procedure import Decided, Tested, decide, test
from ehrbench.spine.race import Race
from ehrbench.spine.space import Space
from ehrbench.spine.study import MakeSampler, Publish, Study
from ehrbench.spine.thresholds import ThresholdRule
from ehrbench.spine.total import Total
from ehrbench.spine.trial import POLL_S, TrialSetting


@dataclass(frozen=True)
class Contender:
    """One model of a search: how to build it, what to try, how often."""

    builder: Builder
    space: Space
    space_settings: Mapping[str, Any]
    n_trials: int
    portfolio: Sequence[Mapping[str, Any]] = ()  # settings that the first trials try, see ``Study``

    def outside(self) -> dict[str, Any]:
        """The model's own settings that its space cannot suggest: a first trial draws others instead."""
        own = self.builder.defaults()
        asked = [p.name for p in self.space.parameters if p.name in own and p.applies(own)]
        held = self.space.within(own)
        return {name: own[name] for name in asked if name not in held}


@dataclass(frozen=True)
class Backend:
    """Where a search keeps itself; the spine knows none of these by name.

    publish: makes what shows a study elsewhere, given its key, space and whether more is better.
    """

    ledger: Ledger
    hold_lease: HoldLease
    make_sampler: MakeSampler
    pruner: optuna.pruners.BasePruner
    publish: Callable[[StudyKey, Space, bool], Publish]
    worker: str


@dataclass(frozen=True)
class Conclusion:
    """What a search found: for each outer fold what was decided and what the test records got."""

    decided: Sequence[Decided]
    tested: Sequence[Tested]
    final: Decided

    @property
    def every(self) -> list[Decided]:
        """What the outer folds decided, and what the bundle did where that is none of them."""
        return [*self.decided, *([] if self.final in self.decided else [self.final])]


@dataclass(frozen=True)
class Search:
    """All that shapes a search's figures, and the backend, which does not."""

    study_name: str
    task: str
    target: Target
    dataset: Dataset
    split: Split
    contenders: Mapping[str, Contender]
    metric: Metric
    race: Race | None
    ensemble: Mapping[str, Any]
    threshold: ThresholdRule
    refit: str
    seed: int
    backend: Backend
    settings: Mapping[str, Any] = field(default_factory=dict)  # of sampler and pruner, for the digest
    ordered: bool = False  # see core.task.Task
    latency: AnswerLimit | None = None

    def study(self, model: str, fold: OuterFold) -> Study:
        """Open one study; StudyMismatch when it exists with other data, folds, space, metric or trainer."""
        contender, ledger = self.contenders[model], self.backend.ledger
        key = StudyKey(self.study_name, self.task, model, fold.index)
        searched = self.metric.searched
        maximize = searched.greater_is_better
        facts = self._facts(contender, fold)
        ledger.open_study(key, digest(facts), facts)
        setting = TrialSetting(
            key=key,
            dataset=self.dataset,
            fold=fold,
            builder=contender.builder,
            target=self.target,
            metric=searched,
            threshold=self.threshold,
            race=self.race,
            ledger=ledger,
            seed=self.seed,
            latency=self.latency,
        )
        return Study(
            setting=setting,
            space=contender.space,
            portfolio=contender.portfolio,
            n_trials=contender.n_trials,
            memory=optuna.create_study(
                direction="maximize" if maximize else "minimize", pruner=self.backend.pruner
            ),
            make_sampler=self.backend.make_sampler,
            hold_lease=self.backend.hold_lease,
            publish=self.backend.publish(key, contender.space, maximize),
            worker=self.backend.worker,
        )

    def _facts(self, contender: Contender, fold: OuterFold) -> dict[str, Any]:
        """What shapes a study's scores, by name, so that a mismatch can say what differs."""
        return {
            "data": self.dataset.digest,
            "folds": fold.digest,
            **{f"model.{name}": value for name, value in contender.builder.settings().items()},
            "space": dict(contender.space_settings),
            "portfolio": [dict(settings) for settings in contender.portfolio],
            "metric": self.metric.name,
            "threshold": str(self.threshold) if self.metric.needs_threshold else None,
            "search": dict(self.settings),
            "race_blocks": None if self.race is None else self.race.blocks,
            "seed": self.seed,
            **({"latency_ms": self.latency.limit_ms} if self.latency else {}),
            **({"unscored": self.target.unscored} if self.target.unscored else {}),
        }

    def spend(self, progress: Progress) -> None:
        """Spend every study's budget, together with whatever other workers there are."""
        studies = [self.study(model, fold) for fold in self.split.all_folds for model in self.contenders]
        with progress.step("whole search", sum(study.n_fits for study in studies)) as bar:
            total = Total(progress, bar, lambda: sum(study.n_fits_spent() for study in studies))
            left = studies
            while left := [study for study in left if not study.spent()]:
                quiet_first = sorted(left, key=Study.busy)  # stable: in order of folds where nobody works
                worked = any(study.run(total) for study in quiet_first)
                if not worked and not any(study.help(total) for study in left):
                    time.sleep(POLL_S)
                total.look()

    def conclude(self, progress: Progress) -> Conclusion:
        """From spent studies to test predictions and the procedure that becomes the bundle."""
        decided, tested = [], []
        folds = self.split.all_folds
        for fold in folds:  # again, for a worker that died between the last ticket and its copy
            for model in self.contenders:
                self.study(model, fold).publish(last=True)
        with progress.step("ensembles and outer tests", len(folds)) as step:
            for fold in folds:
                decision = self.decide(fold)
                decided.append(decision)
                if fold.index is not None:
                    tested.append(test(decision, self.target, self.refit))
                step.advance()
        self.dataset.persist(self.backend.ledger, self.study_name)
        final = decided[folds.index(self.split.final)]
        outer = [d for d, fold in zip(decided, folds, strict=True) if fold.index is not None]
        return Conclusion(outer, tested, final)

    def decide(self, fold: OuterFold) -> Decided:
        """The procedure of one outer fold whose studies are spent; FitError where it cannot be decided."""
        studies = [self.study(model, fold) for model in self.contenders]
        try:
            return decide(studies, self.target, self.ensemble, self.threshold, ordered=self.ordered)
        except UndefinedMetric as error:
            raise FitError(f"outer fold {fold.name}: {error}") from error

    def forget_losers(self) -> None:
        """Drop the fitted models of trials that were not chosen; their predictions and scores stay.

        Equal fits have one artifact, so what another study has chosen, or another search holds, is kept.
        """
        ledger = self.backend.ledger
        studies = [self.study(model, fold) for fold in self.split.all_folds for model in self.contenders]
        rows = [row for study in studies for row in ledger.tickets(study.key)]
        models = {fit.model for row in rows for fit in row.fits if fit.model}
        chosen = {fit.model for study in studies for fit in study.best().fits}
        for lost in models - chosen - ledger.models_elsewhere(self.study_name):
            ledger.artifacts.drop(lost)
