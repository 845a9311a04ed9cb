from __future__ import annotations

import warnings

import pytest
import torch

from ehrbench.nets.dssm import DSSMEncoder
from ehrbench.nets.lstm import LSTMEncoder
from ehrbench.nets.recurrence import Recurrence

VALID = torch.ones(3, 7)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_directions_share_the_width_and_layers_the_dropout(n_layers: int, bidirectional: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyTorch warns of dropout without a second layer
        encoder = Recurrence(5, 8, n_layers=n_layers, bidirectional=bidirectional, dropout=0.5)
    x = torch.randn(3, 7, 5)
    h = encoder(x, VALID)
    assert h.shape == (3, 7, 8)
    again = encoder(x, VALID)
    assert torch.equal(h, again) is (n_layers == 1)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_only_a_bidirectional_encoder_sees_later_steps(bidirectional: bool) -> None:
    encoder = Recurrence(5, 8, n_layers=2, bidirectional=bidirectional, dropout=0.0)
    x = torch.randn(3, 7, 5)
    later = x.clone()
    later[:, 4:] += 1
    h, other = encoder(x, VALID), encoder(later, VALID)
    assert torch.equal(h[:, :4], other[:, :4]) is not bidirectional
    assert not torch.equal(h[:, 4:], other[:, 4:])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_both_networks_have_the_same_encoder(n_layers: int, bidirectional: bool) -> None:
    """Seeded alike, the weights are equal to the bit: each draws its encoder first."""
    settings = {"n_layers": n_layers, "bidirectional": bidirectional, "dropout": 0.1}
    torch.manual_seed(3)
    one = LSTMEncoder(4, 8, **settings).lstm.state_dict()  # type: ignore[arg-type]
    torch.manual_seed(3)
    other = DSSMEncoder(4, 8, n_pairs=2, n_heads=4, **settings).lstm.lstm.state_dict()  # type: ignore[arg-type]
    assert one.keys() == other.keys()
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())
