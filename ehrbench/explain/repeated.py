"""Repeated: a finished procedure asked again and again about records that differ little.

An exchange of one parameter reaches some columns of a table and some trees of a booster. What it does not
reach is taken from what was said of the records as they are: columns stay scaled, and the trees that are
reached tell by how much a score changes, which is a sum over trees. Figures are those of asking anew, up to
the rounding of such a sum.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ehrbench.core.featurizer import Featurizer
from ehrbench.core.model import Model
from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.core.views import Table
from ehrbench.explain.attribution import boosters_of, is_trees
from ehrbench.explain.payloads import exchanged
from ehrbench.features.rows import alike
from ehrbench.spine.procedure import Fitted

if TYPE_CHECKING:
    import lightgbm

    from ehrbench.models.lightgbm import LightGBM


class Repeated:
    """known: model or ensemble -> probabilities (U, C) of the records, unlabelled, as they are."""

    def __init__(self, fitted: Fitted, records: Records) -> None:
        self._fitted, self._records = fitted, records
        self.known: Mapping[str, FloatArray] = fitted.predict(records)
        self._models = {name: [_again(m, records) for m in models] for name, models in fitted.models.items()}

    def exchanged(self, parameter: str, donors: IntArray) -> Mapping[str, FloatArray]:
        """The same after an exchange; only the records that it changes are predicted again."""
        index, changed = exchanged(self._records, parameter, donors)
        if not len(index):
            return self.known
        units = self._records.units_of(index)
        by_model = {name: p.copy() for name, p in self.known.items() if name in self._models}
        for name, models in self._models.items():
            by_model[name][units] = np.mean([model.predict(units, changed) for model in models], axis=0)
        return self._fitted.combined(by_model)

    def follow(self, changed: Records) -> Mapping[str, FloatArray]:
        """The same of other payloads of all records, that differ little from those followed before."""
        by_model = {
            name: np.mean([model.follow(changed) for model in models], axis=0)
            for name, models in self._models.items()
        }
        return self._fitted.combined(by_model)


def _again(model: Model, records: Records) -> _AnswersAnew:
    featurizer = getattr(model, "featurizer", None)
    if featurizer is None or not isinstance(featurizer.transform(records), Table):
        return _AnswersAnew(model)
    return _TreesAgain(model, records) if is_trees(model) else _TableAgain(model, records)


class _AnswersAnew:
    """A model that can only be asked anew."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def predict(self, units: IntArray, changed: Records) -> FloatArray:
        """(U, C) probabilities of the changed records' units, which were ``units`` of all."""
        del units
        return self._model.predict(changed)

    def follow(self, changed: Records) -> FloatArray:
        return self._model.predict(changed)


class _TableAgain(_AnswersAnew):
    """A model whose featurizer knows the table before."""

    def __init__(self, model: Model, records: Records) -> None:
        super().__init__(model)
        self._featurizer: Featurizer = model.featurizer  # type: ignore[attr-defined]
        self._before = records.rows(self._featurizer.key, self._featurizer.rows)
        self._after = self._featurizer.apply(self._before)

    def predict(self, units: IntArray, changed: Records) -> FloatArray:
        with self._featurizer.knowing(self._before.take(units), self._after.take(units)):
            return self._model.predict(changed)

    def follow(self, changed: Records) -> FloatArray:
        rows = changed.rows(self._featurizer.key, self._featurizer.rows)
        self._after = self._featurizer.apply_again(rows, self._before, self._after)
        self._before = rows
        with self._featurizer.knowing(self._before, self._after):
            return self._model.predict(changed)


class _TreesAgain(_AnswersAnew):
    """Boosters, of which the trees that a change reaches are asked."""

    def __init__(self, model: LightGBM, records: Records) -> None:
        super().__init__(model)
        self._trees, self._records = model, records
        self._reached: frozenset[int] = frozenset()  # columns
        self._parts: list[lightgbm.Booster] = []
        self._share: FloatArray = np.zeros((0, 0))  # (U, C) of the records as they are, by the parts alone

    @cached_property
    def _before(self) -> FloatArray:
        return self._trees.featurizer.transform(self._records).arrays()["values"]

    @cached_property
    def _boosters(self) -> list[lightgbm.Booster]:
        return boosters_of(self._trees)

    @cached_property
    def _written(self) -> list[WrittenTrees]:
        return [WrittenTrees(booster) for booster in self._boosters]

    @cached_property
    def _scores(self) -> FloatArray:
        return self._raw(self._boosters, self._before)  # (U, C)

    def predict(self, units: IntArray, changed: Records) -> FloatArray:
        values = self._trees.featurizer.transform(changed).arrays()["values"]
        columns = set(np.flatnonzero(~alike(values, self._before[units]).all(axis=0)).tolist())
        if not self._parts or not columns <= self._reached:
            self._reached = frozenset(columns)
            self._parts = [trees.reached(self._reached) for trees in self._written]
            self._share = self._raw(self._parts, self._before)
        change = self._raw(self._parts, values) - self._share[units]
        return self._trees.target.probabilities(self._scores[units] + change)

    def _raw(self, boosters: list[lightgbm.Booster], values: FloatArray) -> FloatArray:
        from ehrbench.models.lightgbm import raw_scores

        return raw_scores(boosters, values, self._trees.threads)


class WrittenTrees:
    """A booster in LightGBM's text, iteration by iteration, each with the columns that it splits by."""

    def __init__(self, booster: lightgbm.Booster) -> None:
        head, *trees = (
            booster.model_to_string(num_iteration=-1).partition("\nend of trees")[0].split("\nTree=")
        )
        self._head = re.sub(r"\ntree_sizes=.*", "", head)
        each, bodies = booster.num_model_per_iteration(), [tree.partition("\n")[2] for tree in trees]
        splits = [re.search(r"^split_feature=(.+)$", body, re.MULTILINE) for body in bodies]
        columns = [frozenset(map(int, found[1].split())) if found else frozenset() for found in splits]
        self._iterations = [
            (bodies[first : first + each], frozenset().union(*columns[first : first + each]))
            for first in range(0, len(bodies), each)
        ]

    def reached(self, columns: frozenset[int]) -> lightgbm.Booster:
        """Of those iterations alone that split by one of the columns."""
        import lightgbm

        kept = [body for bodies, own in self._iterations if own & columns for body in bodies]
        blocks = [f"Tree={number}\n{body}" for number, body in enumerate(kept)]
        return lightgbm.Booster(model_str="\n".join([self._head, *blocks, "end of trees\n"]))
