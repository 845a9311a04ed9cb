"""Pictures as pixels and as a table of cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ehrbench.core.errors import ConfigError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Divisible, Exchangeable
from ehrbench.core.views import Image, Table
from ehrbench.explain.sources import sources
from ehrbench.features.pictures import REGIONS, Pictures, region
from ehrbench.features.pixels import Pixels
from ehrbench.features.pooled import Pooled
from tests.features.conformance import FeaturizerContract
from tests.features.payloads import records_of


def pictures(n: int, seed: int, size: int = 24) -> Pictures:
    rng = np.random.default_rng(seed)
    n_images = rng.integers(1, 4, n)
    pixels = rng.integers(0, 256, size=(int(n_images.sum()) + 3, size, size), dtype=np.uint8)
    return Pictures(pixels, rng.permutation(len(pixels))[: int(n_images.sum())], n_images)


class TestPooled(FeaturizerContract):
    kind: type[Featurizer] = Pooled
    variants: list[dict[str, Any]] = [{}, {"cells": 4, "scaling": "standard"}, {"cells": 4}]  # noqa: RUF012

    def payload(self, n: int, seed: int) -> Pictures:
        return pictures(n, seed)


def test_pixels_are_views_of_the_same_memory() -> None:
    payload = pictures(9, 1)
    view = Pixels().fit(records_of(payload)).transform(records_of(payload))
    assert isinstance(view, Image)
    assert np.shares_memory(view.pixels, payload.pixels)
    assert np.shares_memory(view.take(np.array([3, 1])).pixels, payload.pixels)
    one = view.take(np.array([3]))
    np.testing.assert_array_equal(one.arrays()["pixels"][:, 0], payload.of(3))
    assert view.extents().tolist() == (9 * payload.n_images).tolist()  # squares of 8 × 8 in 24 × 24


def test_digests_tell_contents_apart() -> None:
    payload = pictures(6, 2)
    twice = payload.take(np.array([0, 1, 0]))
    assert len(set(payload.digests().tolist())) == 6
    assert twice.digests()[0] == twice.digests()[2] == payload.digests()[0]


def test_only_the_region_comes_from_the_donor() -> None:
    payload = pictures(5, 3)
    assert isinstance(payload, Exchangeable)
    donors = np.array([1, 0, 2, 4, 3])  # the third is its own
    index, changed = payload.exchanged(REGIONS[5], donors)
    assert index.tolist() == [0, 1, 3, 4]
    rows, columns = region(5, 24, 24)
    assert (rows, columns) == (slice(6, 12), slice(6, 12))
    for k, n in enumerate(index):
        own, other, now = payload.of(n), payload.of(donors[n]), changed.of(k)
        turn = np.arange(len(own)) % len(other)
        np.testing.assert_array_equal(now[:, rows, columns], other[turn][:, rows, columns])
        now[:, rows, columns] = own[:, rows, columns]
        np.testing.assert_array_equal(now, own)


def test_pieces_cover_every_image_and_those_within_one_cover_it() -> None:
    payload = pictures(4, 4).take(np.array([2]))
    assert isinstance(payload, Divisible)
    n_images = int(payload.n_images[0])
    for most, within in ((48, None), (4, None), (16, (0, 4, 8, 12, 16)), (64, (0, 0, 0, 3, 3))):
        pieces = payload.pieces(most, within)
        assert n_images <= len(pieces) <= max(most, n_images) if within is None else len(pieces) <= most
        counts = np.zeros((n_images, 24, 24), dtype=int)
        for k, top, left, bottom, right in pieces:
            counts[k, top:bottom, left:right] += 1
        expected = np.ones_like(counts)
        if within is not None:
            expected[:] = 0
            expected[within[0], within[1] : within[3], within[2] : within[4]] = 1
        np.testing.assert_array_equal(counts, expected)
    without = payload.without(pieces)
    for p, (k, top, left, bottom, right) in enumerate(pieces):
        now, own = without.of(p), payload.of(0).copy()
        assert len(np.unique(now[k, top:bottom, left:right])) == 1
        own[k, top:bottom, left:right] = now[k, top, left]
        np.testing.assert_array_equal(now, own)


def test_columns_say_which_region_and_find_a_bright_corner() -> None:
    pixels = np.full((1, 32, 32), 60, dtype=np.uint8)
    pixels[0, :8, 24:] = 250
    view = Pooled(cells=4).rows(records_of(Pictures.single(pixels)))
    assert isinstance(view, Table)
    means = {n: v for n, v in zip(view.names, view.values[0], strict=True) if ".mean" in n}
    assert max(means, key=means.__getitem__) == "row 1 column 4.mean@0,3"
    assert {one.parameter for one in sources(view)["values"]} == set(REGIONS)
    assert {one.kind for one in sources(view)["values"]} == {"value"}


def test_cells_must_fit_the_regions() -> None:
    with pytest.raises(ConfigError, match=r"^cells: 6 is not a multiple of 4 —"):
        Pooled(cells=6)
