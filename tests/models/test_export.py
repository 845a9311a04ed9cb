"""What is exported is lean: a posted record pays for every node, so none is spent on shapes or constants."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ehrbench.core.target import Target
from ehrbench.core.views import Port
from ehrbench.features.tabular import Tabular
from ehrbench.models.dssm import DSSM
from ehrbench.models.export import write_onnx
from ehrbench.models.lstm import LSTM
from ehrbench.models.sequence import SequenceModel
from ehrbench.models.ssm import SSM
from ehrbench.nets.network import Network

LENGTH = 12
PORTS = {
    "values": Port("float32", (LENGTH, 37)),
    "mask": Port("float32", (LENGTH, 37)),
    "time_hours": Port("float32", (LENGTH,)),
    "static": Port("float32", (10,)),
}


def network(model: type[SequenceModel]) -> Network:
    return model(target=Target("binary", ("died",)), featurizer=Tabular()).network(PORTS, 1)


def optimised(net: Network, folder: Path) -> Counter[str]:
    """Kinds of nodes that onnxruntime runs, and how many of each."""
    write_onnx(net.eval(), PORTS, folder / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.parametrize(("model", "most"), [(LSTM, 155), (SSM, 190), (DSSM, 240)])
def test_an_exported_network_works_on_its_inputs_only(
    model: type[SequenceModel], most: int, tmp_path: Path
) -> None:
    nodes = optimised(network(model), tmp_path)
    assert nodes["Exp"] + nodes["Sin"] + nodes["Cos"] + nodes["Range"] == 0  # powers of Λ̄ are ready
    assert nodes["Shape"] <= 5
    assert nodes.total() <= most


def test_a_network_alone_among_others_and_in_torch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = network(SSM).eval()
    write_onnx(net, PORTS, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(5, *port.shape)).astype(np.float32) for name, port in PORTS.items()}
    arrays["mask"] = (arrays["mask"] > 0).astype(np.float32)
    arrays["time_hours"] = np.tile(np.arange(LENGTH, dtype=np.float32), (5, 1))
    (together,) = session.run(["scores"], arrays)
    two = [session.run(["scores"], {n: a[k : k + 2] for n, a in arrays.items()})[0][0] for k in range(4)]
    np.testing.assert_array_equal(together[:4], two)
    with torch.no_grad():
        expected = net(**{name: torch.from_numpy(array) for name, array in arrays.items()}).numpy()
    np.testing.assert_allclose(together, expected, atol=1e-5)
