"""Small records with something to learn, for every kind of view and target, with several units a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ehrbench.core.featurizer import Featurizer
from ehrbench.core.records import Records
from ehrbench.core.target import Kind, Target
from ehrbench.core.types import FloatArray, IntArray, StrArray
from ehrbench.core.views import Bag, Image, Sequence, Signal, Table, Tokens, View, offsets

LENGTH, CHANNELS, DESCRIPTORS = 10, 3, 2
#: Of a side of an image.
PIXELS = 32
#: Token ids a step, as many as its values are told apart by.
BINS = 8

TARGETS: dict[Kind, Target] = {
    "binary": Target("binary", ("event",)),
    "multilabel": Target("multilabel", ("left", "right", "rare")),
    "multiclass": Target("multiclass", ("low", "middle", "high")),
}


@dataclass(frozen=True)
class Series:
    """A Payload: each record's units stand in a block of ``values`` of its own."""

    blocks: tuple[FloatArray, ...]  # N arrays (units, L, F)

    def __len__(self) -> int:
        return len(self.blocks)

    def take(self, index: IntArray) -> Series:
        return Series(tuple(self.blocks[i] for i in index))

    def digests(self) -> StrArray:
        return np.array([str(hash(block.tobytes())) for block in self.blocks])


def records(kind: Kind, n: int = 120, seed: int = 0) -> Records:
    """n records of one to three units; a slow rise of channel 0 is what the classes follow."""
    rng = np.random.default_rng(seed)
    n_units = rng.integers(1, 4, n)
    signal = rng.normal(size=int(n_units.sum()))
    steps = np.linspace(-1, 1, LENGTH)
    values = rng.normal(size=(len(signal), LENGTH, CHANNELS)).astype(np.float32)
    values[:, :, 0] = signal[:, None] * steps + 0.3 * values[:, :, 0]
    ids = np.array([f"r{i}" for i in range(n)])
    blocks = tuple(np.split(values, np.cumsum(n_units)[:-1]))
    return Records(ids, ids, Series(blocks), n_units, _labels(kind, signal, rng))


def _labels(kind: Kind, signal: FloatArray, rng: np.random.Generator) -> FloatArray:
    if kind == "binary":
        return (signal > 0.5).astype(float)[:, None]
    if kind == "multiclass":
        return np.eye(3)[np.digitize(signal, [-0.5, 0.5])]
    y = np.stack([signal < 0, signal > 0, signal > 1.2], axis=1).astype(float)
    y[rng.random(y.shape) < 0.1] = np.nan  # some labels unknown
    return y


def drawn(values: FloatArray) -> Image:
    """Channel 0 from top to bottom beside the others; some units have the picture and its mirror image."""
    rows, columns = np.arange(PIXELS) * LENGTH // PIXELS, np.arange(PIXELS) * (CHANNELS + 1) // PIXELS
    shown = values[:, rows][:, :, np.array([0, 0, 1, 2])[columns]]
    pixels = np.clip(128 + 40 * shown, 0, 255).astype(np.uint8)[:, None]
    both = np.stack([pixels, pixels[..., ::-1]], axis=1).reshape(-1, *pixels.shape[1:])
    n_images = 1 + (values[:, 0, 1] > 0)
    images = np.concatenate([[2 * u, 2 * u + 1][:n] for u, n in enumerate(n_images)])
    return Image(both, images, n_images)


class ToyFeaturizer(Featurizer):
    """``view``: sequence (grid of hours, every third cell unmeasured), table, scaled_table (complete),
    image, or signal (a record's blocks end to end, its units in the middle of theirs).

    Of texts: bag or words (sparse rows of the larger values), or tokens (a step and its first channel's bin,
    smaller values left out, so that lengths differ).
    """

    def __init__(self, view: str) -> None:
        self.view = view
        self.mean = np.zeros(0)

    def settings(self) -> dict[str, Any]:
        return {"view": self.view}

    def rows(self, records: Records) -> View:
        payload = records.payload
        assert isinstance(payload, Series)
        values = np.concatenate(payload.blocks)
        if self.view == "image":
            return drawn(values)
        if self.view in ("bag", "words"):
            return _bag(values.reshape(len(values), -1))
        if self.view in ("tokens", "pretrained_tokens"):
            return _tokens(values[:, :, 0])
        if self.view == "signal":
            middles = records.unit_number * LENGTH + LENGTH // 2
            starts = offsets(LENGTH * records.n_units)
            return Signal(values.reshape(-1, CHANNELS), starts, middles, records.n_units)
        if self.view != "sequence":
            table = values.reshape(len(values), -1).copy()
            if self.view == "table":
                table[:, 1::5] = np.nan
            return Table(table, tuple(f"x{i}" for i in range(table.shape[1])))
        mask = np.ones_like(values)
        mask[:, ::3, 1:] = 0
        time = np.broadcast_to(np.arange(1, LENGTH + 1, dtype=np.float32), (len(values), LENGTH))
        return Sequence(values * mask, mask, time, values[:, 0, :DESCRIPTORS])

    def fit_rows(self, view: View) -> None:
        if isinstance(view, Bag | Tokens | Image):
            return
        values = view.arrays()["values"]
        self.mean = np.nan_to_num(values.reshape(-1, values.shape[-1])).mean(0)

    def apply(self, view: View) -> View:
        if isinstance(view, Bag | Tokens | Image):
            return view
        if isinstance(view, Table):
            return Table((view.values - self.mean).astype(np.float32), view.names)
        if isinstance(view, Signal):
            values = (view.values - self.mean).astype(np.float32)
            return Signal(values, view.starts, view.unit_step, view.n_units)
        assert isinstance(view, Sequence)
        values = ((view.values - self.mean) * view.mask).astype(np.float32)
        return Sequence(values, view.mask, view.time_hours, view.static)

    def state(self) -> dict[str, np.ndarray]:
        return {"mean": self.mean}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.mean = state["mean"]


def _bag(values: FloatArray) -> Bag:
    kept = np.abs(values) > 0.3
    starts = offsets(kept.sum(axis=1))
    values = values / np.linalg.norm(values * kept, axis=1, keepdims=True)
    return Bag(values[kept], np.nonzero(kept)[1].astype(np.int32), starts, values.shape[1])


def _tokens(values: FloatArray) -> Tokens:
    kept = np.abs(values) > 0.1
    codes = np.digitize(values, np.linspace(-1.5, 1.5, BINS - 1))
    ids = 2 + BINS * np.arange(values.shape[1]) + codes
    return Tokens(ids[kept].astype(np.int32), offsets(kept.sum(axis=1)), 2 + BINS * values.shape[1])
