"""Gathering: a network's scores a row, or a step, to scores a unit; ``core.views.Gathering`` in torch."""

from __future__ import annotations

from torch import Tensor


def gathered(scores: Tensor, position: Tensor, unit: Tensor | None, n_units: int) -> Tensor:
    """scores (R, C) or (R, L, C) -> (U, C): the mean over each unit's positions (K,) of the flat rows."""
    found = scores.flatten(0, -2)[position]
    if unit is None:
        return found
    total = found.new_zeros(n_units, found.shape[1]).index_add(0, unit, found)
    counts = found.new_zeros(n_units).index_add(0, unit, found.new_ones(len(unit)))
    return total / counts[:, None]
