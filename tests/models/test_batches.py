"""Batches of recordings: cut while trained on, by length while not; every unit always with its own label."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ehrbench.core.views import Signal, Table, offsets
from ehrbench.models.batches import Batches, by_length
from ehrbench.nets.inputs import SignalInput
from ehrbench.nets.network import Network

LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=6)


class Echo(Network):
    """Scores are the first channel."""

    def prepare(self, **arrays: Tensor) -> tuple[Tensor, ...]:
        return tuple(SignalInput(1)(**arrays))

    def score(self, *prepared: Tensor) -> Tensor:
        return prepared[0][..., :1]


def recordings(lengths: list[int], each: int = 1) -> Signal:
    """Steps are numbered from 1 over all recordings; every ``each``-th one is a unit."""
    steps = np.concatenate([np.arange(0, n, each) for n in lengths])
    counts = np.array([len(range(0, n, each)) for n in lengths])
    values = np.arange(1.0, sum(lengths) + 1, dtype=np.float32)[:, None]
    return Signal(values, offsets(np.array(lengths)), steps, counts)


@given(LENGTHS, st.integers(1, 40), st.floats(0, 1, exclude_max=True), st.integers(1, 3))
def test_pieces_hold_the_same_units_wherever_they_are_cut(lengths, steps, shift, each):
    view = recordings(lengths, each)
    cut = view.pieces(steps, shift)
    assert len(cut) == sum(-(-n // steps) for n in lengths) == len(view.pieces(steps, 0.0))
    assert set(view.starts.tolist()) <= set(cut.starts.tolist())
    assert cut.extents().max() <= 1.5 * steps + 1
    place, same = (np.repeat(v.starts[:-1], v.n_units) + v.unit_step for v in (cut, view))
    assert place.tolist() == same.tolist()
    assert (cut.unit_step >= 0).all()
    assert (cut.unit_step < np.repeat(cut.extents(), cut.n_units)).all()


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("piece", [0, 7])
@given(lengths=LENGTHS, each=st.integers(1, 2))
def test_every_unit_comes_once_with_its_own_label(seed, piece, lengths, each):
    view = recordings(lengths, each)
    y = view.values[np.repeat(view.starts[:-1], view.n_units) + view.unit_step]
    batches = Batches(Echo(), view, y, 3, torch.device("cpu"), seed, piece)
    found = list(batches)
    assert all(torch.equal(part.scores(batches.net), part.y) for part in found)
    assert sorted(torch.cat([part.y for part in found]).flatten().tolist()) == y.flatten().tolist()
    if seed is not None:
        assert len(found) == len(batches)


def test_another_pass_cuts_elsewhere():
    view = recordings([100])
    batches = Batches(Echo(), view, view.values, 100, torch.device("cpu"), 0, 30)
    assert len({next(iter(batches)).inputs[0].shape for _ in range(5)}) > 1


def test_items_of_one_shape_are_neither_cut_nor_moved():
    view = Table(np.arange(6.0)[:, None], ("x",))
    assert view.pieces(2, 0.5) is view
    same, units, back = by_length(view)
    assert same is view
    assert units.tolist() == back.tolist() == list(range(6))
