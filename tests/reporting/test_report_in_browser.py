"""The report in a browser: on a telephone, filtered, without scripts, and on paper."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page

from mayfly.reporting.html import page as report_page
from tests.support.browser import CHROMIUM, chromium
from tests.support.report_data import report

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium here; .ci/run installs it"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with many failed rows."""
    rows: list[dict[str, Any]] = [
        {
            "row": row, "class": "too_long" if row % 2 else "schema", "status": 400,
            "attempts": 1, "message": f"row {row} has a message of some length " * 3,
        }
        for row in range(60)
    ]  # fmt: skip
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report_page(report(failed_rows=rows)))
    return path


def opened(browser: Browser, file: Path, *, width: int, scripts: bool = True) -> Page:
    """Open the report in a tab of some width; requests for anything else fail the test."""
    context = browser.new_context(
        viewport={"width": width, "height": 800}, java_script_enabled=scripts
    )
    tab = context.new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: pytest.fail(message.text))
    tab.goto(file.as_uri())
    assert [url for url in asked if not url.startswith(("data:", file.as_uri()))] == []
    return tab


@pytest.mark.parametrize("width", [390, 1200])
def test_report_fits_the_screen_with_legible_text(browser: Browser, file: Path, width: int) -> None:
    tab = opened(browser, file, width=width)

    assert tab.evaluate("document.documentElement.scrollWidth") == width
    heights = tab.evaluate(
        """() => [...document.querySelectorAll('svg text')]
          .map(text => text.getBoundingClientRect().height).filter(height => height > 0)"""
    )
    assert heights
    assert min(heights) >= 12


def test_messages_of_failed_rows_are_seen_whole_on_a_telephone(
    browser: Browser, file: Path
) -> None:
    tab = opened(browser, file, width=390)

    boxes = [cell.bounding_box() for cell in tab.locator("#failed td.message").all()[:10]]

    assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)


def test_failed_rows_are_filtered_by_word_and_class(browser: Browser, file: Path) -> None:
    tab = opened(browser, file, width=1200)
    rows = tab.locator("#failed tbody tr:visible")
    assert rows.count() == 60

    tab.locator("#filter select").select_option("schema")
    assert rows.count() == 30
    tab.locator("#filter input").fill("row 2 has")

    assert rows.count() == 1
    assert tab.locator("#shown").inner_text() == "1 of 60"


def test_report_is_whole_without_scripts(browser: Browser, file: Path) -> None:
    tab = opened(browser, file, width=1200, scripts=False)

    assert tab.locator("#failed tbody tr").count() == 60
    assert not tab.locator("#filter").is_visible()


def test_report_is_three_pages_of_paper_at_most(
    browser: Browser, file: Path, tmp_path: Path
) -> None:
    tab = opened(browser, file, width=1200)

    tab.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)

    pages = re.findall(rb"/Type\s*/Page\b", (tmp_path / "report.pdf").read_bytes())
    assert 2 <= len(pages) <= 3


def test_long_texts_of_samples_end_with_a_whole_line_on_paper(
    browser: Browser, tmp_path: Path
) -> None:
    words = "Some thinking that takes its time. " * 40
    samples = [{"row": 7, "asked": {}, "response": words, "reasoning": words}]
    file = tmp_path / "report.html"
    file.write_text(report_page(report(samples=samples)))
    tab = opened(browser, file, width=1200)
    tab.emulate_media(media="print")

    rows = tab.evaluate(
        """() => [...document.querySelectorAll('.sample .long')]
          .map(text => text.clientHeight / parseFloat(getComputedStyle(text).lineHeight))"""
    )

    assert rows == pytest.approx([7, 7], abs=0.1)


CONTRASTS = """() => {
  const channel = value => {
    const part = value / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  }
  const luminance = ([r, g, b]) =>
    0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b)
  const rgba = text => text.match(/[\\d.]+/g).map(Number)
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor)
      if (colour.length === 3 || colour[3] > 0) return colour
    }
  }
  const found = {}
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement
    if (!walker.currentNode.nodeValue.trim() || !element.getClientRects().length) continue
    const style = getComputedStyle(element)
    const front = element.closest('svg') ? style.fill : style.color
    const [light, dark] = [luminance(rgba(front)), luminance(behind(element))].sort((a, b) => b - a)
    found[`${element.tagName}.${element.className.baseVal ?? element.className}`] =
      (light + 0.05) / (dark + 0.05)
  }
  return found
}"""
"""The contrast of each kind of text with what is behind it, as WCAG 2 computes it."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast_in_light_and_dark(
    browser: Browser, file: Path, scheme: Literal["light", "dark"]
) -> None:
    tab = opened(browser, file, width=1200)
    tab.emulate_media(color_scheme=scheme)

    contrasts = tab.evaluate(CONTRASTS)

    assert len(contrasts) > 10
    # Level AA of WCAG 2, for text of this size.
    assert {kind: round(ratio, 1) for kind, ratio in contrasts.items() if ratio < 4.5} == {}
