"""Replay: train the chosen trials again from the ledger alone, and compare to the last bit.

On the CPU model, thread count and package versions of the first fit, a fit is a function of parameters, seed
and records, so its out-of-fold predictions have the digest that stands in the ledger, or something that
shapes a fit was not recorded.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ehrbench.core.ledger import Fit
from ehrbench.core.progress import Progress
from ehrbench.spine.folds import OuterFold
from ehrbench.spine.search import Search
from ehrbench.spine.trial import check_predictions, pack_array


@dataclass(frozen=True)
class Replayed:
    """One Fit trained again; ``same``: its predictions have the recorded digest."""

    model: str
    ticket: int
    fit: Fit
    same: bool


def replay(search: Search, fold: OuterFold, progress: Progress) -> list[Replayed]:
    """Every Fit of every model's chosen trial in one outer fold, trained again. Writes nothing."""
    replayed = []
    total = len(search.contenders) * len(fold.inner)
    with progress.step(f"replay of fold {fold.name}", total) as bar:
        for model in search.contenders:
            study = search.study(model, fold)
            row = study.best()
            for fit in sorted(row.fits, key=lambda f: f.fold):
                inner = fold.inner[fit.fold]
                train = search.dataset.open(fold, "fit", inner.train)
                valid = search.dataset.open(fold, "stop", inner.valid)
                again = study.setting.builder(dict(row.params or {}))
                again.fit(train, valid, seed=fit.seed)
                p = check_predictions(again.predict(valid.without_labels()), valid.labels.shape, model)
                same = hashlib.sha256(pack_array(p)).hexdigest() == fit.predictions
                replayed.append(Replayed(model, row.number, fit, same))
                bar.advance()
    return replayed
