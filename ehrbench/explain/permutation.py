"""Permutation importance by parameter (Breiman 2001, section 10; Fisher, Rudin & Dominici 2019).

All that a record holds of one parameter is given to another record, and the finished procedure predicts
again: what the metric loses is what the parameter was worth to it. Parameters that tell the same story share
their worth and look smaller than they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ehrbench.core.calling import Calling
from ehrbench.core.metric import Metric
from ehrbench.core.progress import Step
from ehrbench.core.records import Records
from ehrbench.core.types import FloatArray
from ehrbench.explain.payloads import parameters
from ehrbench.explain.repeated import Repeated
from ehrbench.spine.procedure import Fitted
from ehrbench.statistics.fold_data import FoldData


def metric_drops(
    fitted: Fitted,
    records: Records,
    metric: Metric,
    thresholds: Mapping[str, FloatArray],
    calling: Mapping[str, Calling],
    *,
    repeats: int,
    rng: np.random.Generator,
    bar: Step,
) -> dict[str, dict[str, list[float]]]:
    """Model or ensemble -> parameter -> loss of the metric in each repeat (below 0: it gained by noise).

    records: labelled, and not among those that anything was fitted or chosen on. Each repeat gives all
    parameters the same exchange of records. Raises UndefinedMetric.
    """
    donors = [rng.permutation(len(records)) for _ in range(repeats)]

    def judged(name: str, p: FloatArray) -> FoldData:
        group, levels = records.unit_record, calling[name].levels(p, records.n_units)
        return FoldData(records.labels, p, group, thresholds.get(name), record=group, levels=levels)

    def gains(probabilities: Mapping[str, FloatArray]) -> dict[str, float]:
        return {
            name: metric.gain(judged(name, p).value(metric, fitted.target))
            for name, p in probabilities.items()
        }

    again = Repeated(fitted, records.without_labels())
    base = gains(again.known)
    drops: dict[str, dict[str, list[float]]] = {name: {} for name in base}
    for parameter in parameters(records.payload):
        bar.note(parameter)
        for order in donors:
            for name, gain in gains(again.exchanged(parameter, order)).items():
                drops[name].setdefault(parameter, []).append(base[name] - gain)
            bar.advance()
    return drops
