"""Links that leave docs/ lead to pages of the site: of modules to the API, of anything else to its own text.

Pages are written for the repository, where ``../ehrbench/core/model.py`` and ``../docker-compose.yml`` are
files beside them. Here a module is the section of its package's page, and any other file becomes a page under
``source/``, with its own links followed in turn. A link that leads nowhere is left, for mkdocs to stop at.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
_HIGHLIGHTED = {".yml": "yaml", ".yaml": "yaml", ".py": "python", ".toml": "toml", ".sh": "bash"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file outside docs/ that a page, or one of those pages in its turn, links to."""
    named = [str(entry) for entry in _entries(config.nav)]
    waiting = [ROOT / name.removeprefix("source/") for name in named if name.startswith("source/")]
    for file in files.documentation_pages():
        waiting += _linked(file.content_string, _origin(file.src_uri))
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        place = place_of(path)
        if path in seen or not place.startswith("source/"):
            continue
        seen.add(path)
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".md":
            waiting += _linked(text, path)
        else:
            name, language = path.relative_to(ROOT), _HIGHLIGHTED.get(path.suffix, "text")
            text = f"# {name}\n\n`````{language}\n{text}\n`````\n"
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    origin = _origin(page.file.src_uri)

    def there(found: re.Match[str]) -> str:
        path = (origin.parent / found["path"]).resolve()
        if not path.is_file() or not path.is_relative_to(ROOT):
            return found[0]
        place, _, section = place_of(path).partition("#")
        anchor = f"#{section}" if section else found["anchor"] or ""
        return posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".") + anchor

    return _LINK.sub(there, markdown)


def place_of(path: Path) -> str:
    """Where the site has a file of the repository: ``page`` or ``page#section``."""
    name = path.relative_to(ROOT)
    if name.parts[0] == "docs":
        return (
            name.relative_to("docs").with_suffix(".md" if path.suffix == ".ipynb" else path.suffix).as_posix()
        )
    if name.parts[0] == "ehrbench" and path.suffix == ".py":
        module = ".".join(name.with_suffix("").parts).removesuffix(".__init__")
        package = module.split(".")[1] if "." in module else "index"
        return f"api/{package}.md#{module}"
    shown = "/".join(
        part.removeprefix(".") for part in name.parts
    )  # mkdocs leaves out what begins with a dot
    return f"source/{shown}" + ("" if path.suffix == ".md" else ".md")


def _origin(src_uri: str) -> Path:
    """The file that a page of the site was made of; its links are relative to this."""
    return ROOT / src_uri.removeprefix("source/") if src_uri.startswith("source/") else DOCS / src_uri


def _linked(text: str, origin: Path) -> list[Path]:
    targets = ((origin.parent / found["path"]).resolve() for found in _LINK.finditer(text))
    return [path for path in targets if path.is_file() and path.is_relative_to(ROOT)]


def _entries(nav: object) -> list[object]:
    """The pages that a navigation names, at any depth."""
    if isinstance(nav, dict):
        return [entry for inner in nav.values() for entry in _entries(inner)]
    return [entry for inner in nav for entry in _entries(inner)] if isinstance(nav, list) else [nav]
