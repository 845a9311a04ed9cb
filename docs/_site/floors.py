"""The picture of the floors on the architecture's page, drawn from the contract of ``lint-imports``."""

from __future__ import annotations

import ast
import re
import tomllib
from html import escape
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGE, HEADING = "architecture.md", "## Floors\n"
WIDTH, HEIGHT, GAP, EDGE = 720, 46, 10, 40


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    if page.file.src_uri != PAGE:
        return markdown
    if markdown.count(HEADING) != 1:
        raise ValueError(f"docs/{PAGE} has no place for the picture — keep its heading {HEADING.strip()!r}")
    return markdown.replace(HEADING, f"{HEADING}\n{picture(floors())}\n")


def floors() -> list[list[str]]:
    """The packages on each floor, the highest first, as pyproject.toml has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = (
        contract["layers"]
        for contract in contracts["contracts"]
        if contract.get("containers") == ["ehrbench"]
    )
    return [re.findall(r"\w+", layer) for layer in layers]


def picture(floors: list[list[str]]) -> str:
    """One box a package, with what its docstring begins with; an SVG in the page's own colours."""
    height = len(floors) * (HEIGHT + GAP)
    boxes = []
    for i, packages in enumerate(floors):
        width = (WIDTH - EDGE - GAP * (len(packages) - 1)) / len(packages)
        for j, package in enumerate(packages):
            x, y = EDGE + j * (width + GAP), i * (HEIGHT + GAP) + GAP / 2
            boxes.append(
                f'<a href="api/{package}.html"><title>{escape(purpose(package))}</title>'
                f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{HEIGHT}" rx="4" fill-opacity=".12"/>'
                f'<text x="{x + width / 2:g}" y="{y + 28:g}" text-anchor="middle">{package}</text></a>'
            )
    arrow = f'<path d="M15 {GAP} V{height - 12} m-6 -10 l6 10 l6 -10" fill="none" stroke="currentColor"/>'
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" fill="currentColor" font-size="15">'
        f"<title>Packages import from the floors below their own</title>{arrow}{''.join(boxes)}</svg>\n"
    )


def purpose(package: str) -> str:
    text = (ROOT / "ehrbench" / package / "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or package).splitlines()[0]
