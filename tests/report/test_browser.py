"""The page in a real browser: nothing fetched, nothing said, every figure drawn, both themes, on paper."""

import os
import shutil

import pytest

from ehrbench.core.target import Target
from ehrbench.report import write_report
from tests.infra.servers import absent
from tests.report.folders import TARGETS, Sketch, write_run
from tests.report.test_measured import write_slices
from tests.statistics.test_discovery import units

pytestmark = pytest.mark.browser
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        absent("chromium", "apt-get install chromium")
    with playwright.sync_playwright() as p:
        found = p.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = write_run(
        tmp_path_factory.mktemp("page"),
        Sketch(kind="multilabel", n_records=240, n_trials=6, cohort="simulated"),
    )
    return write_report(folder, n_bootstrap=20).as_uri()


@pytest.fixture
def open_page(browser, address):
    contexts = []

    def open_it(**options):
        context = browser.new_context(**{"viewport": {"width": 1180, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.heard = []
        page.on("console", lambda message: page.heard.append(message.text))
        page.on("pageerror", lambda error: page.heard.append(str(error)))
        page.on(
            "request", lambda r: r.url == address or r.url.startswith("data:") or page.heard.append(r.url)
        )
        page.goto(address)
        return page

    yield open_it
    for context in contexts:
        context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_is_drawn_and_nothing_is_said(open_page, theme):
    page = open_page(color_scheme=theme)
    shown = page.locator("svg.plot:visible")
    assert shown.count() == 4 + 4 + 9  # models and forest, one class's curves, the search
    for i in range(shown.count()):
        box = shown.nth(i).bounding_box()
        assert box["width"] > 200
        assert box["height"] > 40
    assert page.heard == []


def contrast(page) -> float:
    """WCAG contrast of the text against the card."""
    return page.evaluate(
        """() => {
          const light = c => c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
          const text = light(getComputedStyle(document.querySelector(".plot .tick")).fill);
          const card = light(getComputedStyle(document.querySelector("section")).backgroundColor);
          return (Math.max(text, card) + 0.05) / (Math.min(text, card) + 0.05);
        }"""
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_ticks_are_legible_in_both_themes(open_page, theme):
    assert contrast(open_page(color_scheme=theme)) > 4.5


def test_the_toggle_goes_to_the_other_theme_and_back(open_page):
    page = open_page(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    first = page.evaluate(ground)
    page.click("#theme")
    assert page.evaluate(ground) != first
    page.click("#theme")
    assert page.evaluate(ground) == first


def test_a_legend_brings_a_model_forward(open_page):
    page = open_page()
    panel = page.locator(".class-panel:visible")
    band = panel.locator("#roc-0 .band.m1")
    assert band.evaluate("e => getComputedStyle(e).visibility") == "hidden"
    panel.locator("#roc-0 .legend button[data-kind=m1]").click()
    assert band.evaluate("e => getComputedStyle(e).visibility") == "visible"
    panel.locator("#roc-0 .legend button[data-kind=m1]").click()
    assert band.evaluate("e => getComputedStyle(e).visibility") == "hidden"


def test_the_class_is_chosen_on_screen_and_all_are_printed(open_page):
    page = open_page()
    assert page.locator(".class-panel:visible").count() == 1
    page.select_option("#class-pick", "mass")
    assert page.locator("#roc-2").is_visible()
    page.emulate_media(media="print")
    assert page.locator(".class-panel:visible").count() == 3
    assert page.locator(".simulated-banner").is_visible()


PHONE = {"viewport": {"width": 390, "height": 800}}
#: What A4 leaves between the page's margins, in CSS pixels.
PAPER = {"viewport": {"width": 703, "height": 1000}}


@pytest.fixture(scope="module")
def wide_address(tmp_path_factory):
    """A page of fourteen classes, five models of long names, and everything that may be wide."""
    names = ("hist_gradient_boosting", "extra_trees", "tfidf_logistic", "cardionet", "ssm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            TARGETS, "multilabel", Target("multilabel", tuple(f"long finding {k}" for k in range(14)))
        )
        sketch = Sketch(kind="multilabel", n_records=240, n_trials=3, models=names, n_folds=2)
        folder = write_run(tmp_path_factory.mktemp("wide"), sketch)
    write_slices(folder, units())
    return write_report(folder, n_bootstrap=20).as_uri()


def test_nothing_is_wider_than_a_phone(open_page, address, wide_address):
    for where in (address, wide_address):
        page = open_page(**PHONE)
        page.goto(where)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_phone_shows_every_figure_whole(open_page, address, wide_address):
    """None scrolls sideways; and what stands for the wide ones there is not drawn elsewhere."""
    for where in (address, wide_address):
        page = open_page(**PHONE)
        page.goto(where)
        page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        cut = """() => [...document.querySelectorAll(".picture")].filter(e => e.scrollWidth > e.clientWidth)
          .map(e => e.closest("figure").id)"""
        assert page.evaluate(cut) == []
        narrow, broad = page.locator(".picture.phone"), page.locator(".picture.broad")
        assert narrow.count() == broad.count() > 3
        assert page.locator(".picture.broad:visible").count() == 0
        page.set_viewport_size({"width": 1180, "height": 900})
        assert page.locator(".picture.phone:visible").count() == 0


LETTERS = """() => [...document.querySelectorAll("svg.plot text")].flatMap(text => {
  const svg = text.closest("svg"), frame = svg.getBoundingClientRect(), box = text.getBoundingClientRect();
  if (!frame.width) return [];
  const size = parseFloat(getComputedStyle(text).fontSize) * frame.width / svg.viewBox.baseVal.width;
  const inside = box.left > frame.left - 1 && box.right < frame.right + 1;
  return size >= 10 && inside ? [] : [`${text.closest("figure").id}: ${text.textContent} ${size}`];
})"""


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_letters_in_figures_are_legible_and_whole(open_page, address, wide_address, options):
    for where in (address, wide_address):
        page = open_page(**options)
        page.goto(where)
        assert page.evaluate(LETTERS) == []


def test_a_finger_hits_what_can_be_tapped(open_page):
    heights = open_page(**PHONE).evaluate(
        """() => [...document.querySelectorAll("a, button, select, summary")]
          .map(e => e.getBoundingClientRect().height).filter(h => h > 0)"""
    )
    assert len(heights) > 12
    assert min(heights) >= 44


def test_paper_cuts_nothing_off_and_tables_do_not_touch(open_page, address, wide_address):
    for where in (address, wide_address):
        page = open_page(**PAPER)
        page.goto(where)
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        cut = """() => { const right = document.querySelector("main").getBoundingClientRect().right + 1;
          return [...document.querySelectorAll("table, svg.plot, dl")]
            .filter(e => e.getBoundingClientRect().right > right).map(e => e.outerHTML.slice(0, 90)) }"""
        assert page.evaluate(cut) == []
        rules = """() => [...document.querySelectorAll("tr")].every(e =>
          getComputedStyle(e).breakInside === "avoid") && [...document.querySelectorAll("thead")].every(e =>
          getComputedStyle(e).display === "table-header-group")"""
        assert page.evaluate(rules)
        gaps = page.evaluate(
            """() => [...document.querySelectorAll(".scroll")].filter(e => e.nextElementSibling).map(e =>
              e.nextElementSibling.getBoundingClientRect().top - e.getBoundingClientRect().bottom)"""
        )
        assert min(gaps) >= 9


def test_it_reads_without_script(open_page):
    page = open_page(java_script_enabled=False)
    assert page.locator(".class-panel:visible").count() == 3
