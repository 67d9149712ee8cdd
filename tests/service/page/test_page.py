"""The page in a real browser: Playwright drives Debian's chromium."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="needs Playwright, of the extra test")
pytest.importorskip("axe_core_python", reason="needs axe-core-python, of the extra test")

import axe_core_python
import cv2
import numpy as np
from acting import cards, crop_of, playing, put, rename
from playwright.sync_api import FilePayload, Page, Route, expect
from station import Site, Visit
from three_people import EPOCH

from reid_toolkit.live.events.event import Event
from reid_toolkit.service.settings import Limits


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_a_picture_finds_the_record_that_it_is_of(visit: Visit, site: Site, how: str) -> None:
    page = visit("/", role="search")
    expect(page.get_by_role("heading", name="Whom are you looking for?")).to_be_visible()
    put(page, "somebody.jpg", crop_of(site), how=how)
    expect(page.get_by_role("img", name="somebody.jpg")).to_be_visible()
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("heading", name="Matches")).to_be_focused()
    first = cards(page).first
    expect(first).to_contain_text("hall")
    assert first.locator(".word").inner_text() in ("Likely", "Uncertain", "Unknown")
    first.get_by_text("Evidence").click()
    expect(first.locator("dl")).to_contain_text("hall-00000")
    expect(first.locator("dl")).to_contain_text("Probability")
    assert first.get_by_role("img").evaluate("image => image.naturalWidth") > 0


def test_a_broken_picture_is_refused_in_words_and_can_be_taken_back(visit: Visit, site: Site) -> None:
    page = visit("/", role="search")
    put(page, "notes.txt", b"no picture", kind="text/plain")
    expect(page.get_by_role("alert")).to_contain_text("notes.txt is not a picture")
    put(page, "broken.jpg", crop_of(site)[:200])
    expect(page.locator("#picked li.bad")).to_have_count(1)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#answers .state.bad")).to_contain_text("broken.jpg")
    expect(page.get_by_role("alert")).to_have_count(1)  # it is read out once
    page.get_by_role("button", name="Remove broken.jpg").click()
    expect(page.locator("#picked li")).to_have_count(0)
    put(page, "whole.jpg", crop_of(site))
    page.get_by_role("button", name="Search", exact=True).click()
    expect(cards(page).first).to_be_visible()


def test_without_a_network_the_page_says_so_and_goes_on_afterwards(visit: Visit, site: Site) -> None:
    page = visit("/", role="search")
    put(page, "somebody.jpg", crop_of(site))
    page.context.set_offline(True)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("heading", name="No connection")).to_be_visible()
    expect(page.get_by_role("img", name="somebody.jpg")).to_be_visible()
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(cards(page).first).to_be_visible()


def test_a_search_by_keyboard_alone(visit: Visit) -> None:
    page = visit("/")
    expect(page.get_by_role("heading", name="Whom are you looking for?")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    press_until(page, "Tab", "#person")
    page.keyboard.type("person-000001")
    press_until(page, "Tab", "#cameras input")
    page.keyboard.press("Space")
    press_until(page, "Tab", "#go")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Matches")).to_be_focused()
    expect(cards(page).first).to_contain_text("gate")
    press_until(page, "Tab", "summary")
    page.keyboard.press("Enter")
    expect(page.locator("details[open] dl").first).to_be_visible()
    press_until(page, "Tab", "a.button")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Records that look like this record")).to_be_visible()


def press_until(page: Page, key: str, selector: str) -> None:
    """Press ``key`` until what has the focus matches ``selector``. Each stop on the way must be visible."""
    for _ in range(60):
        page.keyboard.press(key)
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached by {key}")


def test_groups_by_camera_have_headings(visit: Visit) -> None:
    page = visit("/?person=person-000002&group=camera&top_k=12", role="search")
    expect(page.locator("ol.cards h3")).to_have_count(3)
    expect(page.locator("ol.cards .rank").first).to_have_text("1")


def test_filters_show_what_they_would_leave(visit: Visit, site: Site) -> None:
    page = visit("/", role="search")
    gallery = page.request.get(f"{site.address}/api/v1/gallery").json()
    records = {one["name"]: one["records"] for one in gallery["cameras"]}
    left = page.locator("#left")
    expect(left).to_have_text(f"{gallery['records']} records in the gallery.")
    page.get_by_label("hall").check()
    expect(left).to_have_text(f"{records['hall']} of {gallery['records']} records pass the filters.")
    page.get_by_label("From").fill("2031-01-01T00:00")
    expect(left).to_have_text("No record passes these filters.")
    expect(page.locator("#cameras [data-camera=hall]")).to_have_text("0")
    page.get_by_label("A person of the gallery").fill("person-000001")
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_role("button", name="Clear the filters").click()
    expect(cards(page).first).to_be_visible()


def test_sources_are_a_filter_if_there_are_several(visit: Visit, site: Site) -> None:
    page = visit("/cameras", role="search")
    gallery = page.request.get(f"{site.address}/api/v1/gallery").json()
    (source,) = gallery["sources"]
    gallery["sources"].append({"id": "f" * 16, "label": "<i>other</i>", "records": 0})
    page.route("**/api/v1/gallery", lambda route: route.fulfill(json=gallery))
    page.goto(site.address)
    expect(page.get_by_text("<i>other</i>")).to_be_visible()
    page.get_by_label(source["label"]).check()
    expect(page.locator("#left")).to_contain_text(f"{source['records']} of {gallery['records']} records")


def test_the_next_page_goes_on_behind_the_last_match(visit: Visit) -> None:
    page = visit("/?person=person-000001&top_k=12", role="search")
    expect(cards(page)).to_have_count(12)
    page.get_by_role("button", name="Show more").click()
    expect(cards(page)).to_have_count(24)
    expect(cards(page).nth(12)).to_be_focused()
    assert cards(page).locator(".rank").all_inner_texts() == [str(rank) for rank in range(1, 25)]


def test_who_is_this_goes_on_from_a_match_and_back(visit: Visit) -> None:
    page = visit("/?person=person-000002", role="search")
    expect(page.get_by_role("button", name="Same")).to_have_count(0)  # this role may not correct
    page.get_by_role("link", name="Who is this? Match 1", exact=True).click()
    expect(page.locator(".chip img")).to_be_visible()
    expect(cards(page).first).to_be_visible()
    page.go_back()
    expect(page.locator(".chip")).to_contain_text("person-000002")


def test_back_takes_back_the_filters_of_the_later_search(visit: Visit, site: Site) -> None:
    page = visit("/?person=person-000002&camera=hall&top_k=12", role="search")
    expect(page.locator("#left")).to_contain_text("pass the filters")
    first = page.locator("#left").inner_text()
    expect(cards(page).first).to_be_visible()
    page.get_by_role("button", name="Change").click()
    page.get_by_label("A person of the gallery").fill("person-000001")
    page.get_by_label("hall").uncheck()
    page.get_by_text("More options").click()
    later = {"since": "2026-09-21T00:00", "until": "2031-01-01T00:00", "query_camera": "gate", "group": "camera",
             "top_k": "48", "false_match_rate": "0.05"}  # fmt: skip
    for name, value in later.items():
        field = page.locator(f"#{name}")
        if name in ("since", "until"):
            field.fill(value)
        else:
            field.select_option(value)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".chip")).to_contain_text("person-000001")
    page.go_back()
    expect(page.locator(".chip")).to_contain_text("person-000002")
    assert {name: page.locator(f"#{name}").input_value() for name in later} == {
        **dict.fromkeys(later, ""),
        "top_k": "12",
    }
    expect(page.get_by_label("hall")).to_be_checked()
    expect(page.locator("#left")).to_have_text(first)
    page.go_forward()
    expect(page.locator("#since")).to_have_value(later["since"])
    expect(page.locator("#top_k")).to_have_value("48")


def test_back_to_no_search_shows_the_whole_gallery(visit: Visit) -> None:
    page = visit("/", role="search")
    expect(page.locator("#left")).to_contain_text("in the gallery")
    whole, boxes = page.locator("#left").inner_text(), page.locator("#cameras [data-camera]")
    counts = boxes.all_inner_texts()
    page.get_by_label("From").fill("2031-01-01T00:00")
    expect(page.locator("#left")).to_have_text("No record passes these filters.")
    page.get_by_label("A person of the gallery").fill("person-000001")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("heading", name="No match")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Whom are you looking for?")).to_be_visible()
    expect(page.locator("#left")).to_have_text(whole)
    assert boxes.all_inner_texts() == counts
    expect(page.get_by_label("A person of the gallery")).to_have_value("")


def test_an_admin_groups_records_that_have_no_person_yet(visit: Visit) -> None:
    page = visit("/people", role="review")  # the corrections of later tests would group these records, too
    expect(page.locator("#waiting")).to_contain_text("no person yet")
    expect(page.get_by_role("button", name="Group them")).to_have_count(0)
    page = visit("/people", role="admin")
    page.get_by_role("button", name="Group them").click()
    expect(page.locator("#toasts")).to_contain_text("people in")
    expect(page.locator("#waiting")).to_be_hidden()


def test_same_and_not_are_stored_and_undone(visit: Visit, site: Site) -> None:
    page = visit("/?person=person-000003")
    said = f"{site.address}/api/v1/people/corrections"
    before = page.request.get(said).json()["corrections"]
    first = cards(page).first
    first.get_by_role("button", name="Not this person").click()
    expect(first).to_contain_text("Another person")
    made = page.request.get(said).json()["corrections"][len(before) :]
    assert [one["kind"] for one in made] == ["different"]
    assert made[0]["who"] == "rita"
    first.get_by_role("button", name="Undo").click()
    expect(first.get_by_role("button", name="Same person")).to_be_visible()
    assert page.request.get(said).json()["corrections"] == before


def test_large_and_many_pictures_are_refused_before_they_are_sent(visit: Visit, site: Site, tmp_path: Path) -> None:
    page = visit("/", role="search")
    page.evaluate("document.body.dataset.limits")
    large = np.random.default_rng(0).integers(0, 255, (2200, 2200, 3), np.uint8)
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), large)
    page.locator("#pictures").set_input_files(path)
    expect(page.get_by_role("alert")).to_contain_text("large.png is larger than 10 MB")
    expect(page.locator("#picked li")).to_have_count(0)
    many = [FilePayload(name=f"{number}.jpg", mimeType="image/jpeg", buffer=crop_of(site)) for number in range(33)]
    page.locator("#pictures").set_input_files(many)
    expect(page.get_by_role("alert")).to_contain_text("At most 32 pictures can be searched for at once")
    expect(page.locator("#picked li")).to_have_count(32)


# Who may see it


def test_a_wrong_token_is_refused_and_a_right_one_leads_where_one_wanted_to_go(visit: Visit, site: Site) -> None:
    page = visit("/people?q=1", role=None)
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type("reid_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("wrong, or was revoked")
    page.get_by_label("Token").fill(site.tokens["search"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="People")).to_be_visible()
    assert page.url == f"{site.address}/people?q=1"
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(f"{site.address}/cameras")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_session_that_ends_in_another_tab_loses_nothing_and_goes_on(visit: Visit, site: Site) -> None:
    one = visit("/login", role=None)
    sign_in(one, site.tokens["review"])
    other = visit("/people/person-000004", beside=one)
    heading = other.get_by_role("heading", level=1)
    expect(heading).to_have_text("person-000004")
    one.get_by_role("button", name="Sign out").click()
    expect(one.get_by_role("heading", name="Sign in")).to_be_visible()
    rename(other, "Nora")
    expect(other.locator("#session")).to_contain_text("You are signed out")
    expect(heading).to_have_text("person-000004")
    expect(other.locator("ol.visits > li").first).to_be_visible()
    sign_in(one, site.tokens["review"])
    other.get_by_role("button", name="I signed in elsewhere").click()
    expect(other.locator("#session")).to_be_hidden()
    rename(other, "Nora")
    expect(heading).to_have_text("Nora")
    rename(other, "")
    expect(heading).to_have_text("person-000004")


def sign_in(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Whom are you looking for?")).to_be_visible()


def test_who_may_only_search_sees_no_corrections(visit: Visit) -> None:
    page = visit("/people", role="search")
    expect(page.get_by_role("link", name="person-000001")).to_be_visible()
    expect(page.get_by_role("checkbox")).to_have_count(0)
    page.get_by_role("link", name="person-000001").click()
    expect(page.locator("ol.visits > li").first).to_be_visible()
    expect(page.get_by_role("checkbox")).to_have_count(0)
    expect(page.get_by_role("button", name="Name…")).to_have_count(0)
    page.get_by_role("link", name="Review").click()
    expect(page.get_by_role("heading", name="You may not do this")).to_be_visible()


# People


def test_a_name_with_html_in_it_is_text_everywhere(visit: Visit, site: Site) -> None:
    name = '<img src=x onerror=alert(1)> & co / "x"'
    page = visit("/people/person-000005")
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    rename(page, name)
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(name)
    page.reload()
    expect(heading).to_have_text(name)
    assert page.title() == f"{name} · reid"
    expect(page.locator("ol.visits > li").first).to_be_visible()
    page.get_by_role("link", name="Search for this person").click()
    expect(cards(page).first).to_be_visible()
    expect(page.locator(".chip")).to_contain_text(name)
    page.goto(f"{site.address}/people")
    page.get_by_role("link", name=name).click()
    expect(heading).to_have_text(name)
    expect(page.locator("img[src=x]")).to_have_count(0)
    rename(page, "")
    expect(heading).to_have_text("person-000005")


def test_people_are_found_merged_and_separated_again(visit: Visit, site: Site) -> None:
    page = visit("/people")
    links = page.locator("#list tbody th a")
    names = [one["name"] for one in page.request.get(f"{site.address}/api/v1/people").json()["people"]]
    people = len(names)
    expect(links).to_have_count(people)
    page.get_by_label("Find a person").fill("00001")
    expect(links).to_have_count(len([name for name in names if "00001" in name]))
    page.get_by_label("Find a person").fill("nobody at all")
    expect(page.get_by_role("heading", name="Nobody is called nobody at all")).to_be_visible()
    page.get_by_label("Find a person").fill("")
    expect(links).to_have_count(people)
    for name in names[-2:]:
        page.get_by_role("checkbox", name=f"Choose {name}").check()
    page.get_by_role("button", name="They are one person…").click()
    page.get_by_role("button", name="Merge", exact=True).click()
    expect(page.locator("#toasts")).to_contain_text("2 people merged")
    expect(links).to_have_count(people - 1)
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.locator("#toasts").get_by_role("button", name="Undo").click()
    assert page.request.get(f"{site.address}/api/v1/people/corrections").json()["corrections"] == []


def test_merging_goes_on_as_who_is_left_and_can_be_undone_if_it_fails_halfway(visit: Visit) -> None:
    """The server is played, because it merges people for all tests."""
    page = visit("/people")
    expect(page.locator("#list tbody tr").first).to_be_visible()
    one, two, three = page.locator("#list tbody th a").all_inner_texts()[:3]
    said = playing(page, "**/api/v1/people/same", {"correction": "c-7", "person": two}, None)
    undone = playing(page, "**/api/v1/people/corrections/c-7", {"undone": "c-7"})
    for name in (one, two, three):
        page.get_by_role("checkbox", name=f"Choose {name}").check()
    page.get_by_role("button", name="They are one person…").click()
    page.get_by_role("button", name="Merge", exact=True).click()
    expect(page.locator("#toasts")).to_contain_text("Only 2 of 3 people were merged. Another change is running.")
    assert said == [{"first": one, "second": two}, {"first": two, "second": three}]
    page.locator("#toasts").get_by_role("button", name="Undo").click()
    expect(page.locator("#status")).to_have_text("Undone")
    assert len(undone) == 1


def test_who_a_person_is_not_can_be_undone_if_it_fails_halfway(visit: Visit) -> None:
    page = visit("/people/person-000001")
    playing(page, "**/api/v1/people/not", {"correction": "c-7", "person": "person-000001"}, None)
    undone = playing(page, "**/api/v1/people/corrections/c-7", {"undone": "c-7"})
    for at in range(2):
        page.locator("#timeline").get_by_role("checkbox").nth(at).check()
    page.get_by_role("button", name="Not person-000001").click()
    expect(page.locator("#toasts")).to_contain_text("1 record does not show person-000001. Then something failed.")
    page.locator("#toasts").get_by_role("button", name="Undo").click()
    expect(page.locator("#toasts")).to_be_empty()
    assert len(undone) == 1


def test_a_second_same_goes_on_as_who_is_left(visit: Visit) -> None:
    page = visit("/?person=person-000001")
    said = playing(page, "**/api/v1/people/same", *[{"correction": "c-7", "person": "who is left"}] * 2)
    for match, name in enumerate(("person-000001", "who is left"), start=1):
        page.get_by_role("button", name=f"Same person: match {match}", exact=True).click()
        expect(page.locator("#toasts")).to_contain_text(f"match {match} and {name}")
    assert [one["first"] for one in said] == ["person-000001", "who is left"]
    expect(page.locator(".chip")).to_contain_text("who is left")
    assert "person=who+is+left" in page.url


def test_a_picture_that_a_busy_server_refused_is_asked_for_again(visit: Visit, site: Site) -> None:
    page = visit("/nothing", role="search")
    asked: dict[str, int] = {}

    def twice_busy(route: Route) -> None:
        asked[route.request.url] = asked.get(route.request.url, 0) + 1
        if asked[route.request.url] < 3:
            route.fulfill(status=503, headers={"Cache-Control": "no-store"})
        else:
            route.continue_()

    page.route("**/api/v1/records/*/picture", twice_busy)
    page.goto(f"{site.address}/people")
    expect(page.locator("#list img").first).not_to_have_js_property("naturalWidth", 0)
    assert 3 in asked.values()
    page.route("**/api/v1/records/*/picture", refusing(status=404))
    page.reload()
    expect(page.locator("#list .blank").first).to_be_attached()


def test_a_persons_visits_and_a_split_that_is_undone(visit: Visit, site: Site) -> None:
    page = visit("/people")
    there = f"{site.address}/api/v1/people"
    everybody = [one["name"] for one in page.request.get(there).json()["people"]]
    found = {name: page.request.get(f"{there}/{name}").json()["visits"] for name in everybody}
    person, shown = next((name, two) for name, two in found.items() if len(two) > 1 and two[0]["end"] < two[1]["start"])
    page.goto(f"{site.address}/people/{person}")
    visits = page.locator("ol.visits > li")
    expect(visits).to_have_count(len(shown))
    assert [one.split("\n")[0] for one in visits.all_inner_texts()] == [one["camera"] for one in shown]
    expect(page.get_by_role("img", name="visits to")).to_be_visible()
    expect(visits.nth(1)).to_contain_text(" from ")
    expect(page.locator("ol.visits")).to_contain_text("usually")
    visits.first.get_by_role("checkbox").check()
    page.get_by_role("button", name="Make a new person of them").click()
    expect(page.locator("#toasts")).to_contain_text("1 record is now person-0000")
    expect(visits).to_have_count(len(shown) - 1)
    page.locator("#toasts").get_by_role("button", name="Undo").click()
    expect(visits).to_have_count(len(shown))


def test_an_admin_forgets_a_person_after_a_question(visit: Visit) -> None:
    page = visit("/people", role="admin")
    links = page.locator("#list tbody th a")
    name = links.last.inner_text()
    links.last.click()
    page.get_by_role("button", name="Forget…").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Forget…")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Forget for good").click()
    expect(page.get_by_role("heading", name="People")).to_be_visible()
    expect(page.get_by_role("link", name="person-000001")).to_be_visible()
    expect(page.get_by_role("link", name=name)).to_have_count(0)


# Review


def test_questions_are_answered_by_keys_and_undone(visit: Visit, site: Site) -> None:
    page, late = visit("/review"), visit("/review")
    said = f"{site.address}/api/v1/people/corrections"
    expect(late.locator(".progress .number")).to_contain_text("1 of")
    late.keyboard.press("ArrowRight")
    expect(late.locator(".progress .number")).to_contain_text("2 of")
    counter = page.locator(".progress .number")
    expect(counter).to_contain_text("1 of")
    asked = page.locator(".two img").first.get_attribute("src")
    page.keyboard.press("ArrowRight")
    expect(counter).to_contain_text("2 of")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.press("n")
    expect(counter).to_contain_text("3 of")
    expect(page.locator("#said li")).to_have_count(1)
    assert [one["kind"] for one in page.request.get(said).json()["corrections"]] == ["different"]
    late.keyboard.press("n")  # another tab has answered this question
    expect(late.locator("#toasts")).to_contain_text("This question is settled.")
    expect(late.locator(".progress .number")).to_contain_text("3 of")
    page.keyboard.press("u")
    expect(counter).to_contain_text("2 of")
    expect(page.locator("#said")).to_contain_text("No corrections yet")
    page.get_by_label("Answer by keys").uncheck()
    page.keyboard.press("s")
    page.get_by_role("button", name="Same").click()
    expect(counter).to_contain_text("3 of")
    assert [one["kind"] for one in page.request.get(said).json()["corrections"]] == ["same"]
    page.locator("#said").get_by_role("button", name="Undo").click()
    expect(page.locator("#said")).to_contain_text("No corrections yet")
    page.get_by_label("Answer by keys").check()
    assert page.locator(".two img").first.get_attribute("src") != asked


# Cameras, days and events


def test_cameras_and_days_show_what_the_api_says(visit: Visit, site: Site) -> None:
    page = visit("/cameras", role="search")
    api = f"{site.address}/api/v1"
    cameras = {one["name"]: one["records"] for one in page.request.get(f"{api}/gallery").json()["cameras"]}
    rows = page.locator("#cameras tbody tr")
    expect(rows).to_have_count(len(cameras))
    for name, records in cameras.items():
        expect(rows.filter(has_text=name).locator("td").first).to_have_text(str(records))
    expect(page.locator("#routes tbody tr").first).to_be_visible()
    page.get_by_role("link", name="Days").click()
    day = page.request.get(f"{api}/people/count?by=day").json()["counts"][-1]
    expect(page.locator(".figures dd").first).to_contain_text(str(day["people"]))
    hours = page.request.get(f"{api}/people/count?by=hour").json()["counts"]
    expect(page.locator(".hours li:not(.none)")).to_have_count(len(hours))
    days = {"counts": [{"day": "2020-01-01", "people": 1, "low": 1, "high": 1, "records": 1}, day]}
    page.route("**/people/count?by=day", lambda route: route.fulfill(json=days))
    page.reload()
    before = page.get_by_role("button", name="The day before")
    before.click()
    expect(before).to_have_attribute("aria-disabled", "true")
    expect(before).to_be_focused()


def test_events_appear_as_they_come_and_can_be_paused(visit: Visit, site: Site) -> None:
    page = visit("/live", role="search")
    expect(page.locator("#link")).to_have_text("Connected")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#events")).to_contain_text("No events yet")
    event = Event(
        "entered", "<b>Ana</b>", None, "known", "hall", EPOCH, EPOCH, EPOCH, 0.9, "hall-1", "hall-9", "v1", "k1"
    )
    add_event(site, event)
    expect(page.locator("#events li")).to_have_count(1)
    expect(page.locator("#events li")).to_contain_text("<b>Ana</b> entered")
    expect(page.locator("#here li")).to_have_count(1)
    page.get_by_role("button", name="Pause").click()
    add_event(site, replace(event, kind="left", key="two"))
    expect(page.get_by_role("button", name="Go on (1 new)")).to_be_visible()
    expect(page.locator("#events li")).to_have_count(1)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#events li").first).to_contain_text("left")
    expect(page.locator("#here")).to_contain_text("Nobody")
    add_event(site, replace(event, kind="corrected", person="Bea", previous="<b>Ana</b>", key="three"))
    expect(page.locator("#events li").first).to_contain_text("Bea was here (not <b>Ana</b>)")
    expect(page.locator("#here")).to_contain_text("Nobody")


def test_people_of_a_watch_that_was_killed_do_not_stay(visit: Visit, site: Site) -> None:
    """Its own context, because it moves the clock."""
    page = visit("/nothing", role="search", locale="en-GB")
    event = Event("seen", "Bea", None, "known", "hall", EPOCH, EPOCH, EPOCH, 0.9, "hall-1", "hall-9", "b1", "b1")
    past = EPOCH - 1e8
    add_event(site, replace(event, person="Past", time=past, start=past, end=past, visit="b0", key="b0"))
    page.clock.install()
    page.goto(f"{site.address}/live")
    here, rows = page.locator("#here"), page.locator("#here li")
    expect(page.locator("#events")).to_contain_text("Past")  # said long before the page was made
    expect(here).to_contain_text("Nobody")
    add_event(site, event)
    add_event(site, replace(event, person="Carl", camera="gate", visit="b2", key="b2"))
    expect(rows).to_have_count(2)
    # The watch of the hall begins again later, and that of the gate with an earlier time.
    add_event(site, replace(event, person="Dora", time=EPOCH + 500, visit="b3", key="b3"))
    expect(here).not_to_contain_text("Bea")
    add_event(site, replace(event, person="Emil", camera="gate", time=EPOCH - 500, visit="b4", key="b4"))
    expect(here).not_to_contain_text("Carl")
    expect(rows).to_have_count(2)
    page.clock.fast_forward(100_000)
    add_event(site, replace(event, person="Emil", camera="gate", time=EPOCH - 400, visit="b4", key="b5"))
    expect(page.locator("#events li").first).to_contain_text("Emil")
    page.clock.fast_forward(60_000)
    expect(here).not_to_contain_text("Dora")
    expect(rows).to_have_count(1)
    expect(here).to_contain_text("Emil")


def add_event(site: Site, event: Event) -> None:
    with open(site.events, "ab") as file:
        file.write(event.to_json() + b"\n")


# States


NOT_GROUPED = {"code": "not_grouped", "message": "nobody was grouped yet: an admin can group the records"}
ERRORS = [
    (503, {"Retry-After": "7"}, "Try again in 7 seconds"), (429, {}, "Too many requests"),
    (403, {}, "Your token may not do this"), (504, {}, "took too long"), (500, {}, "This did not work"),
]  # fmt: skip


def test_each_error_has_its_state(visit: Visit) -> None:
    page = visit("/days", role="search")
    state = page.locator(".state.bad")
    document = {"error": {"code": "x", "message": "the line of the server"}}
    for status, headers, words in ERRORS:
        page.unroute_all()
        page.route("**/api/v1/people/**", refusing(status=status, headers=headers, json=document))
        page.reload()
        expect(state).to_contain_text(words)
        expect(state).to_contain_text("The line of the server.")
    page.unroute_all()
    state.get_by_role("button", name="Try again").click()
    expect(page.locator(".hours")).to_be_visible()


def refusing(**answer: Any) -> Callable[[Route], None]:
    return lambda route: route.fulfill(**answer)


WAITS = """() => {
  const [timeout, real] = [AbortSignal.timeout, window.fetch];
  const waits = (window.waits = {});
  let last = 0;
  AbortSignal.timeout = (milliseconds) => timeout.call(AbortSignal, (last = milliseconds));
  window.fetch = (address, options) => ((waits[`${options.method} ${address}`] = last / 1000), real(address, options));
}"""


def test_the_page_waits_as_long_as_the_service_may_work(visit: Visit, site: Site) -> None:
    page = visit("/nothing", role="admin")
    page.add_init_script(f"({WAITS})()")
    refused = {"error": {"code": "conflict", "message": "not now"}}
    page.route("**/api/v1/people/**", lambda route: route.fulfill(status=409, json=refused))
    page.route("**/api/v1/people?*", lambda route: route.fulfill(status=409, json={"error": NOT_GROUPED}))
    limits = Limits()
    page.goto(f"{site.address}/review")
    expect(page.locator(".state.bad").first).to_be_visible()
    waits = page.evaluate("waits")
    assert waits["GET /api/v1/people/review?limit=20"] > limits.group_seconds
    assert limits.answer_seconds < waits["GET /api/v1/people/corrections"] < limits.group_seconds
    page.goto(f"{site.address}/people")
    page.get_by_role("button", name="Group the records now").click()
    expect(page.locator("#toasts")).to_contain_text("Not now")
    assert page.evaluate("waits")["POST /api/v1/people/group"] > limits.group_seconds


def test_an_empty_gallery_and_one_that_was_not_grouped(visit: Visit, site: Site) -> None:
    page = visit("/", role="admin")
    empty = {"gallery": "g", "records": 0, "people": 0, "waiting": 0, "cameras": [], "tags": [], "sources": []}
    page.route("**/api/v1/gallery", lambda route: route.fulfill(json=empty))
    page.reload()
    expect(page.get_by_role("heading", name="Nobody is here yet")).to_be_visible()
    message = {"error": {"code": "not_grouped", "message": "nobody was grouped yet"}}
    page.route("**/api/v1/people?*", lambda route: route.fulfill(status=409, json=message))
    page.goto(f"{site.address}/people")
    expect(page.get_by_role("button", name="Group the records now")).to_be_visible()


GROUPING = {"code": "conflict", "message": "people are being grouped at the moment: try again later"}
CALLS = {
    "/people": "people?*", "/review": "people/review?*", "/days": "people/count?*", "/cameras": "people/routes",
    "/?person=Ana": "search",
}  # fmt: skip
"""What each view asks for that needs people."""


@pytest.mark.parametrize("view", CALLS)
def test_another_conflict_is_not_taken_for_a_gallery_that_was_not_grouped(visit: Visit, site: Site, view: str) -> None:
    page = visit("/nothing", role="admin")
    answers = [{"error": NOT_GROUPED}, {"error": GROUPING}]
    page.route(f"**/api/v1/{CALLS[view]}", lambda route: route.fulfill(status=409, json=answers[0]))
    page.goto(site.address + view)
    heading = page.get_by_role("heading", name="Nobody was grouped yet")
    expect(heading).to_be_visible()
    del answers[0]
    page.reload()
    expect(page.locator(".state.bad")).to_contain_text("People are being grouped at the moment")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    expect(heading).to_have_count(0)


def test_an_address_that_is_nothing_is_a_page_and_shows_no_frame_to_strangers(visit: Visit, site: Site) -> None:
    page = visit("/nothing/here", role="search")
    expect(page.get_by_role("heading", name="There is nothing here")).to_be_visible()
    page.goto(f"{site.address}/people/nobody%20at%20all")
    expect(page.locator(".state.bad")).to_contain_text("Nobody is called")
    stranger = visit("/nothing/here", role=None)
    expect(stranger.get_by_role("heading", name="There is nothing here")).to_be_visible()
    expect(stranger.get_by_text(site.gallery.name)).to_have_count(0)


# Sizes and assistive technology

VIEWS = {
    "/login?failed=1": "Sign in", "/": "People of the gallery", "/?person=person-000001": "Matches",
    "/people": "People",
    "/people/person-000001": "person-000001", "/review": "Do these pictures show one person?", "/cameras": "Cameras",
    "/days": "People by hour", "/live": "Events", "/nothing": "There is nothing here",
}  # fmt: skip
"""A heading that each shows when it is complete."""
AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
CHECK = "rules => axe.run(document, { resultTypes: ['violations'], ...(rules ? { runOnly: rules } : {}) })"


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_passes_axe_in_both_schemes_and_is_never_wider_than_the_window(visit: Visit, view: str) -> None:
    page = visit(view, bypass_csp=True, color_scheme="light")
    expect(page.get_by_role("heading", name=VIEWS[view], exact=True)).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    page.evaluate(AXE)
    wrong = page.evaluate(CHECK)["violations"]
    page.emulate_media(color_scheme="dark")
    wrong += page.evaluate(CHECK, ["color-contrast"])["violations"]
    for width in (3840, 360, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width
    wrong += page.evaluate(CHECK)["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in wrong] == []


def test_a_rate_that_too_few_people_support_is_doubted(visit: Visit) -> None:
    def doubt(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"doubt": "a false-match rate of 0.05 is uncertain"})

    page = visit("/", role="search")
    page.route("**/api/v1/search", doubt)
    page.get_by_label("A person of the gallery").fill("person-000001")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_text("A false-match rate of 0.05 is uncertain.")).to_be_visible()
