"""The page while the server works, with answers that come late, and with long lists. The server is mostly played."""

import pytest

pytest.importorskip("playwright", reason="needs Playwright, of the extra test")

from acting import rename
from playwright.sync_api import Page, Route, expect
from station import Site, Visit


def test_an_answer_that_is_not_one_of_the_service_is_an_error(visit: Visit) -> None:
    page = visit("/nothing", role="search")
    page.route("**/api/v1/cameras", lambda route: route.fulfill(body="<html>a proxy", content_type="text/html"))
    page.goto(page.url.replace("/nothing", "/cameras"))
    expect(page.locator("#cameras .state.bad")).to_contain_text("The answer is not one of this service")
    page.unroute_all()
    page.locator("#cameras").get_by_role("button", name="Try again").click()
    expect(page.locator("#cameras tbody tr").first).to_be_visible()


def test_a_change_is_never_sent_in_the_name_of_who_signed_in_meanwhile(visit: Visit, site: Site) -> None:
    page = visit("/login", role=None)
    sign_in(page, site, "review")
    page.goto(f"{site.address}/people/person-000002")
    sign_in(page, site, "admin")
    rename(page, "Vera")
    expect(page.locator("#session")).to_contain_text("(admin) signed in here meanwhile")
    expect(page.locator("#toasts")).to_contain_text("Nothing was sent")
    page.get_by_role("button", name="Load the page again").click()
    expect(page.locator("#session")).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_have_text("person-000002")


def sign_in(page: Page, site: Site, role: str) -> None:
    page.context.request.post(f"{site.address}/login", form={"token": site.tokens[role]}, max_redirects=0)


DURATIONS = """async () => {
  const { duration } = await import(document.querySelector("link[rel=modulepreload]").href);
  return [89, 90, 7199, 172799, 172800].map(duration);
}"""


def test_durations_are_rounded_and_a_zone_that_the_browser_does_not_know_is_said(visit: Visit) -> None:
    def elsewhere(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('data-zone="UTC"', 'data-zone="localtime"'))

    page = visit("/nothing", role="search")
    assert page.evaluate(DURATIONS) == ["89 s", "2 min", "2 h 0 min", "2 days", "2 days"]
    page.route("**/cameras", elsewhere)
    page.goto(page.url.replace("/nothing", "/cameras"))
    expect(page.locator("#main > .notice")).to_contain_text("does not know the time zone localtime")
    expect(page.locator("#cameras tbody tr").first).to_be_visible()
