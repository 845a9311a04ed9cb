"""A planted mark: saliency finds it, adds up to the score, and agrees with covering places one by one."""

from __future__ import annotations

import numpy as np
import pytest

from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import IntArray
from ehrbench.core.views import Image
from ehrbench.explain.attribution import attribute
from ehrbench.explain.saliency import pixel_saliency
from ehrbench.features.pictures import CELLS, Pictures
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


def test_it_finds_the_mark_and_agrees_with_occlusion(model: CNN, shown: tuple[Records, IntArray]) -> None:
    records, middles = shown
    payload = records.payload
    assert isinstance(payload, Pictures)
    parts, gap = pixel_saliency(model.fitted_network, payload.pixels[:, None])
    near, same, agreement = 0, 0, []
    for k in range(len(records)):
        cell = SIZE // CELLS
        cells = parts[k, 0].reshape(CELLS, cell, CELLS, cell).sum((1, 3))
        blurred = np.pad(cells, 1)
        around = sum(blurred[i : i + CELLS, j : j + CELLS] for i in range(3) for j in range(3))
        place = cell * np.array(np.unravel_index(np.argmax(around), around.shape)) + cell / 2
        near += bool(np.abs(place - middles[k]).max() <= MARK)
        own = payload.take(np.array([k]))
        covered = model.predict(records_of(own.covered()))
        scores = model.target.scores(np.concatenate([model.predict(records_of(own)), covered]))[:, 0]
        lost = scores[0] - scores[1:]
        strongest = cell * np.array(divmod(int(lost.argmax()), CELLS)) + cell / 2
        same += bool(np.abs(place - strongest).max() <= MARK)
        agreement.append(np.corrcoef(around.ravel(), lost)[0, 1])
    assert near >= 14
    assert same >= 14
    assert np.median(agreement) > 0.3
    difference = np.abs(parts.sum((2, 3))).max()
    assert np.abs(gap).max() < 0.1 * difference


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
