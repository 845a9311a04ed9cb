"""Evidence: what challenger and champion said of the same records, which neither of them had seen.

Two sources, the first of which is better: labelled records that neither bundle knows (``on_unseen``); or the
outer-test predictions that both searches made over identical folds, which whoever can read the runs hands in.
Either way predictions are named ``CHALLENGER``, ``CHAMPION`` and, of single models, "challenger · ssm".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, StrArray
from ehrbench.registry.release import CHALLENGER, CHAMPION
from ehrbench.runtime.bundle import Bundle
from ehrbench.statistics.fold_data import FoldPredictions


@dataclass(frozen=True, eq=False)
class Evidence:
    """Predictions to judge by.

    folds: each with ``CHALLENGER`` and, where there is one, ``CHAMPION``; single models beside them.
    families: subgroup family -> (N,) level of each record. source: where they come from, in a sentence.
    target: without the classes that any of the two could not score.
    """

    source: str
    folds: tuple[FoldPredictions, ...]
    families: Mapping[str, StrArray]
    target: Target

    @property
    def has_champion(self) -> bool:
        return CHAMPION in self.folds[0].p

    def readers(self, name: str) -> list[str]:
        """The single models of challenger or champion."""
        return [model for model in self.folds[0].p if model.startswith(f"{name} · ")]


def unseen_by(records: Records, challenger: Bundle, champion: Bundle | None) -> Records:
    """The records of groups that neither bundle was made from."""
    known = challenger.seen(records)
    if champion is not None:
        known |= champion.seen(records)
    return records.take(np.flatnonzero(~known))


def on_unseen(
    records: Records, groups: StrArray, challenger: Bundle, champion: Bundle | None, source: str
) -> Evidence:
    """What the bundles say of labelled records new to both; groups: (N,) what is resampled together."""
    p: dict[str, FloatArray] = {}
    thresholds: dict[str, FloatArray] = {}
    levels: dict[str, FloatArray] = {}
    bundles = {CHALLENGER: challenger} | ({} if champion is None else {CHAMPION: champion})
    left_out: set[int] = set()
    for name, bundle in bundles.items():
        said = bundle.predict(records.without_labels())
        p[name], levels[name], thresholds[name] = said.probabilities, said.levels, bundle.threshold
        p |= {f"{name} · {model}": of_model for model, of_model in said.by_model.items()}
        left_out |= set(range(bundle.manifest.target.n_classes)) - set(bundle.manifest.target.scored)
    owner = records.unit_record
    fold = FoldPredictions(
        name="unseen records",
        record=owner,
        unit=records.unit_number,
        group=np.unique(groups, return_inverse=True)[1].ravel()[owner],
        y=records.labels,
        p=p,
        threshold=thresholds,
        n_train=0,
        n_test=len(records),
        levels=levels,
    )
    target = challenger.manifest.target.without(left_out)
    return Evidence(source, (fold,), dict(records.subgroups), target)
