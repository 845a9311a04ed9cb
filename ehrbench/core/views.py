"""Views: what a model eats, handed out batch by batch. A featurizer turns records into a view.

A view holds **items**: one a unit (``Table``, ``Sequence``, ``Image``, ``Tokens``, ``Bag``), or one a record
(``Signal``: a recording of any length, whose units lie on its steps). ``take`` picks items and copies nothing
that need not be copied (a memory map stays on disk); ``arrays`` makes dense arrays of the items at hand, as
an exported network names its inputs, padded to the longest of them. So ``view.take(index).arrays()`` is a
batch, whatever the size of the whole. What a network gives for the rows of such a batch becomes one row a
unit by the view's ``gathering``, the same in training and in a bundle.

A view that names its columns says by ``parameter_of`` which parameter each speaks of; a column that is not
there speaks of itself. What follows the parameter in a column's name says how (``explain.sources``).

Missing values: NaN in a ``Table``; elsewhere 0 with 0 in the mask beside it. Padding is always masked, and no
model's output may depend on it, nor on the company of other items.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

import numpy as np

from ehrbench.core.types import FloatArray, IntArray


@dataclass(frozen=True)
class Port:
    """One array of a batch: NumPy's name of its dtype, and its shape after the rows.

    A name in the shape stands for an axis that differs from batch to batch (``steps``, ``tokens``).
    below: of codes (token ids), the number that all are less than; 0 of amounts.
    """

    dtype: str
    shape: tuple[int | str, ...]
    below: int = 0


@dataclass(frozen=True, eq=False)
class Gathering:
    """From a network's rows to units: the score of a unit is the mean of those at its positions.

    position: (K,) into the rows of scores, or into rows x steps, row by row, where scores come a step.
    unit: (K,) non-decreasing, the unit each position belongs to; None: one position a unit, in order.
    """

    position: IntArray
    unit: IntArray | None = None

    def __call__(self, scores: FloatArray) -> FloatArray:
        """scores (R, C) or (R, L, C) -> (U, C)."""
        found = scores.reshape(-1, scores.shape[-1])[self.position]
        if self.unit is None:
            return found
        first = np.flatnonzero(np.diff(self.unit, prepend=-1))
        counts = np.diff(np.append(first, len(self.unit)))
        return np.asarray(np.add.reduceat(found, first, axis=0) / counts[:, None])


class View(ABC):
    """Items a model can take. Immutable."""

    #: What an item is.
    per: ClassVar[Literal["unit", "record"]] = "unit"

    @abstractmethod
    def __len__(self) -> int:
        """Number of items."""

    @abstractmethod
    def take(self, index: IntArray) -> Self:
        """The items at ``index``, in that order."""

    @abstractmethod
    def ports(self) -> dict[str, Port]:
        """The arrays of a batch, in the order of a network's inputs."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """All items as dense arrays of the ports' names and dtypes, first axis rows."""

    def gathering(self) -> Gathering | None:
        """How scores of ``arrays``' rows become units; None where row and unit are the same."""
        return None

    def unit_counts(self) -> IntArray | None:
        """(len,) units of each item; None: one each."""
        return None

    def extents(self) -> IntArray | None:
        """(len,) length of each item along the free axis; None where items are all of one shape."""
        return None

    def pieces(self, steps: int, shift: float) -> Self:
        """The same units on shorter items, for training: nothing but time that is padding is lost.

        An item of more than ``steps`` steps becomes as few nearly equal pieces as that takes, whose ends move
        with ``shift`` (0 to 1); their number does not. Itself, where items are all of one shape.
        """
        return self

    def batches(self, items: int, cells: int) -> Iterator[Self]:
        """Consecutive parts of at most ``items`` items and, where they differ, ``cells`` cells with padding.

        A single item may have more cells. Nothing for an empty view.
        """
        extents = self.extents()
        start = 0
        while start < len(self):
            stop = min(start + items, len(self))
            if extents is not None:
                longest = np.maximum.accumulate(np.maximum(extents[start:stop], 1))
                stop = start + max(1, int((longest * np.arange(1, stop - start + 1) <= cells).sum()))
            yield self if (start, stop) == (0, len(self)) else self.take(np.arange(start, stop))
            start = stop


@dataclass(frozen=True, eq=False)
class Table(View):
    """One row of named columns a unit; NaN means missing.

    levels: of each column of categories, in whose cells the number of a level stands.
    """

    values: FloatArray  # (U, F)
    names: tuple[str, ...]  # F
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parameter_of: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: IntArray) -> Table:
        return replace(self, values=self.values[index])

    @property
    def categorical(self) -> list[int]:
        """Places of the columns of categories."""
        return [i for i, name in enumerate(self.names) if name in self.levels]

    def ports(self) -> dict[str, Port]:
        return {"values": Port("float32", self.values.shape[1:])}

    def arrays(self) -> dict[str, np.ndarray]:
        return {"values": self.values}


@dataclass(frozen=True, eq=False)
class Sequence(View):
    """L steps of F channels a unit, on a grid or at their own times, and S descriptors that do not change."""

    values: FloatArray  # (U, L, F)
    mask: FloatArray  # (U, L, F), 1 where measured
    time_hours: FloatArray  # (U, L), non-decreasing
    static: FloatArray  # (U, S)
    channels: tuple[str, ...] = ()  # F
    descriptors: tuple[str, ...] = ()  # S
    parameter_of: Mapping[str, str] = field(default_factory=dict)  # of channels and descriptors

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: IntArray) -> Sequence:
        return Sequence(
            self.values[index],
            self.mask[index],
            self.time_hours[index],
            self.static[index],
            self.channels,
            self.descriptors,
            self.parameter_of,
        )

    def ports(self) -> dict[str, Port]:
        return {name: Port("float32", array.shape[1:]) for name, array in self.arrays().items()}

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in ("values", "mask", "time_hours", "static")}


@dataclass(frozen=True, eq=False)
class Signal(View):
    """R recordings of F channels, each of its own length; units lie on steps, as a network's scores do."""

    values: FloatArray  # (T, F) float32, the steps of all recordings end to end
    starts: IntArray  # (R + 1,) where each recording begins among them
    unit_step: IntArray  # (U,) step within its recording on which each unit lies, recording by recording
    n_units: IntArray  # (R,)
    channels: tuple[str, ...] = ()  # F
    parameter_of: Mapping[str, str] = field(default_factory=dict)
    per: ClassVar[Literal["unit", "record"]] = "record"

    def __len__(self) -> int:
        return len(self.n_units)

    def take(self, index: IntArray) -> Signal:
        steps, starts = ragged(self.starts, index)
        units, _ = ragged(offsets(self.n_units), index)
        return replace(
            self,
            values=self.values[steps],
            starts=starts,
            unit_step=self.unit_step[units],
            n_units=self.n_units[np.asarray(index)],
        )

    def ports(self) -> dict[str, Port]:
        return {
            "values": Port("float32", ("steps", self.values.shape[1])),
            "valid": Port("float32", ("steps",)),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """values (R, L, F) and valid (R, L), 0 in the padding behind a recording's end."""
        lengths = np.diff(self.starts)
        valid = np.arange(max(int(lengths.max(initial=0)), 1)) < lengths[:, None]
        values = np.zeros((*valid.shape, self.values.shape[1]), dtype=np.float32)
        values[valid] = self.values
        return {"values": values, "valid": valid.astype(np.float32)}

    def gathering(self) -> Gathering:
        length = max(int(np.diff(self.starts).max(initial=0)), 1)
        return Gathering(np.repeat(np.arange(len(self)) * length, self.n_units) + self.unit_step)

    def unit_counts(self) -> IntArray:
        return self.n_units

    def extents(self) -> IntArray:
        return np.diff(self.starts)

    def pieces(self, steps: int, shift: float) -> Signal:
        lengths = np.diff(self.starts)
        count = np.maximum(-(-lengths // steps), 1)
        owner = np.repeat(np.arange(len(self)), count)
        place = np.arange(len(owner)) - offsets(count)[owner]  # of each piece among its recording's
        inside = np.where(place > 0, (place + shift - 0.5) / count[owner], 0.0)
        starts = np.append(self.starts[owner] + (inside * lengths[owner]).astype(np.int64), self.starts[-1])
        at = np.repeat(self.starts[:-1], self.n_units) + self.unit_step  # (U,) among all steps
        piece = np.searchsorted(starts, at, side="right") - 1
        counts = np.bincount(piece, minlength=len(owner))
        return replace(self, starts=starts, unit_step=at - starts[piece], n_units=counts)


@dataclass(frozen=True, eq=False)
class Image(View):
    """One or several images a unit, of one size; a unit's score is the mean over its images.

    pixels: (K, channels, height, width) uint8, perhaps a memory map; images: (V,) which of them the units
    have, unit by unit, and n_images how many each has. Cells of a batch are squares of 8 × 8 pixels.
    """

    pixels: IntArray
    images: IntArray  # (V,)
    n_images: IntArray  # (U,)

    @staticmethod
    def single(pixels: IntArray) -> Image:
        """One image a unit, in order."""
        return Image(pixels, np.arange(len(pixels)), np.ones(len(pixels), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.n_images)

    def take(self, index: IntArray) -> Image:
        at, _ = ragged(offsets(self.n_images), index)
        return Image(self.pixels, self.images[at], self.n_images[np.asarray(index)])

    def ports(self) -> dict[str, Port]:
        return {"pixels": Port("uint8", self.pixels.shape[1:])}

    def arrays(self) -> dict[str, np.ndarray]:
        return {"pixels": np.asarray(self.pixels[self.images])}

    def gathering(self) -> Gathering | None:
        if (self.n_images == 1).all():
            return None
        return Gathering(np.arange(len(self.images)), np.repeat(np.arange(len(self)), self.n_images))

    def extents(self) -> IntArray:
        height, width = self.pixels.shape[2:]
        return np.asarray(self.n_images * max(1, height * width // 64))


@dataclass(frozen=True, eq=False)
class Tokens(View):
    """One text a unit, as token ids end to end; 0 is padding and no token."""

    ids: IntArray  # (T,) int32
    starts: IntArray  # (U + 1,)
    n_tokens: int = 0  # ids are below; 0: not known

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, index: IntArray) -> Tokens:
        at, starts = ragged(self.starts, index)
        return Tokens(self.ids[at], starts, self.n_tokens)

    def ports(self) -> dict[str, Port]:
        return {"ids": Port("int64", ("tokens",), self.n_tokens), "mask": Port("float32", ("tokens",))}

    def arrays(self) -> dict[str, np.ndarray]:
        """ids (U, L) and mask (U, L), both 0 in the padding behind a text's end."""
        lengths = np.diff(self.starts)
        mask = np.arange(max(int(lengths.max(initial=0)), 1)) < lengths[:, None]
        ids = np.zeros(mask.shape, dtype=np.int64)
        ids[mask] = self.ids
        return {"ids": ids, "mask": mask.astype(np.float32)}

    def extents(self) -> IntArray:
        return np.diff(self.starts)


@dataclass(frozen=True, eq=False)
class Bag(View):
    """One sparse row of F columns a unit (TF-IDF), compressed: row u has ``starts[u]:starts[u + 1]``."""

    data: FloatArray  # (Z,) float32
    columns: IntArray  # (Z,) int32, ascending within a row
    starts: IntArray  # (U + 1,) int64
    n_columns: int
    names: tuple[str, ...] = field(default=(), repr=False)  # F, or none

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, index: IntArray) -> Bag:
        at, starts = ragged(self.starts, index)
        return Bag(self.data[at], self.columns[at], starts, self.n_columns, self.names)

    def ports(self) -> dict[str, Port]:
        return {
            "data": Port("float32", ("cells",)),
            "columns": Port("int32", ("cells",)),
            "starts": Port("int64", ()),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """The three arrays of the compressed rows; dense ones would be mostly zeros."""
        return {"data": self.data, "columns": self.columns, "starts": self.starts}


def grouped(names: Iterable[str]) -> dict[str, str]:
    """``parameter_of`` for columns ``<parameter>.<what>``, where no parameter's own name has a full stop."""
    return {name: name.partition(".")[0] for name in names}


def indicators(names: Iterable[str], parameter_of: Mapping[str, str]) -> dict[str, str]:
    """``parameter_of`` for columns ``<name>.missing``, which say where these columns have holes."""
    return {f"{name}.missing": parameter_of.get(name, name) for name in names}


def offsets(counts: IntArray) -> IntArray:
    """(R + 1,) where each of R runs of so many entries begins, and where the last ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def ragged(starts: IntArray, index: IntArray) -> tuple[IntArray, IntArray]:
    """Positions of the entries of the runs at ``index``, in that order, and the starts (R' + 1,) they get."""
    index = np.asarray(index)
    counts = np.diff(starts)[index]
    taken = offsets(counts)
    return np.repeat(starts[:-1][index] - taken[:-1], counts) + np.arange(taken[-1]), taken
