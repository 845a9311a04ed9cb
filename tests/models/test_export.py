"""What is exported is lean: a posted record pays for every node, so none is spent on shapes or constants."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ehrbench.models.export import write_onnx
from ehrbench.nets.dssm import DSSMNetwork
from ehrbench.nets.lstm import LSTMNetwork
from ehrbench.nets.network import Network
from ehrbench.nets.ssm import SSMNetwork

LENGTH, CHANNELS, DESCRIPTORS = 12, 37, 10
SHAPES = {
    "values": (LENGTH, CHANNELS),
    "mask": (LENGTH, CHANNELS),
    "time_hours": (LENGTH,),
    "static": (DESCRIPTORS,),
}


def optimised(net: Network, folder: Path) -> Counter[str]:
    """Kinds of nodes that onnxruntime runs, and how many of each."""
    write_onnx(net.eval(), SHAPES, folder / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.parametrize(
    ("kind", "most"), [(LSTMNetwork, 140), (SSMNetwork, 180), (DSSMNetwork, 215)], ids=lambda kind: str(kind)
)
def test_an_exported_network_works_on_its_inputs_only(kind: type, most: int, tmp_path: Path) -> None:
    settings = {"n_layers": 1} if kind is SSMNetwork else {}
    nodes = optimised(kind(CHANNELS, DESCRIPTORS, 1, **settings), tmp_path)
    assert nodes["Exp"] + nodes["Sin"] + nodes["Cos"] + nodes["Range"] == 0  # powers of Λ̄ are ready
    assert nodes["Shape"] <= 3
    assert nodes.total() <= most


def test_a_network_alone_among_others_and_in_torch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = SSMNetwork(CHANNELS, DESCRIPTORS, 1, n_layers=1).eval()
    write_onnx(net, SHAPES, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(5, *shape)).astype(np.float32) for name, shape in SHAPES.items()}
    arrays["mask"] = (arrays["mask"] > 0).astype(np.float32)
    arrays["time_hours"] = np.tile(np.arange(LENGTH, dtype=np.float32), (5, 1))
    (together,) = session.run(["scores"], arrays)
    two = [session.run(["scores"], {n: a[k : k + 2] for n, a in arrays.items()})[0][0] for k in range(4)]
    np.testing.assert_array_equal(together[:4], two)
    with torch.no_grad():
        expected = net(**{name: torch.from_numpy(array) for name, array in arrays.items()}).numpy()
    np.testing.assert_allclose(together, expected, atol=1e-5)
