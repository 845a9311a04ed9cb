"""Integrated gradients of a network's scores, in two legs, so that missingness is told from value.

Integrated gradients (Sundararajan, Taly & Yan 2017, eq. 1) give each input the integral of the score's
gradient along a straight line from a baseline to the record; over all inputs they sum to the difference of
the two scores (proposition 1, completeness). Any path has that property (section 4). On the straight line,
a network that multiplies values by masks would credit each product half to either; so the path has a corner:

    0                          nothing measured; each descriptor known and at its training centre (0, scaled)
    the record's missingness   measured when and as often as it was, each time at the training centre
    the record                 with its values

The first leg's attribution is missingness, the second's value. For a table without masks the first point is
a record with everything known and at its training centre.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ehrbench.core.types import FloatArray
from ehrbench.explain.sources import Source

#: Gauss-Legendre nodes of each leg: the next number is tried where the last left too large a gap.
NODES = (16, 32, 64, 128)
#: The largest gap, as a share of the largest difference of scores. Kinks (ReLU) need more nodes than curves.
ENOUGH = 0.005
#: The path starts this far along: a step exists in a network once a trace of a measurement is there.
START = 1e-6


def integrated_gradients(
    net: nn.Module,
    arrays: Mapping[str, np.ndarray],
    sources: Mapping[str, tuple[Source, ...]],
) -> tuple[dict[str, FloatArray], FloatArray]:
    """Attributions (U, C, ...) by array, and (U, C) what they leave of the difference of scores.

    net: takes the arrays (U, ...) by name, gives scores (U, C). Arrays without sources stay as they are.
    """
    net = copy.deepcopy(net).cpu().eval().requires_grad_(False)
    record = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    corner, start = dict(record), dict(record)
    for name, named in sources.items():
        missingness = torch.tensor([one.kind == "missingness" for one in named])
        corner[name] = record[name] * missingness
        start[name] = corner[name] * START
    with torch.no_grad():
        difference = net(**record) - net(**start)  # (U, C)
    moving = tuple(sources)
    for nodes in NODES:
        legs = [_leg(net, start, corner, moving, nodes), _leg(net, corner, record, moving, nodes)]
        found = {name: legs[0][name] + legs[1][name] for name in moving}
        gap = difference - torch.stack([x.flatten(2).sum(2) for x in found.values()]).sum(0)
        if not gap.abs().max() > ENOUGH * difference.abs().max():
            break
    return {name: x.numpy() for name, x in found.items()}, gap.numpy()


def _leg(
    net: nn.Module, start: dict[str, Tensor], end: dict[str, Tensor], moving: tuple[str, ...], nodes: int
) -> dict[str, Tensor]:
    """The integral along one straight line, (U, C, ...) for each moving array."""
    x, weights = np.polynomial.legendre.leggauss(nodes)
    total: dict[str, Tensor] = {}
    for at, weight in zip((1 + x) / 2, weights / 2, strict=True):
        point = {name: torch.lerp(start[name], end[name], float(at)).requires_grad_() for name in moving}
        with _FlatRootOfZero():
            scores = net(**{**start, **point})  # (U, C)
        for c in range(scores.shape[1]):
            gradients = torch.autograd.grad(
                scores[:, c].sum(), list(point.values()), retain_graph=True, allow_unused=True
            )
            for name, gradient in zip(moving, gradients, strict=True):
                if name not in total:
                    total[name] = torch.zeros(len(scores), scores.shape[1], *start[name].shape[1:])
                if gradient is not None:
                    total[name][:, c] += float(weight) * gradient
    return {name: total[name] * (end[name] - start[name])[:, None] for name in moving}


class _FlatRootOfZero(TorchFunctionMode):
    """Slope 0 for a square root at 0, where its own is infinite.

    The standard deviation of a single measurement is such a root; being least there, it has 0 among its
    subgradients.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.Tensor.sqrt:
            return func(*args, **(kwargs or {}))
        (x,) = args
        return torch.where(x > 0, torch.where(x > 0, x, 1).sqrt(), 0)
