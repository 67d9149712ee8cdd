"""The site in a browser, opened from its folder: nothing is fetched, the search finds, and a phone shows all of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import CHROMIUM, MISSING, chromium

pytest.importorskip("playwright", reason="needs Playwright, of the extra test")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A tab as wide as a phone. At the end, it must have asked for nothing but files, and have had no error."""
    asked, errors = [], []
    context = browser.new_context(viewport={"width": 360, "height": 780})
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not [url for url in asked if not url.startswith(("file:", "data:", "about:"))]
    assert not errors


def test_the_search_finds_the_guide_before_the_reference(tab: Any, site: Path) -> None:
    tab.goto(f"file://{site}/index.html")
    tab.click("label[for=__search].md-header__button")
    tab.locator("input[name=query]").press_sequentially("retention")
    found = tab.locator(".md-search-result__link")
    found.first.wait_for(state="attached")
    leads = [link.get_attribute("href") or "" for link in found.all()]
    guide = next(number for number, link in enumerate(leads) if "/gallery.html" in link and "reference" not in link)
    assert guide < next(number for number, link in enumerate(leads) if "/reference/" in link)


@pytest.mark.parametrize(
    "page",
    ["index", "training", "design", "benchmarks", "reference/commands/gallery", "reference/python/gallery"],
)
def test_a_page_is_not_wider_than_a_phone(tab: Any, site: Path, page: str) -> None:
    tab.goto(f"file://{site}/{page}.html")
    assert tab.locator("h1").is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
