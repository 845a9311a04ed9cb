"""A trained model in the form a bundle runs: ONNX for networks, and the member's description.

The TorchScript-based exporter is used, not the one on torch.export: for these networks it takes 0.6 s against
12 s (torch 2.13, onnxscript 0.7, one core) and the graphs agree with torch alike. It needs nothing dynamic
but the number of rows.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ehrbench.core.featurizer import Featurizer
from ehrbench.core.model import Member

if TYPE_CHECKING:
    from ehrbench.nets.network import Network

OPSET = 18


def member_of(runner: str, featurizer: Featurizer) -> Member:
    """The Member of an exported model that ``runner`` runs."""
    kind = type(featurizer)
    return Member(runner, f"{kind.__module__}.{kind.__qualname__}", featurizer.settings())


def write_onnx(net: Network, shapes: dict[str, tuple[int, ...]], path: Path) -> None:
    """Write ``net`` (on the CPU, in eval mode): inputs named as its arrays, one output ``scores``."""
    import torch

    class Positional(torch.nn.Module):
        """Arrays by position, since a traced graph has no keyword arguments."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.net(**dict(zip(shapes, arrays, strict=True)))
            return scores

    samples = tuple(torch.ones(2, *shape) for shape in shapes.values())
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracer warnings about shapes that are fixed on purpose
        torch.onnx.export(
            Positional().eval(),
            samples,
            str(path),
            input_names=list(shapes),
            output_names=["scores"],
            dynamic_axes={name: {0: "units"} for name in [*shapes, "scores"]},
            opset_version=OPSET,
            dynamo=False,
        )
