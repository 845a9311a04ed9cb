"""A planted mark: saliency finds it, adds up to the score, and agrees with covering places one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import IntArray
from ehrbench.core.views import Image
from ehrbench.explain.attribution import attribute
from ehrbench.explain.saliency import pixel_saliency
from ehrbench.features.pictures import GRID, Pictures
from ehrbench.features.pixels import Pixels
from ehrbench.models.cnn import CNN
from tests.features.payloads import records_of
from tests.models.marked import MARK, SIZE, marked


@pytest.fixture(scope="module")
def model() -> CNN:
    net = CNN(
        target=Target("binary", ("mark",)),
        featurizer=Pixels(),
        width=8,
        n_stages=3,
        augmentation=0.2,
        learning_rate=0.01,
        max_epochs=12,
        batch_size=16,
        accelerator="cpu",
    )
    net.fit(marked(200, seed=1)[0], None, seed=1)
    return net


@pytest.fixture(scope="module")
def shown() -> tuple[Records, IntArray]:
    records, middles = marked(32, seed=2)
    return records.take(np.arange(16)), middles[:16]


def test_it_finds_the_mark_as_occlusion_does(model: CNN, shown: tuple[Records, IntArray]) -> None:
    """Place by place of GRID × GRID: where most of the score comes from, and what covering loses."""
    records, middles = shown
    payload = records.payload
    assert isinstance(payload, Pictures)
    net = model.fitted_network
    parts, gap = pixel_saliency(net, payload.pixels[:, None])
    side, agreement = SIZE // GRID, []
    near: list[bool] = []
    same: list[bool] = []
    for k in range(len(records)):
        summed = parts[k, 0].reshape(GRID, side, GRID, side).sum((1, 3)).ravel()
        own = payload.take(np.array([k]))
        covered = own.without(own.pieces(GRID**2)).pixels[:, None]
        both = torch.from_numpy(np.concatenate([own.of(0)[:, None], covered]))
        with torch.no_grad():
            score, *without = net(pixels=both)[:, 0]
        lost = (score - torch.stack(without)).numpy()
        for found, by_place in ((near, summed), (same, lost)):
            place = side * np.array(divmod(int(by_place.argmax()), GRID)) + side / 2
            found.append(bool(np.abs(place - middles[k]).max() <= MARK))
        agreement.append(np.corrcoef(summed, lost)[0, 1])
    assert sum(near) >= 14
    assert sum(same) >= 14
    assert np.median(agreement) > 0.4
    assert np.abs(gap).max() < 0.1 * np.abs(parts.sum((2, 3))).max()


def test_regions_add_up_and_a_unit_of_two_views_gets_their_mean(
    model: CNN, shown: tuple[Records, IntArray]
) -> None:
    records, _ = shown
    single = attribute(model, records, 0)
    assert len(single.parts) == 16
    pair = Pictures(records.payload.pixels, np.arange(16), np.full(8, 2))  # type: ignore[attr-defined]
    double = attribute(model, records_of(pair), 0)
    for source, of_image in single.parts.items():
        np.testing.assert_allclose(double.parts[source], of_image.reshape(8, 2, 1).mean(1), atol=1e-5)
    assert isinstance(model.featurizer.transform(records), Image)
