"""The page of monitoring in a real browser, on a phone and a desktop, and the report as a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ehrbench.infra.database import Database
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.serve.store import PredictionStore
from ehrbench.tasks.mortality import Mortality
from ehrbench.tasks.raw_files import read_raw_files
from tests.serve.conftest import running
from tests.serve.mortality import mortality_bundle
from tests.serve.test_pages import browser, picture

__all__ = ["browser"]
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server that has predicted 240 stays and was told of most of them."""
    root = tmp_path_factory.mktemp("watched")
    bundle = mortality_bundle(root)[0]
    later = PhysioNet2012(Mortality(), cache=False)
    later.simulate(root / "later", 480, 9)
    (archive,) = (root / "later").rglob("set-a.tar.gz")
    files = read_raw_files(archive, later.task.forms, "").inputs[:240]
    store = PredictionStore(Database.sqlite(root / "kept.db").engine)
    with running(bundle, store=store) as client:
        for k in range(0, len(files), 40):
            answer = client.post("/predict", files=[("file", one.body) for one in files[k : k + 40]])
            for n, unit in enumerate(answer.json()["predictions"][: 40 if k < 200 else 10]):
                as_called = (unit["probability"]["death"] > 0.6) != (n % 5 == 0)
                told = {"prediction": unit["id"], "outcome": as_called}
                assert client.post("/feedback", json=told).status_code == 201
        yield client


@pytest.mark.parametrize(("width", "theme"), [(1180, "light"), (390, "dark")])
def test_monitoring_is_a_page_that_fits(browser: Any, watched: httpx.Client, width: int, theme: str) -> None:
    context = browser.new_context(color_scheme=theme, viewport={"width": width, "height": 844})
    page, errors = context.new_page(), []
    page.theme = theme
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{watched.base_url}/")
    page.click("#monitoring")
    page.wait_for_selector("details.column")
    found = watched.get("/monitoring").json()
    assert "240 records of 240 patients" in page.inner_text("main")
    assert page.locator("details.column").count() == len(found["drift"]["compared"])
    assert page.inner_text(".risk").split()[0] in ("No", str(len(found["alarms"])))
    page.locator("details.column summary").first.click()
    first = found["drift"]["compared"][0]
    assert page.locator("details.column").first.locator(".pairs").count() == len(first["bins"])
    assert page.locator("svg .whisker").count() == sum(
        (window["auroc"] or {}).get("low") is not None for window in found["classes"]["death"]["windows"]
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    picture(page, "monitoring")
    assert errors == []
    context.close()


def test_a_report_is_read_without_a_server(browser: Any, watched: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(watched.get("/report").text)
    context = browser.new_context(viewport={"width": 1180, "height": 800})
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "report.html").as_uri())
    page.wait_for_selector("details.column")
    assert "240 records of 240 patients" in page.inner_text("main")
    assert [url for url in asked if not url.startswith("file:") or url.endswith(".svg")] == []
    context.close()
