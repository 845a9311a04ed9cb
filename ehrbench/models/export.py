"""A trained model in the form a bundle runs: ONNX for networks, and the member's description.

The TorchScript-based exporter is used, not the one on torch.export: for these networks it takes 0.6 s against
12 s (torch 2.13, onnxscript 0.7, one core) and the graphs agree with torch alike. Python's loops and branches
are frozen as traced: a network with a free axis computes along it without any.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ehrbench.core.featurizer import Featurizer
from ehrbench.core.model import Member
from ehrbench.core.views import Port

if TYPE_CHECKING:
    from ehrbench.nets.network import Network

OPSET = 18
#: Extent of free axes in the sample that is traced.
TRACED = 5


def member_of(runner: str, featurizer: Featurizer, graph: Path | None = None) -> Member:
    """The Member of an exported model that ``runner`` runs; graph: its ONNX file, where it has one."""
    kind = type(featurizer)
    opsets = {} if graph is None else _opsets(graph)
    return Member(runner, f"{kind.__module__}.{kind.__qualname__}", featurizer.settings(), opsets)


def _opsets(graph: Path) -> dict[str, int]:
    import onnx

    return {used.domain or "ai.onnx": used.version for used in onnx.load(graph).opset_import}


def write_onnx(net: Network, ports: Mapping[str, Port], path: Path) -> None:
    """Write ``net`` (on the CPU, in eval mode): inputs named as its arrays, one output ``scores``.

    Rows and the ports' named axes stay free.
    """
    import torch

    class Positional(torch.nn.Module):
        """Arrays by position, since a traced graph has no keyword arguments."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.net(**dict(zip(ports, arrays, strict=True)))
            return scores

    samples = tuple(
        torch.ones(
            2, *(n if isinstance(n, int) else TRACED for n in port.shape), dtype=getattr(torch, port.dtype)
        )
        for port in ports.values()
    )
    free = {
        name: {0: "rows", **{i: n for i, n in enumerate(port.shape, start=1) if isinstance(n, str)}}
        for name, port in ports.items()
    }
    with torch.no_grad():
        if net(**dict(zip(ports, samples, strict=True))).dim() == 3:
            free["scores"] = {0: "rows", 1: "steps"}
        else:
            free["scores"] = {0: "rows"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracer warnings about shapes that are fixed on purpose
        torch.onnx.export(
            Positional().eval(),
            samples,
            str(path),
            input_names=list(ports),
            output_names=["scores"],
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )
