"""What every sequence network promises: neither padding nor the company of others changes what one gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ehrbench.core.views import Sequence, Signal, Tokens, View, offsets
from ehrbench.models.batches import batch
from ehrbench.models.export import write_onnx
from ehrbench.nets.cardionet import CardioNetwork
from ehrbench.nets.dssm import DSSMEncoder
from ehrbench.nets.inputs import SequenceInput, SignalInput, TokenInput
from ehrbench.nets.lstm import LSTMEncoder
from ehrbench.nets.network import Network
from ehrbench.nets.pooling import POOLINGS
from ehrbench.nets.sequence import SequenceNetwork
from ehrbench.nets.ssm import SSMEncoder
from ehrbench.nets.textcnn import TextCNNNetwork

Make = Callable[[int, bool, bool], nn.Module]
WIDTH, CHANNELS = 8, 3

ENCODERS: dict[str, Make] = {
    "lstm": lambda n, both, free: LSTMEncoder(n, WIDTH, n_layers=2, bidirectional=both, dropout=0.1),
    "dssm": lambda n, both, free: DSSMEncoder(
        n, WIDTH, n_layers=1, bidirectional=both, n_pairs=4, n_heads=2, dropout=0.1, any_length=free
    ),
    "ssm": lambda n, both, free: SSMEncoder(
        n, WIDTH, n_layers=2, n_pairs=4, dropout=0.1, bidirectional=both, any_length=free
    ),
    "ssm at times": lambda n, both, free: SSMEncoder(
        n, WIDTH, n_layers=2, n_pairs=4, dropout=0.1, bidirectional=both, irregular=True
    ),
}
both_ways = pytest.mark.parametrize("bidirectional", [False, True])
every_encoder = pytest.mark.parametrize("name", ENCODERS)
#: A Signal has no times of its own.
SIGNAL_NETWORKS = [*(name for name in ENCODERS if name != "ssm at times"), "cardionet"]


def signal_network(name: str, bidirectional: bool) -> Network:
    torch.manual_seed(1)
    inputs = SignalInput(CHANNELS)
    if name == "cardionet":
        sizes = {"channels": 4, "rnn_units": 3, "top_classifier_units": 8, "window": 9}
        return CardioNetwork(inputs, 2, **sizes, dropout=0.1).eval()
    encoder = ENCODERS[name](inputs.width, bidirectional, True)
    return SequenceNetwork(inputs, encoder, WIDTH, 2, dropout=0.1).eval()


def recordings(lengths: list[int], seed: int) -> Signal:
    rng, counts = np.random.default_rng(seed), np.array(lengths)
    steps = np.concatenate([np.arange(n) for n in lengths])
    values = rng.normal(size=(int(counts.sum()), CHANNELS)).astype(np.float32)
    return Signal(values, offsets(counts), steps, counts)


def scores(net: Network, view: View, n_units: int) -> np.ndarray:
    cpu = torch.device("cpu")
    with torch.no_grad():
        found = batch(net, view, torch.zeros(n_units, 0), cpu)
        found = found._replace(inputs=tuple(x.double() for x in found.inputs))
        return found.scores(net.double()).numpy()


@pytest.mark.parametrize("name", [*ENCODERS, "cardionet"])
@both_ways
@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=5), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_a_recording_gets_the_same_alone_and_among_others(
    name: str, bidirectional: bool, lengths: list[int], seed: int
) -> None:
    net, view = signal_network(name, bidirectional), recordings(lengths, seed)
    together = scores(net, view, sum(lengths))
    alone = [scores(net, view.take(np.array([i])), n) for i, n in enumerate(lengths)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-9)


@every_encoder
@both_ways
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("end", ["front", "back"])
def test_a_stay_gets_the_same_however_far_it_is_padded(
    name: str, bidirectional: bool, pooling: str, end: str
) -> None:
    rng = np.random.default_rng(3)
    mask = (rng.random((4, 11, CHANNELS)) < 0.4).astype(np.float32)
    mask[:, 0, 0] = 1
    values = rng.normal(size=mask.shape).astype(np.float32) * mask
    time = np.cumsum(rng.exponential(1.0, (4, 11)), axis=1).astype(np.float32)
    static = rng.normal(size=(4, 2)).astype(np.float32)
    torch.manual_seed(1)
    inputs = SequenceInput(CHANNELS, 2)
    encoder = ENCODERS[name](inputs.width, bidirectional, False)
    net = SequenceNetwork(inputs, encoder, WIDTH, 2, dropout=0.1, pooling=pooling, n_heads=2).eval()

    def padded(by: int) -> Sequence:
        front, back = (by, 0) if end == "front" else (0, by)
        around = ((0, 0), (front, back))
        blank = [np.pad(x, (*around, (0, 0))) for x in (values, mask)]
        return Sequence(*blank, np.pad(time, around, mode="edge"), static)

    expected = scores(net, padded(0), 4)
    for by in (1, 9):
        np.testing.assert_allclose(scores(net, padded(by), 4), expected, atol=1e-6)


@pytest.mark.parametrize("name", SIGNAL_NETWORKS)
@both_ways
def test_an_exported_network_takes_recordings_of_any_length(
    name: str, bidirectional: bool, tmp_path: Path
) -> None:
    net = signal_network(name, bidirectional)
    write_onnx(net, recordings([3], 0).ports(), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for lengths in ([1], [2, 1], [64], [65, 3], [700, 32, 500]):
        arrays = recordings(lengths, 5).arrays()
        with torch.no_grad():
            expected = net(**{k: torch.from_numpy(a) for k, a in arrays.items()}).numpy()
        got = np.asarray(session.run(["scores"], arrays)[0])
        kept = arrays["valid"] > 0
        np.testing.assert_allclose(got[kept], expected[kept], atol=1e-5)


N_TOKENS = 20
TOKEN_NETWORKS = [(name, pooling) for name in ENCODERS if name != "ssm at times" for pooling in POOLINGS]
every_token_network = pytest.mark.parametrize(("name", "pooling"), [*TOKEN_NETWORKS, ("textcnn", "")])


def token_network(name: str, pooling: str) -> Network:
    torch.manual_seed(2)
    if name == "textcnn":
        return TextCNNNetwork(N_TOKENS, 2, width=WIDTH, channels=5, widths=(1, 2, 5), dropout=0.1).eval()
    inputs = TokenInput(N_TOKENS, WIDTH)
    encoder = ENCODERS[name](inputs.width, True, True)
    return SequenceNetwork(inputs, encoder, WIDTH, 2, dropout=0.1, pooling=pooling, n_heads=2).eval()


def texts(lengths: list[int], seed: int) -> Tokens:
    ids = np.random.default_rng(seed).integers(1, N_TOKENS, sum(lengths)).astype(np.int32)
    return Tokens(ids, offsets(np.array(lengths)), N_TOKENS)


def token_scores(net: Network, view: Tokens) -> np.ndarray:
    ids, mask = (torch.from_numpy(array) for array in view.arrays().values())
    with torch.no_grad():
        return net.double()(ids=ids, mask=mask.double()).numpy()


@every_token_network
@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=5), seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_a_text_gets_the_same_alone_and_among_others(
    name: str, pooling: str, lengths: list[int], seed: int
) -> None:
    net, view = token_network(name, pooling), texts(lengths, seed)
    together = token_scores(net, view)
    alone = [token_scores(net, view.take(np.array([i]))) for i in range(len(lengths))]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-9)


@every_token_network
def test_an_exported_network_takes_texts_of_any_length(name: str, pooling: str, tmp_path: Path) -> None:
    net = token_network(name, pooling)
    write_onnx(net, texts([3], 0).ports(), tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # small products: more threads would wait for one another
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", options)
    for lengths in ([1], [2, 1], [65, 3], [150, 32]):
        arrays = texts(lengths, 5).arrays()
        with torch.no_grad():
            expected = net(**{k: torch.from_numpy(a) for k, a in arrays.items()}).numpy()
        np.testing.assert_allclose(session.run(None, arrays)[0], expected, atol=1e-5)
