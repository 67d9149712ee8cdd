"""Debian's browser, driven by Playwright, for the tests of the page and of the docs' site."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium")
"""Its program, or None where it is not installed."""
MISSING = "no program chromium: install Debian's package of that name"
ARGUMENTS = [
    # Nothing but loopback is asked for: the browser would look for its maker's servers all the time.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--disable-quic",
    # A browser once kept both cores busy for an hour from its second second on, with more than 100 threads. Which ones
    # was not seen; without these it has fewer.
    "--disable-gpu",
    "--disable-software-rasterizer",
]


@contextmanager
def chromium() -> "Iterator[Browser]":
    """A browser. Playwright allows one at a time."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
