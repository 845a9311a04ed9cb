"""Figure: what a template draws. Either a picture or the words why there is none; never an empty frame."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """id: the page's anchor; svg: the picture; why: the reason when ``svg`` is None.

    models: those that the picture colours, for its legend: (colour class, name).
    """

    id: str
    title: str
    caption: str
    svg: str | None = None
    why: str | None = None
    models: tuple[tuple[str, str], ...] = ()
    wide: bool = False

    def __post_init__(self) -> None:
        if (self.svg is None) == (self.why is None):
            raise ValueError(f"figure {self.id} needs either a picture or a reason for having none")
