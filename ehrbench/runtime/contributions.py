"""Contributions: what each parameter adds to the score of a bundle's trees, as the trees themselves hold it.

TreeSHAP (Lundberg et al. 2020, "From local explanations to global understanding with explainable AI for
trees", algorithm 2) by LightGBM's C library, against the mean training record as the trees hold it. Of other
models ``occlusion`` asks; neither needs torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray
from ehrbench.core.views import Table
from ehrbench.runtime.bundle import Bundle
from ehrbench.runtime.member import LoadedMember
from ehrbench.runtime.runners import LightGBMRunner


def tree_contributions(bundle: Bundle, records: Records) -> dict[str, dict[str, FloatArray]]:
    """Model of trees on a table -> parameter -> (U, C) log-odds, mean over its members."""
    records, found = records.cached(), {}
    for name, members in bundle.models.items():
        parts = [part for member in members if (part := _by_parameter(member, records)) is not None]
        if len(parts) == len(members):
            names = dict.fromkeys(parameter for part in parts for parameter in part)
            found[name] = {
                p: np.sum([one[p] for one in parts if p in one], axis=0) / len(parts) for p in names
            }
    return found


def _by_parameter(member: LoadedMember, records: Records) -> Mapping[str, FloatArray] | None:
    if not isinstance(member.runner, LightGBMRunner):
        return None
    view = member.featurizer.transform(records)
    if not isinstance(view, Table):
        return None
    total: dict[str, FloatArray] = defaultdict(lambda: np.zeros((len(view), member.target.n_classes)))
    parts = member.runner.contributions(view)  # (U, C, F)
    for f, column in enumerate(view.names):
        total[view.parameter_of.get(column, column)] += parts[:, :, f]
    return total
