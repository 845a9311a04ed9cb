"""Scored classes: which classes of a target a split can judge, decided once, before anything is fitted.

A macro mean has no value as soon as one class has none, and a class without a positive in one inner fold
would fail every trial of a search. So a class is scored where each part that judges (each inner fold's
validation part, each outer test) has ``FEWEST`` groups with it and as many without: enough that it has a
value when any one is left out, that halves can have one each, and that a standard error over groups exists.
The others are learned and predicted all the same; they count in no macro mean, and are shown apart, over the
folds in which they have a value.

Labels are counted here as stratification counts them, those of outer tests too; no prediction is seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ehrbench.core.records import Records
from ehrbench.core.types import IntArray

#: Groups with a class, and groups without it, in each part that judges.
FEWEST = 2


def unscored(records: Records, groups: IntArray, judging: Sequence[tuple[str, IntArray]]) -> dict[int, str]:
    """Class (its column) -> why it is not scored; empty where all are, and for a target of one class.

    groups: (N,) of records; judging: name and records of each part that judges.
    """
    n_classes = records.labels.shape[1]
    if n_classes == 1:
        return {}
    why: dict[int, str] = {}
    for name, index in judging:
        units = records.units_of(index)
        y, owner = records.labels[units], np.repeat(groups[index], records.n_units[index])
        for c in range(n_classes):
            with_it, without = (len(np.unique(owner[y[:, c] == label])) for label in (1, 0))
            if min(with_it, without) < FEWEST and c not in why:
                kind, n = ("with", with_it) if with_it <= without else ("without", without)
                why[c] = f"{n} group{'s' * (n != 1)} {kind} it in {name}"
    return dict(sorted(why.items()))
