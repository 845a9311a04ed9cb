"""Figure: what a template draws. Either a picture or the words why there is none; never an empty frame."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """id: the page's anchor; svg: the picture; why: the reason when ``svg`` is None.

    wide: it takes the page's whole width; narrow: such a picture drawn for a phone, which shows a part of it.

    models: those that the picture colours, for its legend: (colour class, name).
    """

    id: str
    title: str
    caption: str
    svg: str | None = None
    why: str | None = None
    models: tuple[tuple[str, str], ...] = ()
    wide: bool = False
    narrow: str | None = None

    def __post_init__(self) -> None:
        if (self.svg is None) == (self.why is None):
            raise ValueError(f"figure {self.id} needs either a picture or a reason for having none")
