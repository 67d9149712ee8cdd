"""A service on a drawn day, and a real browser that looks at it."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from browsing import CHROMIUM, MISSING, chromium
from serving import running, settings_of, tokens_of
from station import DAY, PATIENCE, Site, Visit
from three_people import write_model

from reid_toolkit.calibration import beside
from reid_toolkit.calibration.measure import measure
from reid_toolkit.datasets import open_dataset
from reid_toolkit.demo.day import draw_day
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.people_table import Membership
from reid_toolkit.runtime import Embedder
from reid_toolkit.search.enroll import enroll, units_of
from reid_toolkit.service.sessions import COOKIE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service on the gallery of a drawn day. Its people are the true ones; the last one was never grouped."""
    if CHROMIUM is None:
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("site")
    identities = draw_day(folder / "day", DAY, crops=3)
    model, where, events = write_model(folder / "model.onnx"), folder / "station", folder / "events.jsonl"
    embedder = Embedder(model, threads=1)
    units = list(units_of(folder / "day", tags=("drawn",)))
    with Gallery.open(where) as store:
        store.switch_audit(True)
        store.expect(embedder.dimension, embedder.fingerprint)
        store.remember_model_file(model)
        enroll(store, embedder, units, thumbnails=True)
        numbers = {name: number for number, name in enumerate(sorted(set(identities.values())), start=1)}
        people = {key_digest(unit.record): numbers[identities[unit.record.tracklet]] for unit in units}
        members = {digest: Membership(*[person] * 3) for digest, person in people.items() if person < len(numbers)}
        store.people.write(store.people.read(), members=members)
        measure(embedder, open_dataset(folder / "day"), statistics=store.statistics()).save(beside(model))
    events.touch(mode=0o600)
    tokens = tokens_of(where)
    with running(settings_of(where, events=events)) as address:
        yield Site(address, tokens, where, folder / "day", events)


@pytest.fixture(scope="module")
def browser(site: Site) -> "Iterator[Browser]":
    """One browser for all tests of a file. It ends with the file, because Playwright allows one at a time."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def signed_in(site: Site, browser: "Browser") -> "Callable[..., BrowserContext]":
    """A context of each role and its options. Tests share it, so that the browser keeps the page's files."""

    @cache
    def context_of(role: str, **options: Any) -> "BrowserContext":
        context = new_context(browser, **options)
        form = {"token": site.tokens[role]}
        answer = context.request.post(f"{site.address}/login", form=form, max_redirects=0)
        assert answer.status == 303
        assert [one["name"] for one in context.cookies()] == [COOKIE]
        return context

    return context_of


def new_context(browser: "Browser", **options: Any) -> "BrowserContext":
    context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
    context.set_default_timeout(PATIENCE)
    return context


@pytest.fixture
def visit(site: Site, browser: "Browser", signed_in: "Callable[..., BrowserContext]") -> Iterator[Visit]:
    """``visit("/people", role="review")`` opens a page. No test may leave an error of a script or of the policy."""
    pages: list[Page] = []
    errors: list[str] = []

    def note(message: "ConsoleMessage") -> None:
        # Chromium itself reports answers of 400 and above, and lost connections, which tests provoke.
        if message.type == "error" and "Failed to load resource" not in message.text:
            errors.append(message.text)

    def open_page(path: str, *, role: str | None = "review", beside: "Page | None" = None, **options: Any) -> "Page":
        if beside is not None:
            context = beside.context
        else:
            context = signed_in(role, **options) if role else new_context(browser, **options)
        page = context.new_page()
        pages.append(page)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", note)
        page.goto(site.address + path)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not errors
