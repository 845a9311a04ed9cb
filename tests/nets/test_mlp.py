from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ehrbench.nets.mlp import BLOCKS, EMBEDDINGS, MLPNetwork, PeriodicEmbedding


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_scores_and_missing_values(block: str, embedding: str) -> None:
    """A missing value is not the same as a zero, and never spreads."""
    torch.manual_seed(0)
    net = MLPNetwork(4, 3, width=8, block=block, embedding=embedding).eval()
    x = torch.randn(5, 4)
    x[1, 2] = math.nan
    zeroed = x.nan_to_num()
    scores, other = net(values=x), net(values=zeroed)
    assert scores.shape == (5, 3)
    assert scores.isfinite().all()
    rows = [0, 2, 3, 4]
    torch.testing.assert_close(scores[rows], other[rows])
    assert (scores[1] - other[1]).abs().max() > 1e-6


def test_periodic_embedding_matches_its_equation() -> None:
    torch.manual_seed(0)
    layer = PeriodicEmbedding(3, 2, n_frequencies=4)
    x = torch.randn(5, 3)
    got = layer(x).detach().numpy().reshape(5, 3, 2)
    c, w, b = (p.detach().numpy() for p in (layer.frequency, layer.weight, layer.bias))
    for column in range(3):
        angle = 2 * np.pi * x[:, column, None].numpy() * c[column]
        waves = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
        np.testing.assert_allclose(got[:, column], np.maximum(waves @ w[column] + b[column], 0), atol=1e-5)
