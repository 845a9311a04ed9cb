"""A small plot in SVG that takes its colours from the page's CSS, so that one drawing reads in both themes.

Marks carry classes: ``m0`` … ``m7`` colour a model, ``band``, ``axis``, ``grid``, ``reference`` and ``faint``
do what they say (templates/style.css). Coordinates are written to a tenth of a pixel; what is not finite is
left out, and breaks a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from ehrbench.core.types import FloatArray

N_COLOURS = 8
#: Pixels of a picture that a phone shows whole.
NARROW = 420


@dataclass
class Plot:
    """Axes from (x_low, y_low) to (x_high, y_high) inside a picture of width × height pixels.

    title: what a screen reader says of it. margins: left, right, top, bottom. A range of one value, as of
    trees that never split, gets room around it.
    """

    title: str
    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 420
    height: float = 330
    margins: tuple[float, float, float, float] = (60, 12, 10, 44)
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.x, self.y = _open(*self.x), _open(*self.y)

    def at_x(self, value: float) -> float:
        left, right = self.margins[0], self.width - self.margins[1]
        return left + (value - self.x[0]) / (self.x[1] - self.x[0]) * (right - left)

    def at_y(self, value: float) -> float:
        top, bottom = self.margins[2], self.height - self.margins[3]
        return bottom - (value - self.y[0]) / (self.y[1] - self.y[0]) * (bottom - top)

    def axes(
        self,
        x_label: str,
        y_label: str,
        *,
        x_ticks: Sequence[float] | None = None,
        y_ticks: Sequence[float] | None = None,
    ) -> Plot:
        """Grid, ticks and labels; drawn first, so that marks lie above them."""
        bottom, left = self.height - self.margins[3], self.margins[0]
        for value in ticks(*self.x) if x_ticks is None else x_ticks:
            x = self.at_x(value)
            self.raw(f'<path class="grid" d="M{x:.1f} {self.margins[2]:.1f}V{bottom:.1f}"/>')
            self.text_at(x, bottom + 16, number(value), "tick", anchor="middle")
        for value in ticks(*self.y) if y_ticks is None else y_ticks:
            y = self.at_y(value)
            self.raw(f'<path class="grid" d="M{left:.1f} {y:.1f}H{self.width - self.margins[1]:.1f}"/>')
            self.text_at(left - 7, y + 4, number(value), "tick", anchor="end")
        right, top = self.width - self.margins[1], self.margins[2]
        self.raw(f'<path class="axis" d="M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}"/>')
        if x_label:
            self.text_at((left + right) / 2, self.height - 8, x_label, "label", anchor="middle")
        if y_label:
            y = (top + bottom) / 2
            self.raw(
                f'<text class="label" text-anchor="middle" transform="translate(12 {y:.1f}) rotate(-90)">'
                f"{escape(y_label)}</text>"
            )
        return self

    def line(
        self, x: FloatArray | Sequence[float], y: FloatArray | Sequence[float], kind: str, tip: str = ""
    ) -> None:
        path = self._path(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
        if path:
            self.raw(f'<path class="line {kind}" d="{path}"{_close(tip, "path")}')

    def steps(self, x: FloatArray, y: FloatArray, kind: str, tip: str = "") -> None:
        """A line that holds each value until the next x."""
        self.line(np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1], kind, tip)

    def band(self, x: FloatArray, low: FloatArray, high: FloatArray, kind: str) -> None:
        fine = np.isfinite(low) & np.isfinite(high)
        if fine.sum() >= 2:
            around = np.r_[x[fine], x[fine][::-1]], np.r_[low[fine], high[fine][::-1]]
            self.raw(f'<path class="band {kind}" d="{self._path(*around)}Z"/>')

    def dot(self, x: float, y: float, kind: str, radius: float = 3.5, tip: str = "") -> None:
        if np.isfinite([x, y]).all():
            place = f'cx="{self.at_x(x):.1f}" cy="{self.at_y(y):.1f}" r="{radius:g}"'
            self.raw(f'<circle class="dot {kind}" {place}{_close(tip, "circle")}')

    def bar(self, x: tuple[float, float], y: float, thickness: float, kind: str, tip: str = "") -> None:
        """A horizontal bar; thickness in pixels."""
        left, right = self.at_x(x[0]), self.at_x(x[1])
        place = f'x="{min(left, right):.1f}" y="{self.at_y(y) - thickness / 2:.1f}"'
        size = f'width="{abs(right - left):.1f}" height="{thickness:g}" rx="2"'
        self.raw(f'<rect class="fill {kind}" {place} {size}{_close(tip, "rect")}')

    def text(self, x: float, y: float, text: str, kind: str = "note", anchor: str = "start") -> None:
        self.text_at(self.at_x(x), self.at_y(y) + 4, text, kind, anchor=anchor)

    def text_at(self, x: float, y: float, text: str, kind: str, *, anchor: str = "start") -> None:
        """Text at pixels of the picture."""
        self.raw(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')

    def raw(self, part: str) -> None:
        self.parts.append(part)

    def svg(self) -> str:
        """The finished picture."""
        # Below, letters are too small, and it scrolls instead; narrow ones have larger letters on phones.
        most, least = self.width * 1.2, self.width * (0.83 if self.width <= NARROW else 0.92)
        style = f"max-width:{most:.0f}px;min-width:{least:.0f}px"
        size = f'viewBox="0 0 {self.width:g} {self.height:g}" style="{style}"'
        title = escape(self.title, quote=True)
        return f'<svg class="plot" role="img" aria-label="{title}" {size}>{"".join(self.parts)}</svg>'

    def _path(self, x: FloatArray, y: FloatArray) -> str:
        words, down = [], False
        for px, py in zip(x, y, strict=True):
            if not (np.isfinite(px) and np.isfinite(py)):
                down = False
                continue
            words.append(f"{'L' if down else 'M'}{self.at_x(px):.1f} {self.at_y(py):.1f}")
            down = True
        return "".join(words)


def _open(low: float, high: float) -> tuple[float, float]:
    return (low, high) if low < high and np.isfinite([low, high]).all() else around([low, high])


def _close(tip: str, tag: str) -> str:
    return f"><title>{escape(tip)}</title></{tag}>" if tip else "/>"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from low to high, at most ``most`` or so."""
    if not (np.isfinite([low, high]).all() and high > low):
        return []
    rough = (high - low) / most
    power = 10 ** np.floor(np.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
    first = np.ceil(low / step - 1e-9)
    return [float(round(k * step, 12)) for k in np.arange(first, np.floor(high / step + 1e-9) + 1)]


def number(value: float, digits: int = 4) -> str:
    """A number as a reader wants it: 0.8613, 12, 1.2e−5; a dash where it is not finite."""
    if not np.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}".replace("-", "−")
    if abs(value) >= 1e-3:
        return f"{value:.{digits}g}".replace("-", "−")
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}".replace("-", "−")


def room(names: Sequence[str], least: float, *, letter: float = 7.8, most: float = 200) -> float:
    """Pixels that the longest of the names takes beside an axis; letter: the width of one."""
    return float(np.clip(letter * max(map(len, names), default=0) + 14, least, most))


def shortened(text: str, most: int) -> str:
    """At most so many letters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def around(values: Sequence[float] | FloatArray, share: float = 0.06) -> tuple[float, float]:
    """Bounds that hold all finite values with a little air; (0, 1) where there are none."""
    array = np.asarray(values, dtype=float)
    finite = array[np.isfinite(array)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    air = (high - low) * share if high > low else abs(high) * 0.06 or 0.05
    return low - air, high + air
