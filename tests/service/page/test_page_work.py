"""The page while the server works, with answers that come late, and with long lists. The server is mostly played."""

from typing import Any

import pytest

pytest.importorskip("playwright", reason="needs Playwright, of the extra test")

from acting import cards, crop_of, playing, put, rename
from playwright.sync_api import Page, Route, expect
from station import Site, Visit

DAY = 1_700_006_400
"""Midnight in UTC."""


def holding(page: Page, address: str) -> list[Route]:
    """Requests that wait until a test answers them."""
    held: list[Route] = []
    page.route(address, lambda route: held.append(route))  # Playwright takes no method of a list
    return held


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def search_for(page: Page, person: str) -> None:
    page.get_by_label("A person of the gallery").fill(person)
    press(page, "Search")


def test_a_late_answer_changes_only_its_own_search(visit: Visit) -> None:
    page = visit("/?person=person-000001")
    held = holding(page, "**/api/v1/people/not")
    first = cards(page).first
    press(page, "Not this person: match 1")
    same = first.get_by_role("button", name="Same person")
    expect(same).to_have_attribute("aria-disabled", "true")
    same.dispatch_event("click")  # a card takes one answer at a time
    press(page, "Change")
    search_for(page, "person-000002")
    expect(page.locator(".chip")).to_contain_text("person-000002")
    expect(first).to_be_visible()
    held[0].fulfill(json={"correction": "c-7", "person": "somebody else"})
    expect(page.locator("#toasts")).to_contain_text("match 1 and person-000001")
    said = playing(page, "**/api/v1/people/same", {"correction": "c-8", "person": "person-000002"})
    undone = playing(page, "**/api/v1/people/corrections/*", {}, {})
    page.locator("#toasts").get_by_role("button", name="Undo").click()
    expect(page.locator("#status")).to_have_text("Undone")
    expect(page.locator(".chip")).to_contain_text("person-000002")
    assert "person=person-000002" in page.url
    press(page, "Same person: match 1")
    expect(page.locator("#toasts")).to_contain_text("match 1 and person-000002")
    assert [one["first"] for one in said] == ["person-000002"]
    first.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name="Same person: match 1", exact=True)).to_be_focused()
    expect(page.locator("#toasts")).to_be_empty()
    assert len(undone) == 2


def test_results_belong_to_the_search_that_was_sent_and_clear_takes_all_away(visit: Visit, site: Site) -> None:
    page = visit("/", role="search")
    welcome = page.get_by_role("heading", name="Whom are you looking for?")
    put(page, "somebody.jpg", crop_of(site))
    page.get_by_text("More options").click()
    page.locator("#top_k").select_option("12")
    press(page, "Search")
    expect(cards(page)).to_have_count(12)
    press(page, "Remove somebody.jpg")
    press(page, "Show more")
    expect(cards(page)).to_have_count(24)
    put(page, "another.jpg", crop_of(site, "gate"))
    press(page, "Clear")
    expect(welcome).to_be_visible()
    expect(page.locator("#picked li")).to_have_count(0)
    page.route("**/api/v1/search", lambda route: route.fulfill(json={"matches": [], "after": None}))
    search_for(page, "person-000001")
    expect(page.locator("#answers")).to_contain_text("The gallery holds no other records.")
    assert "person=person-000001" in page.url
    page.unroute("**/api/v1/search")
    holding(page, "**/api/v1/search")
    press(page, "Change")
    search_for(page, "person-000002")
    expect(page.locator("#answers")).to_have_attribute("aria-busy", "true")
    press(page, "Change")  # nobody waits for these answers any more
    expect(welcome).to_be_visible()
    press(page, "Clear")
    expect(page).to_have_url(f"{site.address}/")


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


def test_people_stay_chosen_while_others_are_searched_for(visit: Visit) -> None:
    page = visit("/people")
    links = page.locator("#list tbody th a")
    names = ["person-000001", "person-000002"]
    said = playing(page, "**/api/v1/people/same", {"correction": "c-7", "person": names[0]})
    for name in names:
        page.get_by_label("Find a person").fill(name)
        expect(links).to_have_count(1)
        page.get_by_role("checkbox", name=f"Choose {name}").check()
    expect(page.locator("#selected")).to_contain_text("2 people chosen: person-000001, person-000002")
    page.get_by_label("Find a person").fill("")
    expect(page.get_by_role("checkbox", name=f"Choose {names[0]}")).to_be_checked()
    expect(page.locator("tr.chosen")).to_have_count(2)
    press(page, "They are one person…")
    press(page, "Merge")
    expect(page.locator("#toasts")).to_contain_text("2 people merged")
    expect(page.locator("#selected")).to_be_hidden()
    assert said == [{"first": names[0], "second": names[1]}]


def visit_of(camera: str, start: float, pictures: int = 1) -> dict[str, Any]:
    records = [
        {"id": f"{camera}-{start}-{at}", "tracklet": f"{camera}-{at}", "picture": None} for at in range(pictures)
    ]
    return {"camera": camera, "start": start, "end": start + 60, "records": records}


def test_a_guard_has_thousands_of_visits_and_pictures(visit: Visit) -> None:
    page = visit("/nothing")
    day = [visit_of("gate", DAY + 600 + 120 * at) for at in range(250)]
    visits = [visit_of("north", DAY - 660, 130), *day]
    page.route("**/api/v1/people/routes", lambda route: route.fulfill(json={"routes": []}))
    found = {"person": "person-000001", "number": 1, "visits": visits}
    page.route("**/api/v1/people/person-000001", lambda route: route.fulfill(json=found))
    page.goto(page.url.replace("/nothing", "/people/person-000001"))
    shown = page.locator("ol.visits > li")
    expect(shown).to_have_count(200)
    expect(shown.nth(1)).to_contain_text("20 min from north")  # over midnight
    press(page, "Show more (51 visits left)")
    expect(shown).to_have_count(251)
    expect(shown.nth(200)).to_be_focused()
    expect(shown.nth(200)).to_contain_text("60 s from gate")
    expect(page.locator("h2.day")).to_have_count(2)
    expect(page.locator(".chart")).to_have_count(1)
    boxes = shown.first.get_by_role("checkbox")
    expect(boxes).to_have_count(60)
    press(page, "Show more (70 pictures left)")
    expect(boxes).to_have_count(120)
    press(page, "Show more (10 pictures left)")
    expect(boxes).to_have_count(130)
    boxes.first.check()
    press(page, "Clear")
    expect(boxes.first).to_be_focused()
    expect(boxes.first).not_to_be_checked()
    named = playing(page, "**/name")
    rename(page, "")  # who has only a number cannot lose a name
    held = holding(page, "**/split")
    boxes.first.check()
    press(page, "Make a new person of them")
    boxes.nth(1).check()
    page.get_by_role("button", name="Make a new person of them").dispatch_event("click")
    page.get_by_role("button", name="Not person-000001").dispatch_event("click")
    expect(page.locator("#selected")).to_contain_text("2 pictures chosen")
    assert (len(held), named) == (1, [])
    held[0].fulfill(json={"person": "person-000009", "corrections": ["c-7"]})
    expect(page.locator("#toasts")).to_contain_text("1 record is now person-000009")


def test_review_says_that_it_works_and_all_corrections_can_be_seen(visit: Visit) -> None:
    page = visit("/nothing")
    one = {"id": "a", "name": "a", "camera": "gate", "start": DAY, "end": DAY, "person": None, "picture": None}
    asked = {"first": one, "second": one | {"id": "b"}, "now": "same", "cost": 1, "records": 1}
    about = {"kind": "different", "first": "gate-1", "second": None, "who": "rita", "time": DAY}
    said = {"corrections": [{"name": f"c-{at}", **about} for at in range(1, 121)]}
    page.route("**/api/v1/people/corrections", lambda route: route.fulfill(json=said))
    page.route("**/api/v1/people/review?*", lambda route: route.fulfill(json={"questions": [asked]}))
    held = holding(page, "**/api/v1/people/not")
    page.goto(page.url.replace("/nothing", "/review"))
    rows = page.locator("#said li")
    expect(rows).to_have_count(50)
    expect(rows.first).to_contain_text("gate-1 and a record that is no longer shown are different people")
    press(page, "Show more (70 corrections left)")
    expect(rows).to_have_count(100)
    expect(rows.nth(50).get_by_role("button")).to_be_focused()
    page.get_by_role("button", name="Not").click()
    expect(page.locator("#ask")).to_contain_text("Working.")
    expect(page.get_by_role("button", name="Same")).to_have_attribute("aria-disabled", "true")
    held[0].fulfill(json={"correction": "c-7"})
    expect(page.get_by_role("heading", name="Done")).to_be_focused()
    expect(rows).to_have_count(100)
    press(page, "Ask for more")
    expect(page.locator("#question")).to_be_focused()
    page.get_by_role("button", name="Not").click()
    expect(page.get_by_role("button", name="Same")).to_have_attribute("aria-disabled", "true")
    held[1].fulfill(status=404, json={"error": {"code": "not_found", "message": "a record was deleted meanwhile"}})
    expect(page.locator("#toasts")).to_contain_text("This question is settled. A record was deleted meanwhile.")
    expect(page.get_by_role("heading", name="Done")).to_be_focused()
