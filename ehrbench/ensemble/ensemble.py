"""Ensemble: a combiner and a calibrator, both chosen by cross-fitting over the inner folds.

For each inner fold j every candidate combiner is fitted on the other folds and predicts j; the calibrator
that judges there is fitted on predictions which combiners, fitted with a further fold i left out, made of
that fold i. So nothing is judged on what it, or anything below it, was fitted on. Combiners are compared
each after the calibrator it does best with, identity among them (a combiner that is off by a shift is not a
worse combiner, and one that a calibrator spoils need not have it). The combiner of least log loss is taken:
each is held back already, and preferring a simple one within noise was seen to throw the gain of combining
away, which is of the size of that noise. Of its calibrators the simplest within one standard error is taken,
over groups: units of one patient or recording are not independent. Both are then fitted again on everything:
the combiner on all out-of-fold scores, the calibrator on its cross-fitted predictions.

``out_of_fold`` (U, C) keeps the cross-fitted, calibrated predictions of the chosen pair, for the
thresholds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from ehrbench.core.errors import BundleError, ConfigError, FitError, check_once
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.ensemble._base import Calibrator, Combiner, Scores, unit_loss
from ehrbench.ensemble._choice import Choice, compare
from ehrbench.ensemble._crossfit import cross_fit
from ehrbench.ensemble.best_member import BestMember
from ehrbench.ensemble.greedy_selection import GreedySelection
from ehrbench.ensemble.identity import Identity
from ehrbench.ensemble.isotonic import Isotonic
from ehrbench.ensemble.linear_stack import LinearStack
from ehrbench.ensemble.mean import Mean
from ehrbench.ensemble.platt import Platt
from ehrbench.ensemble.temperature import Temperature

FORMAT = 1
#: Simplest first: of candidates that are equally good the first is taken.
COMBINERS: dict[str, type[Combiner]] = {c.name: c for c in (Mean, BestMember, GreedySelection, LinearStack)}
CALIBRATORS: dict[str, type[Calibrator]] = {c.name: c for c in (Identity, Temperature, Platt, Isotonic)}


class Ensemble:
    """Fitted by ``fit`` or ``from_json``; then ``predict`` is a function of the members' scores.

    combiners, calibrators: names of the candidates. Of one member there is nothing to combine, and the first
        combiner is taken; of one fold nothing can be chosen or learned, and it is the mean, as it is.
    """

    target: Target
    combiner: Combiner
    calibrator: Calibrator
    out_of_fold: FloatArray
    #: Cross-fitted log loss of what was chosen; NaN where nothing could be.
    loss: float = float("nan")

    def __init__(
        self,
        combiners: Sequence[str] = ("mean", "best_member", "greedy_selection", "linear_stack"),
        calibrators: Sequence[str] = ("identity", "temperature", "platt", "isotonic"),
    ) -> None:
        _check("ensemble.combiners", combiners, COMBINERS)
        _check("ensemble.calibrators", calibrators, CALIBRATORS)
        self.combiners, self.calibrators = tuple(combiners), tuple(calibrators)

    def fit(
        self,
        scores: Scores,
        y: FloatArray,
        *,
        target: Target,
        fold: IntArray,
        group: np.ndarray[Any, Any] | None = None,
        seed: int = 0,
    ) -> Self:
        """Choose and fit on out-of-fold predictions.

        scores: model -> (U, C) out-of-fold scores (``Target.scores``); y: (U, C) labels, NaN unknown; fold:
        (U,) the inner fold whose held-out part each unit was; group: (U,) what each unit belongs to, the
        patient or recording, whose units are not independent (None: each unit by itself). Where units of one
        group are many, ``fold`` must keep them together, as the inner folds do.

        Raises FitError for scores that are missing, of another shape or not finite, and where no label is
        known.
        """
        y, fold = np.asarray(y, dtype=np.float64), np.asarray(fold)
        scores = {name: np.asarray(z, dtype=np.float64) for name, z in scores.items()}
        _check_scores(scores, y, fold)
        self.target = target
        group = np.arange(len(y)) if group is None else np.unique(group, return_inverse=True)[1].ravel()
        arguments: dict[str, Any] = {"target": target, "fold": fold, "group": group, "seed": seed}
        self._facts: dict[str, Any] = {
            "models": list(scores),
            "n_units": len(y),
            "n_groups": len(np.unique(group)),
            "n_folds": len(np.unique(fold)),
        }
        if len(np.unique(fold)) < 2:
            self._take_first(scores, y, arguments, "one inner fold only, so nothing can be cross-fitted")
            return self
        candidates = self.combiners if len(scores) > 1 else self.combiners[:1]
        fits = [cross_fit(COMBINERS[c], scores, y, **arguments) for c in candidates]
        calibrated = [[fit.calibrated(CALIBRATORS[c]) for c in self.calibrators] for fit in fits]
        losses = np.array([[unit_loss(y, p, target) for p in each] for each in calibrated])  # (K, L, U)
        by_combiner = [compare(each, group) for each in losses]
        best = [choice.lowest for choice in by_combiner]
        between = compare(losses[np.arange(len(fits)), best], group)
        chosen, simplest = between.lowest, by_combiner[between.lowest].simplest
        self._facts |= {
            "combiners": _table(candidates, between, calibrator=[self.calibrators[at] for at in best]),
            "calibrators": _table(self.calibrators, by_combiner[chosen]),
        }
        self.loss = float(losses[chosen, simplest][~np.isnan(losses[chosen, simplest])].mean())
        self.out_of_fold = calibrated[chosen][simplest]
        self.combiner = COMBINERS[candidates[chosen]]().fit(scores, y, **arguments)
        calibrator = CALIBRATORS[self.calibrators[simplest]]()
        self.calibrator = calibrator.fit(fits[chosen].held, y, target=target, group=group)
        return self

    def _take_first(self, scores: Scores, y: FloatArray, arguments: dict[str, Any], reason: str) -> None:
        self.combiner = Mean().fit(scores, y, **arguments)
        self.calibrator = Identity().fit(self.combiner.predict(scores), y, target=self.target)
        self.out_of_fold = self.combiner.predict(scores)  # nothing was learned from these labels
        self._facts |= {"reason": reason}

    def predict(self, scores: Scores) -> FloatArray:
        """(U, C) calibrated probabilities of the members' scores (U, C); BundleError for a member missing."""
        return self.calibrator.apply(self.combiner.predict(scores))

    def choices(self) -> dict[str, Any]:
        """What was chosen, against what, by how much: JSON-like, for reports.

        ``combiners`` and ``calibrators``: name -> cross-fitted log loss, its excess over the best candidate
        and the standard error of that excess over groups; of a combiner after the ``calibrator`` named there;
        ``state``: the fitted combiner's own (weights).
        """
        return self._facts | {
            "combiner": self.combiner.name,
            "calibrator": self.calibrator.name,
            "state": self.combiner.to_json(),
        }

    def to_json(self) -> str:
        """The fitted ensemble as the bundle's ``ensemble.json``."""
        state = {
            "format": FORMAT,
            "target": {"kind": self.target.kind, "classes": list(self.target.classes)},
            "combiner": {"name": self.combiner.name, "state": self.combiner.to_json()},
            "calibrator": {"name": self.calibrator.name, "state": self.calibrator.to_json()},
            "choices": self._facts,
        }
        return json.dumps(state, indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises BundleError for another format, missing keys or unknown names."""
        try:
            state = json.loads(text)
            if state["format"] != FORMAT:
                raise BundleError(
                    f"ensemble.json: format {state['format']} is not {FORMAT} — export it again"
                )
            self = cls()
            self.target = Target(state["target"]["kind"], tuple(state["target"]["classes"]))
            combiner, calibrator = state["combiner"], state["calibrator"]
            self.combiner = COMBINERS[combiner["name"]].from_json(combiner["state"], self.target)
            self.calibrator = CALIBRATORS[calibrator["name"]].from_json(calibrator["state"], self.target)
            self._facts = state["choices"]
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"ensemble.json: cannot be read ({error!r}) — export the bundle again"
            ) from error
        return self


def _check(key: str, names: Sequence[str], known: dict[str, Any]) -> None:
    if not names:
        raise ConfigError(key, "names no candidate", f"choose from {', '.join(known)}")
    if unknown := [n for n in names if n not in known]:
        raise ConfigError(key, f"there is no {unknown[0]!r}", f"choose from {', '.join(known)}")
    check_once(key, names)


def _check_scores(scores: Scores, y: FloatArray, fold: IntArray) -> None:
    if not scores:
        raise FitError("ensemble: there is no member to combine")
    if len(fold) != len(y):
        raise FitError(f"ensemble: {len(fold)} fold numbers for {len(y)} units")
    if np.isnan(y).all():
        raise FitError("ensemble: no unit has a known label")
    for name, z in scores.items():
        if z.shape != y.shape:
            raise FitError(f"ensemble: scores of {name} are {z.shape} and the labels {y.shape}")
        if not np.isfinite(z).all():
            bad = int((~np.isfinite(z)).any(axis=1).sum())
            raise FitError(f"ensemble: {bad} of {len(z)} scores of {name} are not finite")


def _table(names: Sequence[str], choice: Choice, **more: Sequence[Any]) -> dict[str, dict[str, Any]]:
    columns = {"log_loss": choice.loss, "excess": choice.excess, "standard_error": choice.standard_error}
    numbers = {key: column.tolist() for key, column in columns.items()} | more
    return {name: {key: column[i] for key, column in numbers.items()} for i, name in enumerate(names)}
