"""Sequence inputs against plain loops over time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrbench.nets.inputs import N_STATISTICS, SequenceInput, last_observations, statistics
from ehrbench.nets.pooling import POOLINGS
from ehrbench.nets.sequence import SequenceNetwork
from ehrbench.nets.ssm import SSMEncoder


def _view(seed: int, length: int = 11, n_channels: int = 3) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    mask = (rng.random((4, length, n_channels)) < 0.3).astype(np.float64)
    arrays = {
        "values": rng.normal(size=mask.shape) * mask,
        "mask": mask,
        "time_hours": np.cumsum(rng.exponential(1.0, (4, length)), axis=1),
        "static": rng.normal(size=(4, 2)),
    }
    return {name: torch.from_numpy(a) for name, a in arrays.items()}


@given(seed=st.integers(0, 10_000), length=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_forward_fill_and_time_since_match_a_loop(seed: int, length: int) -> None:
    view = _view(seed, length)
    filled, have = (x.numpy() for x in last_observations([view["values"]], view["mask"]))
    steps = SequenceInput(3, 2)(**view)[0].numpy()
    values, mask, time = (view[k].numpy() for k in ("values", "mask", "time_hours"))
    for b in range(4):
        for f in range(3):
            last, seen, at = 0.0, 0.0, time[b, 0]
            for k in range(length):
                if mask[b, k, f]:
                    last, seen, at = values[b, k, f], 1.0, time[b, k]
                assert filled[b, k, f] == last
                assert have[b, k, f] == seen
                np.testing.assert_allclose(
                    steps[b, k, 6 + f] * np.log(25), np.log1p(time[b, k] - at), atol=1e-9
                )


def test_statistics_match_numpy() -> None:
    view = _view(1, 12)
    values, mask = view["values"], view["mask"]
    got = (
        statistics(values, mask, last_observations([values], mask)[0], torch.ones(4, 12))
        .view(4, N_STATISTICS, 3)
        .numpy()
    )
    for b in range(4):
        for f in range(3):
            where = np.flatnonzero(mask[b, :, f])
            x = values[b, where, f].numpy()
            if not len(x):
                np.testing.assert_array_equal(got[b, :, f], 0)
                continue
            early, late = x[where < 6], x[where >= 6]
            drift = late.mean() - early.mean() if len(early) and len(late) else 0.0
            expected = [
                np.log1p(len(x)) / 4, x.mean(), x.std(), x.min(), x.max(), x[0], x[-1], x[-1] - x[0], drift,
            ]  # fmt: skip
            np.testing.assert_allclose(got[b, :, f], expected, atol=1e-12)


def _padded(view: dict[str, torch.Tensor], by: int, end: str) -> dict[str, torch.Tensor]:
    """Empty steps before the first step and at its time, or after the last and at its time."""
    empty, time = torch.zeros(4, by, 3), view["time_hours"]
    edge = (time[:, :1] if end == "front" else time[:, -1:]).expand(4, by)

    def joined(padding: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        return torch.cat([padding, real] if end == "front" else [real, padding], dim=1)

    return {
        "values": joined(empty, view["values"]),
        "mask": joined(empty, view["mask"]),
        "time_hours": joined(edge, time),
        "static": view["static"],
    }


@pytest.mark.parametrize("end", ["front", "back"])
def test_padding_is_not_valid_and_counts_nothing(end: str) -> None:
    view = _view(2)
    view["mask"][:, 0, 0] = 1  # as at real times: no step without a measurement
    inputs = SequenceInput(3, 2, use_statistics=False)
    steps, dt, valid, wide = inputs(**_padded(view, 3, end))
    real, padding = slice(11), slice(11, None)  # what stood in front stands behind
    assert valid.sum(1).tolist() == [11.0] * 4
    assert not steps[:, padding].any()
    assert not dt[:, padding].any()
    for mine, other in zip(
        (steps[:, real], dt[:, real], wide), (inputs(**view)[i] for i in (0, 1, 3)), strict=True
    ):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_stay_has_one_score_however_far_it_is_padded(pooling: str, bidirectional: bool) -> None:
    """Real times, padded in front as ``Irregular`` does: its first measurements count, padding does not."""
    torch.manual_seed(0)
    view = {name: x.float() for name, x in _view(4).items()}
    view["mask"][:, 0, 0] = 1
    inputs = SequenceInput(3, 2)
    encoder = SSMEncoder(
        inputs.width, 8, n_pairs=4, n_layers=2, dropout=0.0, irregular=True, bidirectional=bidirectional
    )
    net = SequenceNetwork(inputs, encoder, 8, 1, dropout=0.0, pooling=pooling).eval()
    with torch.no_grad():
        scores = [net(**view), *(net(**_padded(view, by, "front")) for by in (1, 9))]
    for score in scores[1:]:
        torch.testing.assert_close(score, scores[0])


def test_a_grid_is_all_valid() -> None:
    """Hours without any measurement are no padding there, the first one neither."""
    view = _view(5, length=6)
    view["mask"] = torch.zeros_like(view["mask"])
    view["time_hours"] = torch.arange(1.0, 7.0).expand(4, 6)
    _, dt, valid, _ = SequenceInput(3, 2)(**view)
    assert valid.all()
    assert (dt == 1).all()


def test_what_is_switched_off_is_not_fed() -> None:
    inputs = SequenceInput(3, 2, use_mask=False, use_delta=False, use_statistics=False)
    steps, _, _, wide = inputs(**_view(3))
    assert steps.shape[2] == inputs.width == 3
    assert wide.shape[1] == inputs.n_wide == 2
