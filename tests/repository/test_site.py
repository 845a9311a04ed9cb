"""The documentation's site builds without a warning, its links lead somewhere, and it fetches nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.infra.servers import absent

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    environment["NO_MKDOCS_2_WARNING"] = "1"
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_links_and_pictures_of_the_site_are_there(site: Path) -> None:
    pages = {
        path: path.read_text(encoding="utf-8") for path in site.rglob("*.html") if path.name != "404.html"
    }
    ids = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    dead, n_links = [], 0
    for path, text in pages.items():
        text = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
        for target in re.findall(r'\b(?:href|src)="([^"]*)"', text):
            url = urlsplit(unescape(target))
            if url.scheme or url.netloc:
                continue
            n_links += 1
            there = (path.parent / unquote(url.path)).resolve() if url.path else path
            known = (
                url.fragment in ("", *ids.get(there, ())) or there.name == "report.html"
            )  # its script makes some
            if not there.exists() or not known:
                dead.append(f"{path.relative_to(site)}: {target}")
    assert n_links > 1000
    assert sorted(set(dead)) == []


def test_a_page_fetches_nothing_from_elsewhere(site: Path) -> None:
    fetched = re.compile(
        r'<(?:script|img|iframe)[^>]+src="(https?:)?//|<link[^>]+rel="stylesheet"[^>]+href="https?:'
    )
    assert [
        path.name for path in site.rglob("*.html") if fetched.search(path.read_text(encoding="utf-8"))
    ] == []


def test_the_picture_of_the_floors_has_every_package(site: Path) -> None:
    page = (site / "architecture.html").read_text(encoding="utf-8")
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    heights = {name: float(y) for y, name in re.findall(r'<text x="\S+" y="(\S+)"[^>]*>(\w+)</text>', page)}
    assert set(heights) == {path.parent.name for path in (ROOT / "ehrbench").glob("*/__init__.py")}
    (layers,) = (
        contract["layers"]
        for contract in contracts["contracts"]
        if contract.get("containers") == ["ehrbench"]
    )
    drawn = [{heights[name] for name in re.findall(r"\w+", layer)} for layer in layers]
    assert all(len(on_one_floor) == 1 for on_one_floor in drawn)
    assert [min(floor) for floor in drawn] == sorted(min(floor) for floor in drawn)


def test_docstrings_are_shown_as_they_are_meant(site: Path) -> None:
    page = (site / "api" / "index.html").read_text(encoding="utf-8")
    assert re.search(r"<li>\s*(<p>)?<code>task</code>: a name under", page), "parameters are a list"
    assert "&gt;&gt;&gt; " in page or '<span class="gp">&gt;&gt;&gt; </span>' in page, "doctests are code"
    assert "<blockquote>" not in page


def test_every_figure_of_a_report_is_in_the_gallery(site: Path) -> None:
    page = (site / "gallery.html").read_text(encoding="utf-8")
    figures = {path.name for path in (site / "gallery").glob("*.svg")}
    assert {"roc-0.svg", "calibration-0.svg", "forest.svg"} <= figures
    assert all(f'src="gallery/{name}"' in page for name in figures)
    assert "simulated predictions" in page


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        """Not a line a request."""


@pytest.mark.browser
def test_its_search_finds_words_of_pages_and_docstrings(site: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        absent("chromium", "apt-get install chromium")
    handler = partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, playwright.sync_playwright() as p:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        browser = p.chromium.launch(executable_path=executable, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}index.html")
        page.fill("input.md-search__input", "fencing token")
        page.wait_for_selector(".md-search-result__item", state="attached")
        found = page.eval_on_selector_all(
            ".md-search-result__link", "links => links.map(link => link.pathname)"
        )
        browser.close()
        server.shutdown()
    assert "/architecture.html" in found
    assert any(path.startswith("/api/") for path in found)
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []
