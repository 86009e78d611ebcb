"""The page in a real browser at the widths of a desk and of a telephone."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from tapeout.report import write_html

pytestmark = pytest.mark.extra_browser

WIDTHS = ((1400, 900), (390, 844))

MEASURE = """() => [...document.querySelectorAll('.chart')].map((node) => {
  const svg = node.querySelector('svg, canvas');
  if (!svg) return { key: node.dataset.chart, width: 0, height: 0, marks: 0, cut: [] };
  const box = svg.getBoundingClientRect();
  const cut = [...svg.querySelectorAll('text')].filter((text) => {
    const at = text.getBoundingClientRect();
    return at.width && (at.left < box.left - 1 || at.right > box.right + 1
      || at.top < box.top - 1 || at.bottom > box.bottom + 1);
  }).map((text) => text.textContent);
  const short = [...svg.querySelectorAll('text')].map((t) => t.textContent)
    .filter((text) => text.endsWith('…'));
  return { key: node.dataset.chart, width: box.width, height: box.height,
    marks: svg.querySelectorAll('[class*=mark-] path, [class*=mark-] line').length,
    cut: [...cut, ...short] };
})"""

OVERFLOW = """() => [...document.querySelectorAll('body *')].filter((node) => {
  if (node.closest('svg') || node.closest('.skip') || getComputedStyle(node).position === 'absolute'
    || node.closest('thead')) return false;
  const at = node.getBoundingClientRect();
  return at.width > 0 && at.right > document.documentElement.clientWidth + 1;
}).map((node) => node.tagName + ' ' + node.textContent.slice(0, 60))"""

SCROLLED = """() => [...document.querySelectorAll('.table')]
  .filter((node) => node.scrollWidth > node.clientWidth + 1).map((node) => node.dataset.key)"""


def chromium() -> str:
    """Path of a browser; skips where there is none."""
    named = os.environ.get("CHROMIUM")
    found = named or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None or not Path(found).exists():
        pytest.skip("no Chromium: install it or set CHROMIUM to its path")
    return found


@pytest.fixture(scope="module")
def browser():
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed: pip install tapeout[browser]")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  an extra

    with sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(build, no_build, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    write_html(build, folder / "build.html")
    write_html(no_build, folder / "no_build.html")
    return folder


@pytest.mark.parametrize("size", WIDTHS, ids=["desk", "telephone"])
@pytest.mark.parametrize("name", ["build", "no_build"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_window(browser, pages, size, name, scheme):
    width, height = size
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    spoken, asked = [], []
    page.on("console", lambda message: spoken.append(message.text))
    page.on("pageerror", lambda error: spoken.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((pages / f"{name}.html").as_uri())
    page.wait_for_selector("html[data-charts=ready]")

    assert spoken == []
    assert len(asked) == 1, "the page asked for something besides itself"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERFLOW) == []
    assert page.evaluate(SCROLLED) == []
    charts = page.evaluate(MEASURE)
    assert len(charts) >= 6
    for chart in charts:
        assert chart["width"] > 250, chart
        assert chart["height"] > 90, chart
        assert chart["marks"] > 3, chart
        assert chart["cut"] == [], chart
    for selector in ("h1", "#verdict"):
        box = page.locator(selector).bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= height, f"{selector} lies below the fold"
    page.close()


def test_inputs_can_be_searched_and_filtered(browser, pages, build):
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto((pages / "build.html").as_uri())
    page.wait_for_selector("html[data-charts=ready]")
    page.fill("#ledger-search", "options.own.nre_usd")
    assert page.inner_text("#ledger-count").startswith("1 of ")
    assert page.locator(".ledger details[open]").count() == 1
    page.fill("#ledger-search", "")
    page.select_option("#ledger-status", "assumption")
    wanted = build.verdict["counts"]["assumed"]
    assert page.inner_text("#ledger-count").startswith(f"{wanted} of ")
    page.close()


def test_a_chart_gives_its_data_as_csv(browser, pages):
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto((pages / "build.html").as_uri())
    page.wait_for_selector("html[data-charts=ready]")
    with page.expect_download() as download:
        page.locator("[data-csv=chart-lcot]").click()
    text = Path(download.value.path()).read_text("utf-8")
    header, *lines = text.splitlines()
    assert "p50" in header
    assert len(lines) >= 3
    page.close()
