"""Views: what a model eats. A featurizer turns records into a view with one row a unit.

Values are float32 and finite; what was not measured is 0 in ``values`` and 0 in ``mask``. ``arrays`` names
the arrays as an exported network names its inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from ehrbench.core.types import FloatArray, IntArray


class View(Protocol):
    """U rows a model can take."""

    def __len__(self) -> int: ...

    def take(self, index: IntArray) -> Self:
        """The rows at ``index``, in that order."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Named arrays, first axis U; a network's inputs in this order."""
        ...


@dataclass(frozen=True, eq=False)
class Table:
    """One row of named columns a unit; NaN means missing."""

    values: FloatArray  # (U, F)
    names: tuple[str, ...]  # F

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: IntArray) -> Table:
        return Table(self.values[index], self.names)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"values": self.values}


@dataclass(frozen=True, eq=False)
class Sequence:
    """L steps of F channels a unit, on a grid or at their own times, and S descriptors that do not change."""

    values: FloatArray  # (U, L, F)
    mask: FloatArray  # (U, L, F), 1 where measured
    time_hours: FloatArray  # (U, L), non-decreasing
    static: FloatArray  # (U, S)
    channels: tuple[str, ...] = ()  # F
    descriptors: tuple[str, ...] = ()  # S

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
        )

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "values": self.values,
            "mask": self.mask,
            "time_hours": self.time_hours,
            "static": self.static,
        }


@dataclass(frozen=True, eq=False)
class Image:
    """One image a unit."""

    pixels: FloatArray  # (U, channels, height, width), in [0, 1]

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, index: IntArray) -> Image:
        return Image(self.pixels[index])

    def arrays(self) -> dict[str, np.ndarray]:
        return {"pixels": self.pixels}


@dataclass(frozen=True, eq=False)
class Tokens:
    """One text a unit, as token ids."""

    ids: IntArray  # (U, L)
    mask: FloatArray  # (U, L), 1 where a token stands

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: IntArray) -> Tokens:
        return Tokens(self.ids[index], self.mask[index])

    def arrays(self) -> dict[str, np.ndarray]:
        return {"ids": self.ids, "mask": self.mask}
