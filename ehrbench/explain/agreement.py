"""Agreement: whether what a server says of a prediction is what the network's gradients say of it.

A server leaves a variable out and predicts again (``runtime.occlusion``), since it has no gradients; a search
integrates gradients. Of each unit the variables are ranked by both, and Spearman's correlation of the two
rankings of signed effects tells how far one may be read for the other. They are two questions, so 1 is not
to be had: what two variables tell alike is halved by gradients, and either one's absence hardly felt.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.stats import spearmanr

from ehrbench.core.model import Model
from ehrbench.core.records import Divisible, Exchangeable, Records
from ehrbench.core.target import Target
from ehrbench.core.types import IntArray
from ehrbench.explain.attribution import Attribution

#: Units that are asked about, and variables that a ranking takes.
MOST_UNITS, FEWEST = 10, 5


def agreement(
    models: list[Model], records: Records, units: IntArray, attribution: Attribution, target: Target
) -> float | None:
    """Mean over the first units; None where records cannot be taken apart by name, or own several units.

    attribution: of these units of the records, in order, by the mean of the models.
    """
    found = []
    if not isinstance(records.payload, Divisible) or (records.n_units != 1).any():
        return None
    for row, unit in enumerate(units[:MOST_UNITS]):
        one = records.take(np.array([unit])).without_labels()
        payload = one.payload
        if not (isinstance(payload, Divisible) and isinstance(payload, Exchangeable)):
            return None
        names = payload.evidence()
        pieces = [piece for piece in payload.pieces(len(names)) if len(piece) == 2]
        if len(pieces) < FEWEST:
            continue
        asked = replace(one.take(np.zeros(len(pieces), dtype=np.int64)), payload=payload.without(pieces))
        whole, without = (
            np.mean([target.scores(m.predict(r.cached()))[:, 0] for m in models], axis=0)
            for r in (one, asked)
        )
        parts = dict.fromkeys(names, 0.0)
        for source, each in attribution.parts.items():
            if source.parameter in parts:
                parts[source.parameter] += float(each[row, 0])
        by_both = whole - without, np.array([parts[names[start]] for start, _ in pieces])
        if all(np.ptp(effects) > 0 for effects in by_both):
            found.append(float(spearmanr(*by_both)[0]))
    return float(np.mean(found)) if found else None
