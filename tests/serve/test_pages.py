"""The pages in a real browser, in both themes. EHRBENCH_SCREENSHOTS names a folder to keep pictures in."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from ehrbench.infra.database import Database
from ehrbench.publishers.mtsamples.simulated_notes import _vocabulary
from ehrbench.serve.kept_tables import outcomes
from ehrbench.serve.keys import ApiKeys
from ehrbench.serve.limits import StoreSettings
from ehrbench.serve.store import PredictionStore
from ehrbench.tasks.radiographs.phantom import png
from tests.infra.servers import absent
from tests.models.marked import marked
from tests.serve.conftest import running
from tests.serve.mortality import mortality_bundle
from tests.serve.notes import notes_bundle
from tests.serve.xray import xray_bundle

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with running(mortality_bundle(tmp_path_factory.mktemp("pages"))[0]) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        absent("chromium", "apt-get install chromium")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def page(browser: Any, served: httpx.Client, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page that fails the test on a console error or a request to anywhere but the server."""
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1180, "height": 800})
    page, errors, elsewhere = context.new_page(), [], []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith(str(served.base_url)) else elsewhere.append(r.url))
    page.theme, page.base, page.errors = request.param, str(served.base_url).rstrip("/"), errors
    yield page
    context.close()
    assert elsewhere == []
    assert errors == []


def picture(page: Any, name: str) -> None:
    if folder := os.environ.get("EHRBENCH_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}-{page.theme}.png", full_page=True)


def test_the_example_is_predicted(page: Any, served: httpx.Client) -> None:
    page.goto(page.base + "/")
    page.wait_for_selector("#banner:not([hidden])")
    assert "SIMULATED" in page.inner_text("#banner")
    picture(page, "home-empty")
    page.click("#example")
    page.wait_for_selector(".risk")
    text = served.get("/example").text
    headers = {"Content-Type": "text/plain"}
    answer = served.post("/predict", content=text, headers=headers).json()["predictions"][0]
    p = 100 * answer["probability"]["death"]
    shown = page.inner_text(".risk")
    assert shown == "> 99.9 %" if p > 99.9 else float(shown.removesuffix(" %")) == pytest.approx(p, abs=0.5)
    assert page.inner_text(".outcome").count("%") >= 5  # the ensemble, the threshold, three models
    assert "by what became of others at about this risk" in page.inner_text(".outcome")
    page.wait_for_selector("#evidence .models")
    shown = page.eval_on_selector_all("#evidence .models .number", "cells => cells.map(c => c.textContent)")
    sizes = [abs(float(one.replace("−", "-"))) for one in shown]
    assert 5 < len(sizes) <= 12
    assert sizes == sorted(sizes, reverse=True)
    assert page.input_value("#record") == text
    assert page.inner_text("h1") == "ehrbench · mortality"
    assert page.inner_text("#keeps") == "What you post goes to this server only and is not kept."
    assert page.locator("form.feedback").count() == 0
    assert "AUROC 0.812 (0.790 to 0.834), nested protocol" in page.inner_text("footer")
    assert "Not a medical device" in page.inner_text("footer")
    picture(page, "home")


def test_a_dropped_file_is_predicted(page: Any, served: httpx.Client) -> None:
    page.goto(page.base + "/")
    page.set_input_files(
        "#file", {"name": "p.txt", "mimeType": "text/plain", "buffer": served.get("/example").content}
    )
    page.wait_for_selector(".risk")
    page.evaluate(
        """text => {
            document.querySelector('#result').replaceChildren();
            const transfer = new DataTransfer();
            transfer.items.add(new File([text], 'q.txt'));
            document.dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, cancelable: true}));
        }""",
        served.get("/example").text,
    )
    page.wait_for_selector(".risk")


def test_json_may_be_pasted_too(page: Any, served: httpx.Client) -> None:
    page.goto(page.base + "/")
    schema = served.get("/model").text
    page.evaluate(
        "m => { document.querySelector('#record').value ="
        " JSON.stringify(JSON.parse(m).record_schema.examples[0]) }",
        schema,
    )
    page.click("#predict")
    page.wait_for_selector(".risk")


def test_a_wrong_record_is_told_and_never_run_as_markup(page: Any) -> None:
    page.goto(page.base + "/")
    page.fill("#record", "Time,Parameter,Value\n00:00,RecordID,7\n00:00,<img src=x onerror=alert(1)>,3\n")
    page.click("#predict")
    page.wait_for_selector(".problem")
    assert page.inner_text(".problem").startswith("record 7, field Parameter in line 3: '<img src=x")
    assert page.locator("#result img").count() == 0
    picture(page, "home-problem")
    page.errors[:] = [error for error in page.errors if "422" not in error]  # the browser's own note


def test_an_empty_field_is_told(page: Any) -> None:
    page.goto(page.base + "/")
    page.click("#predict")
    assert "no record yet" in page.inner_text(".problem")


def test_the_page_fits_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(page.base + "/")
    page.click("#example")
    page.wait_for_selector(".risk")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    picture(page, "phone")


def test_the_documented_example_works_when_sent(page: Any) -> None:
    page.goto(page.base + "/docs")
    card = page.locator("section", has=page.locator("h2 code", has_text=re.compile("^/predict$")))
    card.wait_for()
    for choice in card.locator("option").all():
        card.locator("select").select_option(choice.get_attribute("value"))
        card.locator("button").click()
        answer = card.locator("pre[data-answer]")
        playwright.expect(answer).to_contain_text("200")
        playwright.expect(answer).to_contain_text("probability")
        answer.evaluate("node => { node.textContent = ''; }")
    card.locator("button").click()
    playwright.expect(card.locator("pre[data-answer]")).to_contain_text("death")
    picture(page, "docs")
    assert "undefined" not in page.inner_text("body")
    batch = page.locator("section", has=page.locator("h2 code", has_text="/predict/batch"))
    batch.locator("button").click()
    playwright.expect(batch.locator("pre[data-answer]")).to_contain_text('"line":2')
    erase = page.locator("section", has=page.locator(".method", has_text="DELETE"))
    assert erase.locator("button").count() == 0
    assert "curl -X DELETE" in erase.inner_text()
    assert "Authorization: Bearer KEY" in erase.inner_text()


@pytest.mark.parametrize("width", [390, 1180])
def test_an_outcome_is_told_by_keyboard(
    browser: Any, any_bundles: dict[str, Path], tmp_path: Path, width: int
) -> None:
    store = PredictionStore(Database.sqlite(tmp_path / "kept.db").engine, StoreSettings(inputs=True))
    keys = ApiKeys.of_text("ward-7 sesame-opens-the-door", "test")
    with running(any_bundles["binary"], store=store, keys=keys) as client:
        page, errors = browser.new_page(viewport={"width": width, "height": 900}), list[str]()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.theme = "light"
        page.goto(str(client.base_url))
        kept = page.locator("#keeps")
        playwright.expect(kept).to_contain_text("What you post and what is predicted of it are kept")
        page.click("#example")
        form = page.locator("form.feedback")
        form.get_by_role("button", name="Tell the outcome").focus()
        page.keyboard.press("Enter")
        status = form.get_by_role("status")
        playwright.expect(status).to_have_text("Choose what became of it first.")
        form.get_by_role("radio", name="not death").focus()
        page.keyboard.press("Space")
        page.keyboard.press("Enter")
        playwright.expect(status).to_contain_text("no API key")
        form.get_by_label("API key").fill("sesame-opens-the-door")
        page.keyboard.press("Enter")
        playwright.expect(status).to_have_text("Kept, thank you.")
        form.get_by_role("radio", name="death", exact=True).focus()
        page.keyboard.press("Space")
        page.keyboard.press("Enter")
        playwright.expect(status).to_contain_text("takes the place of what was told before")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        picture(page, f"feedback-{width}")
        told = store.ask(lambda connection: connection.execute(select(outcomes)).all()).result(30)
        assert [(json.loads(row.labels), row.told_by) for row in told] == [([0], "ward-7"), ([1], "ward-7")]
        assert errors == []
        page.close()


@pytest.mark.parametrize("target", ["multilabel", "multiclass"])
def test_outcomes_of_several_classes_are_told(
    browser: Any, any_bundles: dict[str, Path], tmp_path: Path, target: str
) -> None:
    store = PredictionStore(Database.sqlite(tmp_path / "kept.db").engine)
    with running(any_bundles[target], store=store) as client:
        page = browser.new_page(viewport={"width": 390, "height": 900})
        page.theme = "light"
        page.goto(str(client.base_url))
        playwright.expect(page.locator("#keeps")).to_contain_text("what you post is not")
        page.click("#example")
        form = page.locator("form.feedback")
        name = "shock" if target == "multilabel" else "V"
        form.get_by_label(name, exact=True).check()
        form.get_by_role("button").click()
        playwright.expect(form.get_by_role("status")).to_have_text("Kept, thank you.")
        told = store.ask(lambda connection: connection.execute(select(outcomes)).all()).result(30)
        assert [json.loads(row.labels) for row in told] == [[0, 1] if target == "multilabel" else [0, 0, 1]]
        picture(page, f"feedback-{target}")
        page.close()


@pytest.fixture(scope="module")
def xray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with running(xray_bundle(tmp_path_factory.mktemp("xray"))) as client:
        yield client


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_image_is_shown_with_what_its_prediction_rests_on(
    browser: Any, xray: httpx.Client, theme: str
) -> None:
    page = browser.new_page(color_scheme=theme, viewport={"width": 1180, "height": 900})
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.theme = theme
    page.goto(str(xray.base_url))
    page.wait_for_selector("#banner:not([hidden])")
    page.click("#example")
    page.wait_for_selector("canvas.picture")
    colours = page.evaluate(
        """() => {
            const canvas = document.querySelector('canvas.picture');
            const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            let grey = 0, coloured = 0;
            for (let i = 0; i < data.length; i += 4) {
                const spread = Math.abs(data[i] - data[i + 2]);
                if (spread < 12) grey++; else if (spread > 40) coloured++;
            }
            return [grey, coloured];
        }"""
    )
    assert min(colours) > 1000  # the image, and an overlay on it
    page.set_input_files(
        "#file",
        {"name": "scan.png", "mimeType": "image/png", "buffer": png(marked(2, 3)[0].payload.of(0)[0])},
    )
    playwright.expect(page.locator("#result")).to_contain_text("record scan", timeout=60_000)
    assert "high" in page.get_attribute(".risk", "class")
    page.wait_for_selector("canvas.picture")
    assert page.input_value("#record").startswith("scan.png: ")
    picture(page, "xray")
    assert errors == []
    page.close()


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with running(notes_bundle(tmp_path_factory.mktemp("notes"))) as client:
        yield client


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_text_is_marked_by_what_its_prediction_rests_on(
    browser: Any, notes: httpx.Client, theme: str
) -> None:
    """Forty classes: the first ones in full, the others behind a fold; words of the chosen one underlined."""
    page = browser.new_page(color_scheme=theme, viewport={"width": 1180, "height": 900})
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.theme = theme
    page.goto(str(notes.base_url))
    playwright.expect(page.locator("#title")).to_contain_text("transcriptions")
    own = _vocabulary("Orthopedic")[:8]
    text = f"<b>Seen today</b> by us.\nWe found {' '.join(own)} on the left. Return as needed for review."
    page.fill("#record", text)
    page.click("#predict")
    page.wait_for_selector(".text mark")
    assert page.locator(".outcome").count() <= 6
    assert page.locator("details .number").count() >= 34
    page.click("#evidence button:has-text('Orthopedic')")
    assert page.get_attribute("#evidence button:has-text('Orthopedic')", "aria-pressed") == "true"
    assert page.text_content(".text") == text  # as text, never as markup
    strongest = page.eval_on_selector_all(
        ".text mark.for",
        "marks => marks.sort((a, b) => b.style.getPropertyValue('--strength') - "
        "a.style.getPropertyValue('--strength'))[0].textContent",
    )
    assert strongest.startswith("We found")
    assert set(page.eval_on_selector_all(".text mark.for b", "words => words.map(w => w.textContent)")) & set(
        own
    )
    picture(page, "notes")
    assert errors == []
    page.close()


SERIES = """([from, to, values]) => {
  thresholds = {anomaly: 0.5};
  called = {record: "recording", records: "recordings", unit: "beat", units: "beats"};
  const units = values.map((v, i) => {
    const yes = i >= from && i < to;
    return {record: "7", unit: i, probability: {anomaly: yes ? 0.9 : 0.1}, decision: {anomaly: yes}};
  });
  byId("result").replaceChildren(...charts(units, {title: "RR interval, ms (1000: 60 bpm)", values}));
}"""


@pytest.mark.parametrize("width", [390, 1280])
def test_a_series_goes_on_from_strip_to_strip_and_its_runs_are_said(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(page.base + "/")
    page.wait_for_load_state("networkidle")
    values = [800 + 40 * (i % 2) for i in range(300)]
    values[150] = 6000  # two beats in one, or worse: it must not flatten the rest
    page.evaluate(SERIES, [40, 52, values])
    result = page.locator("#result")
    assert "recording 7: anomaly in 1 place, 4.0 % of 300 beats." in result.inner_text()
    assert result.locator("td").all_inner_texts() == ["40–51", "12", "800–840", "90 %"]
    strips = result.locator("svg.series")
    assert strips.count() > 1
    drawn = page.evaluate(
        "[...document.querySelectorAll('.value-line')].map((l) => l.points.length).reduce((a, b) => a + b)"
    )
    assert drawn == 300
    ticks = [int(t) for t in strips.first.locator("text[text-anchor=end]").all_text_contents()]
    assert max(ticks) < 1000
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.emulate_media(media="print")
    assert not page.is_visible("#record")
    assert result.locator("svg.series").last.bounding_box()["width"] > 0.9 * result.bounding_box()["width"]
    picture(page, f"series-{width}")


def test_a_long_series_shows_the_strips_with_a_call_and_counts_the_others(page: Any) -> None:
    page.goto(page.base + "/")
    page.wait_for_load_state("networkidle")
    values = [800 + 40 * (i % 2) for i in range(30_000)]
    page.evaluate(SERIES, [12_345, 12_360, values])
    assert page.locator("svg.series").count() == 1
    assert re.search(r"(\d+) of \d+ strips are left out, 0 of them with a call", page.inner_text("#result"))
    page.evaluate(SERIES, [0, 0, values])
    assert "no anomaly called in 30000 beats" in page.inner_text("#result")
    assert page.locator("svg.series").count() == 120
