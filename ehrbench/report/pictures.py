"""Pictures: the report's figures as files of their own, for MLflow, slides and papers: ``figures/<id>.svg``.

Each is a light-themed SVG with title, caption and legend inside, and fetches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from html import escape
from pathlib import Path
from typing import Any

from ehrbench.core.run_folder import FIGURES
from ehrbench.core.task import Words
from ehrbench.report.figure import Figure
from ehrbench.report.rendering import TEMPLATES, write_page

_VIEW = re.compile(r'<svg class="plot" (?P<rest>.*?)viewBox="0 0 (?P<width>[\d.]+) (?P<height>[\d.]+)"[^>]*>')
_TITLE, _LEGEND = 26, 22


def write_pictures(folder: Path, content: Any, note: str, words: Words) -> list[Path]:
    """Every figure with a picture in ``content`` (the page's context), each to a file under folder/figures.

    note: stands beside each title, as where the cohort is simulated; words: what the task calls its things.
    Raises StorageError.
    """
    return [
        write_page(folder / FIGURES / f"{figure.id}.svg", words.said(standalone(figure, note)))
        for figure in figures_in(content)
        if figure.svg is not None
    ]


def figures_in(content: Any) -> Iterator[Figure]:
    """The figures anywhere inside mappings, sequences and dataclasses, in order."""
    if isinstance(content, Figure):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from figures_in(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from figures_in(value)
    elif is_dataclass(content):
        for field in fields(content):
            yield from figures_in(getattr(content, field.name))


def standalone(figure: Figure, note: str = "") -> str:
    """The figure as an SVG document."""
    svg = figure.svg or ""
    found = _VIEW.match(svg)
    if found is None:
        raise ValueError(f"figure {figure.id} does not begin as Plot.svg does")
    width, height = float(found["width"]), float(found["height"])
    total = _TITLE + height + _LEGEND * bool(figure.models)
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    title = escape(" - ".join(filter(None, (figure.title, note))))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" data-theme="light" '
        f'width="{width:g}" height="{total:g}" viewBox="0 0 {width:g} {total:g}">'
        f"<title>{escape(figure.title)}</title><desc>{escape(figure.caption)}</desc>"
        f"<style><![CDATA[{style}]]></style>"
        f'<rect width="100%" height="100%" style="fill: var(--card)"/>'
        f'<text x="8" y="17" font-weight="600">{title}</text>'
        f'<g transform="translate(0 {_TITLE})">{svg[found.end() :].removesuffix("</svg>")}</g>'
        f"{_legend(figure, _TITLE + height + 15)}</svg>"
    )


def _legend(figure: Figure, y: float) -> str:
    parts, x = [], 8.0
    for colour, name in figure.models:
        parts.append(f'<circle class="{colour}" cx="{x + 4:g}" cy="{y - 4:g}" r="4" fill="currentColor"/>')
        parts.append(f'<text x="{x + 12:g}" y="{y:g}">{escape(name)}</text>')
        x += 30 + 7 * len(name)
    return "".join(parts)
