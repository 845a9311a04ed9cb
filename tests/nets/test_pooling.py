from __future__ import annotations

import pytest
import torch

from ehrbench.nets.attention import SelfAttention
from ehrbench.nets.pooling import POOLINGS, Pooling


def _steps() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    valid = torch.ones(3, 7)
    valid[1, 4:] = 0
    return torch.randn(3, 7, 8), valid


@pytest.mark.parametrize("kind", POOLINGS)
def test_padding_never_counts(kind: str) -> None:
    h, valid = _steps()
    pooling = Pooling(8, kind, n_heads=2)
    other = torch.where(valid[..., None] > 0, h, torch.full_like(h, 9.0))
    torch.testing.assert_close(pooling(h, valid), pooling(other, valid))


def test_last_and_mean_are_what_they_say() -> None:
    h, valid = _steps()
    torch.testing.assert_close(Pooling(8, "last")(h, valid)[1], h[1, 3])
    torch.testing.assert_close(Pooling(8, "mean")(h, valid)[1], h[1, :4].mean(0))


def test_attention_weighs_by_score() -> None:
    """With constant scores it is the mean; a head only moves its own share of the channels."""
    h, valid = _steps()
    pooling = Pooling(8, "attention", n_heads=2)
    assert pooling.score is not None
    last = pooling.score[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        torch.testing.assert_close(pooling(h, valid), Pooling(8, "mean")(h, valid))
        last.weight[0] = 1.0
        moved = (pooling(h, valid) - Pooling(8, "mean")(h, valid)).abs().amax(0)
    assert moved[:4].min() > 1e-6
    assert moved[4:].max() < 1e-6


def test_self_attention_matches_torch() -> None:
    h, valid = _steps()
    mine = SelfAttention(8, 2, dropout=0.0)
    reference = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(mine.query_key_value.weight)
        reference.in_proj_bias.copy_(mine.query_key_value.bias)
        reference.out_proj.load_state_dict(mine.out.state_dict())
        x = mine.norm(h)
        expected = h + reference(x, x, x, key_padding_mask=valid == 0, need_weights=False)[0]
    torch.testing.assert_close(mine(h, valid), expected)


def test_heads_must_divide_the_width() -> None:
    for build in (lambda: Pooling(8, "attention", 3), lambda: SelfAttention(8, 3, 0.0)):
        with pytest.raises(ValueError, match="not a multiple"):
            build()
    with pytest.raises(ValueError, match="none of"):
        Pooling(8, "max")
