"""The finished procedure of one outer fold: chosen trials, their models, the ensemble, the threshold.

Everything is decided on inner out-of-fold predictions. The outer test sees only the result, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ehrbench.core.calling import Calling
from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import FitError
from ehrbench.core.ledger import TicketRow
from ehrbench.core.metric import Metric
from ehrbench.core.model import Model
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.ensemble import Ensemble
from ehrbench.spine.folds import OuterFold
from ehrbench.spine.latency import trial_ms
from ehrbench.spine.study import Study
from ehrbench.spine.thresholds import ThresholdRule
from ehrbench.spine.trial import TrialSetting, check_predictions, out_of_fold, restore_model

ENSEMBLE_NAME = "ensemble"
#: Outer-test records that are asked about again, each alone; how far off, as a share of the model's spread.
ALONE, APART = 8, 0.01


@dataclass(frozen=True)
class Chosen:
    """One model as an outer fold chose it, with its out-of-fold view of the training records."""

    study: Study
    row: TicketRow
    out_of_fold: FloatArray  # (U, C), units of the fold's out-of-fold records in inner-fold order

    @property
    def name(self) -> str:
        return self.study.key.model

    @property
    def latency_ms(self) -> float | None:
        """Of a record's answer, where it was measured."""
        return trial_ms(self.study.setting.ledger, self.study.key, self.row.number)

    def models(self, refit: str) -> list[Model]:
        """The fitted models that predict for this one: one an inner fold, or one refitted on all of them."""
        setting, params = self.study.setting, dict(self.row.params or {})
        if refit == "full":
            return [self._refit(params)]
        fits = sorted(self.row.fits, key=lambda f: f.fold)
        return [
            restore_model(setting.ledger, fit.model, setting.builder, params) for fit in fits if fit.model
        ]

    def _refit(self, params: Mapping[str, Any]) -> Model:
        setting = self.study.setting
        model = setting.builder(dict(params))
        steps = int(np.median([fit.best_step for fit in self.row.fits]))
        train = setting.dataset.open(setting.fold, "fit", setting.fold.train)
        model.fit(
            train, None, seed=derive_seed(setting.seed, "refit", self.name, setting.fold.name), steps=steps
        )
        return model


@dataclass(frozen=True)
class Decided:
    """All that one outer fold has decided before it looks at its test records."""

    chosen: tuple[Chosen, ...]
    ensemble: Ensemble
    thresholds: Mapping[str, FloatArray]  # model or ensemble -> (C,)
    calling: Mapping[str, Calling]  # model or ensemble -> how its calls are mended along a record
    given: Mapping[str, str]  # class whose threshold could not be chosen -> why
    index: IntArray  # out-of-fold records, in inner-fold order
    out_of_fold: Mapping[str, FloatArray]  # model or ensemble -> (U, C)

    @property
    def setting(self) -> TrialSetting:
        """What its studies share: fold, data, seed, ledger."""
        return self.chosen[0].study.setting

    @property
    def fold(self) -> OuterFold:
        return self.setting.fold

    @property
    def combined(self) -> list[Chosen]:
        """Those that the ensemble is made of."""
        return [c for c in self.chosen if c.name in self.ensemble.combiner.models]

    def fitted(self, target: Target, refit: str) -> Fitted:
        """The same with its models in memory, ready to predict."""
        return Fitted({c.name: c.models(refit) for c in self.chosen}, self.ensemble, target)


@dataclass(frozen=True)
class Fitted:
    """A decided procedure that predicts: each model is the mean of its fits, the ensemble combines them."""

    models: Mapping[str, Sequence[Model]]
    ensemble: Ensemble
    target: Target

    def predict(self, records: Records) -> dict[str, FloatArray]:
        """Model or ensemble -> probabilities (U, C) of the records' units."""
        shape = (records.total_units, self.target.n_classes)
        return self.combined(
            {
                name: np.mean([check_predictions(m.predict(records), shape, name) for m in models], axis=0)
                for name, models in self.models.items()
            }
        )

    def combined(self, by_model: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Each model's mean (U, C), and the ensemble's of them."""
        scores = {name: self.target.scores(p) for name, p in by_model.items()}
        return dict(by_model) | {ENSEMBLE_NAME: self.ensemble.predict(scores)}


@dataclass(frozen=True)
class Tested:
    """Probabilities (U, C) of the outer-test units, by model and for the ensemble."""

    index: IntArray
    probabilities: Mapping[str, FloatArray]


def decide(
    studies: Sequence[Study],
    target: Target,
    options: Mapping[str, Any],
    rule: ThresholdRule,
    *,
    ordered: bool = False,
) -> Decided:
    """Choose trials, ensemble, calibration and thresholds from the inner folds of one outer fold.

    ordered: a record's units follow each other, so that calls may be mended along it.
    """
    first = studies[0].setting
    index = np.concatenate([inner.valid for inner in first.fold.inner])
    chosen, fold = [], np.zeros(0, dtype=np.int64)
    for study in studies:
        row = study.best()
        p, fold = out_of_fold(study.setting, row)
        chosen.append(Chosen(study, row, p))
    records = first.dataset.open(first.fold, "stack", index)
    y, group = records.labels, records.groups[records.unit_record]
    first.dataset.open(first.fold, "calibrate", index)
    first.dataset.open(first.fold, "threshold", index)
    scores = {c.name: target.scores(c.out_of_fold) for c in chosen}
    seed = derive_seed(first.seed, "ensemble", first.fold.name)
    arguments: dict[str, Any] = {"target": target, "fold": fold, "group": group, "seed": seed}
    candidates = [
        Ensemble(**options).fit({name: scores[name] for name in names}, y, **arguments)
        for names in _in_time(chosen)
    ]
    ensemble = min(candidates, key=lambda one: one.loss)
    out = {c.name: c.out_of_fold for c in chosen} | {ENSEMBLE_NAME: ensemble.out_of_fold}
    if ordered:
        counts = first.dataset.cohort.records.n_units[index]
        found = {name: rule.choose_calling(y, p, target, counts) for name, p in out.items()}
    else:
        found = {name: (Calling(), rule.choose(y, p, target)) for name, p in out.items()}
    calling = {name: how for name, (how, _) in found.items()}
    thresholds = {name: cuts for name, (_, cuts) in found.items()}
    return Decided(tuple(chosen), ensemble, thresholds, calling, rule.given(y, target), index, out)


def _in_time(chosen: Sequence[Chosen]) -> list[tuple[str, ...]]:
    """Sets of models that an ensemble may be made of: all of them, where nothing limits its latency."""
    limit = chosen[0].study.setting.latency
    if limit is None:
        return [tuple(c.name for c in chosen)]
    return limit.affordable({c.name: c.latency_ms or 0.0 for c in chosen})


def test(decided: Decided, target: Target, refit: str) -> Tested:
    """Let the finished procedure predict its outer test; FitError where a record alone is another one."""
    setting = decided.setting
    records = setting.dataset.open(setting.fold, "test", setting.fold.test).without_labels()
    fitted = decided.fitted(target, refit)
    probabilities = fitted.predict(records)
    _check_alone(fitted, records, probabilities, setting)
    return Tested(setting.fold.test, probabilities)


def _check_alone(
    fitted: Fitted, records: Records, among: Mapping[str, FloatArray], setting: TrialSetting
) -> None:
    """Ask again about a few records, one by one: what rests on others, or on what was asked before, shows.

    Coarsely, by the spread of what the model says: arithmetic of other batches is allowed for, and ranks are
    not. ``ehrbench certify --predictions`` is exact.
    """
    rng = np.random.default_rng(derive_seed(setting.seed, "alone", setting.fold.name))
    for n in rng.permutation(len(records))[:ALONE]:
        units = records.units_of(np.array([n]))
        for model, p in fitted.predict(records.take(np.array([n]))).items():
            bound = max(APART * float(np.ptp(among[model])), 1e-5)
            if model != ENSEMBLE_NAME and not np.allclose(p, among[model][units], rtol=0, atol=bound):
                worst = np.abs(p - among[model][units]).argmax()
                said, alone = among[model][units].flat[worst], p.flat[worst]
                raise FitError(
                    f"outer fold {setting.fold.name}: {model} predicts record {records.ids[n]} as {said:.6f} "
                    f"among others and as {alone:.6f} alone — a prediction may rest on its record only: mend "
                    "the model or its featurizer, and search again"
                )


def describe(decided: Decided, metric: Metric) -> dict[str, Any]:
    """What was decided, JSON-like, for the summary and the report."""
    return {
        "models": {
            c.name: {
                "ticket": c.row.number,
                "params": dict(c.row.params or {}),
                f"inner_{metric.name}": c.row.value,
                "inner_by_fold": [fit.score for fit in sorted(c.row.fits, key=lambda f: f.fold)],
                "best_steps": [fit.best_step for fit in sorted(c.row.fits, key=lambda f: f.fold)],
                **({} if c.latency_ms is None else {"latency_ms": c.latency_ms}),
            }
            for c in decided.chosen
        },
        "ensemble": decided.ensemble.choices(),
        "thresholds": {name: t.tolist() for name, t in decided.thresholds.items()},
        "calling": {name: asdict(how) for name, how in decided.calling.items() if not how.plain},
        "thresholds_given": dict(decided.given),
    }
