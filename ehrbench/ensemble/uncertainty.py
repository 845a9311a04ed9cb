"""Uncertainty: what a bundle says beside a probability: an interval, or of several classes a set of labels.

A bundle's ``uncertainty.json``: {"format": 1, "kind": "venn_abers" | "label_sets", "state": {...}}.
"""

from __future__ import annotations

import json

from ehrbench.core.errors import BundleError
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, StrArray
from ehrbench.ensemble.label_sets import LabelSets
from ehrbench.ensemble.venn_abers import VennAbers

FORMAT = 1
Uncertainty = VennAbers | LabelSets
_KINDS: dict[str, type[VennAbers] | type[LabelSets]] = {"venn_abers": VennAbers, "label_sets": LabelSets}


def fit_uncertainty(target: Target, p: FloatArray, y: FloatArray, group: StrArray) -> Uncertainty:
    """Of the ensemble's out-of-fold probabilities and labels (U, C) of units that belong to groups (U,)."""
    several = target.kind == "multiclass"
    return LabelSets.fit(p, y, group) if several else VennAbers.fit(p, y, group)


def write_uncertainty(found: Uncertainty) -> str:
    """The content of ``uncertainty.json``."""
    kind = next(name for name, one in _KINDS.items() if isinstance(found, one))
    return json.dumps({"format": FORMAT, "kind": kind, "state": found.to_json()}, allow_nan=False)


def read_uncertainty(text: str, target: Target) -> Uncertainty:
    """Raises BundleError for another format, or one that is not of the target's classes."""
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise BundleError(f"uncertainty of format {content['format']} is not {FORMAT} — export it again")
        found = _KINDS[content["kind"]].from_json(content["state"])
        n_classes = len(found.cuts if isinstance(found, LabelSets) else found.edges)
        if n_classes != target.n_classes:
            raise ValueError(f"{n_classes} classes are not the {target.n_classes} of the target")
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise BundleError(f"uncertainty cannot be read ({error!r}) — export the bundle again") from error
    return found
