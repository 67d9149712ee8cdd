"""What a sync tells a centre about people: corrections, corrections that were taken back, and names."""

import sqlite3
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from drawn_site import PEOPLE, Site

from reid_toolkit.gallery import Gallery, people_transfer
from reid_toolkit.gallery.transfer import copy, sync
from reid_toolkit.people.book import Book
from reid_toolkit.people.update import update


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery.open(tmp_path / "centre") as store:
        yield store


def book(gallery: Gallery) -> Book:
    return Book(gallery, "G", time.time())


def number_of(site: Site, gallery: Gallery, person: int) -> int:
    """The number of a drawn person."""
    return next(number for tracklet, number in site.groups(gallery).items() if site.truth[tracklet] == person)


def called(site: Site, gallery: Gallery, person: int) -> str:
    return book(gallery).name(number_of(site, gallery, person))


def call(site: Site, gallery: Gallery, person: int, name: str | None) -> None:
    book(gallery).rename(called(site, gallery, person), name)


def say(site: Site, gallery: Gallery, kind: str, one: int, other: int) -> str:
    return book(gallery).say(kind, called(site, gallery, one), called(site, gallery, other), "ana").name


def undo(gallery: Gallery, *names: str) -> None:
    update(gallery, undo=book(gallery).corrections_called(names))


def send(tmp_path: Path, centre: Gallery) -> list[str]:
    """Sync, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sync(tmp_path / "g", centre, "centre")
    return [str(one.message) for one in caught]


def names(gallery: Gallery) -> set[str]:
    return set(gallery.people.read().names.values())


def group_both(gallery: Gallery, centre: Gallery, tmp_path: Path) -> None:
    """Group the edge, send everything to the centre, and group that."""
    update(gallery)
    sync(tmp_path / "g", centre, "centre")
    update(centre)


def test_a_name_waits_for_its_person(site: Site, gallery: Gallery, centre: Gallery, tmp_path: Path) -> None:
    update(gallery)
    call(site, gallery, 3, "Ana")
    assert send(tmp_path, centre) == []
    assert names(centre) == set()
    update(centre)
    assert called(site, centre, 3) == "Ana"
    assert centre.people.read().waiting == {}
    changes = centre.people.read()
    assert send(tmp_path, centre) == []
    assert not centre.people.changed(changes), "nothing is written if there is nothing new"


def test_a_name_reaches_a_person_who_is_there(site: Site, gallery: Gallery, centre: Gallery, tmp_path: Path) -> None:
    group_both(gallery, centre, tmp_path)
    call(site, gallery, 3, "Ana")
    call(site, gallery, 4, "Ben")
    assert send(tmp_path, centre) == []
    assert [called(site, centre, person) for person in (3, 4)] == ["Ana", "Ben"]


def test_changed_names_follow(site: Site, gallery: Gallery, centre: Gallery, tmp_path: Path) -> None:
    """Renamed, exchanged, taken away, and forgotten with the person."""
    update(gallery)
    call(site, gallery, 3, "Ana")
    call(site, gallery, 4, "Ben")
    sync(tmp_path / "g", centre, "centre")
    call(site, gallery, 3, "Anna")  # while both names wait
    sync(tmp_path / "g", centre, "centre")
    update(centre)
    assert [called(site, centre, person) for person in (3, 4)] == ["Anna", "Ben"]
    call(site, gallery, 3, None)
    call(site, gallery, 4, "Anna")
    call(site, gallery, 3, "Ben")
    assert send(tmp_path, centre) == []
    assert [called(site, centre, person) for person in (3, 4)] == ["Ben", "Anna"]
    call(site, gallery, 4, None)
    assert send(tmp_path, centre) == []
    assert names(centre) == {"Ben"}
    site.cross(3, "camera-0")  # which only the centre has
    site.enroll(centre, len(site.records) - 1)
    update(centre)
    assert called(site, centre, 3) == "Ben"
    book(gallery).forget(number_of(site, gallery, 3))
    assert send(tmp_path, centre) == []
    assert names(centre) == set(), "although a record of the person is left"
    with sqlite3.connect(tmp_path / "g" / "sync.sqlite") as file:
        assert file.execute("SELECT count(*) FROM sent_name").fetchone() == (0,)
    file.close()
    assert b"Ben" not in (tmp_path / "g" / "sync.sqlite").read_bytes()


def test_the_centres_name_stays(site: Site, gallery: Gallery, centre: Gallery, tmp_path: Path) -> None:
    group_both(gallery, centre, tmp_path)
    call(site, centre, 3, "Ms Smith")
    call(site, centre, 4, "Ben")
    call(site, gallery, 3, "Ana")
    call(site, gallery, 5, "Ben")
    said = [
        "the name Ana was not sent: at the target, this person is called Ms Smith",
        "the name Ben was not sent: at the target, another person is called so",
    ]
    for _ in range(2):
        assert sorted(send(tmp_path, centre)) == said
        assert [called(site, centre, person) for person in (3, 4)] == ["Ms Smith", "Ben"]
    call(site, gallery, 5, "Cem")
    call(site, gallery, 3, None)
    assert send(tmp_path, centre) == []
    assert names(centre) == {"Ms Smith", "Ben", "Cem"}, "the centre's own names are not taken away"
    call(site, centre, 5, None)
    assert send(tmp_path, centre) == []
    assert names(centre) == {"Ms Smith", "Ben"}, "what the centre takes away does not come back"
    call(site, gallery, 5, "Cemal")
    assert send(tmp_path, centre) == []
    assert called(site, centre, 5) == "Cemal"


def test_a_name_that_came_by_a_sync_goes_after_a_conflict(
    site: Site, gallery: Gallery, centre: Gallery, tmp_path: Path
) -> None:
    group_both(gallery, centre, tmp_path)
    call(site, gallery, 3, "Ana")
    assert send(tmp_path, centre) == []
    most = [tracklet for tracklet, person in site.truth.items() if person == 3][:-2]
    book(centre).split("Ana", most, "ben")
    for _ in range(2):
        assert send(tmp_path, centre) == ["the name Ana was not sent: at the target, another person is called so"]
    assert names(centre) == {"Ana"}
    call(site, gallery, 3, None)
    assert send(tmp_path, centre) == []
    assert names(centre) == set()


def test_a_name_comes_with_records_that_were_blocked(
    site: Site, gallery: Gallery, centre: Gallery, tmp_path: Path
) -> None:
    group_both(gallery, centre, tmp_path)
    book(centre).forget(number_of(site, centre, 3))
    call(site, gallery, 3, "Ana")
    for _ in range(2):
        assert send(tmp_path, centre) == []
        assert centre.people.read().waiting == {}
    sync(tmp_path / "g", centre, "centre", allow=True)
    update(centre)
    assert called(site, centre, 3) == "Ana"


@pytest.mark.parametrize("what", ["same", "different", "name", "undone"])
def test_what_is_about_records_that_the_centre_lacks_changes_nothing_there(
    what: str, site: Site, gallery: Gallery, centre: Gallery, tmp_path: Path
) -> None:
    """It would disturb a grouping, at each sync."""
    group_both(gallery, centre, tmp_path)
    book(centre).forget(number_of(site, centre, 3))
    if what == "name":
        call(site, gallery, 3, "Ana")
    elif what == "undone":
        undo(gallery, say(site, gallery, "different", 3, 4))
    else:
        say(site, gallery, what, 3, 4)
    centre.switch_audit(True)
    was = centre.people.read()
    for _ in range(2):
        assert send(tmp_path, centre) == []
    assert not centre.people.changed(was)
    assert [event for event in centre.audit_log() if event["action"] == "corrections received"] == []
    say(site, gallery, "different", 5, 6)
    assert send(tmp_path, centre) == []
    (event,) = [event for event in centre.audit_log() if event["action"] == "corrections received"]
    assert (event["corrections"], event["undone"], event["names"]) == (1, 0, 0)


def test_a_copy_without_some_records_is_written_once(
    site: Site, gallery: Gallery, centre: Gallery, tmp_path: Path
) -> None:
    update(gallery)
    call(site, gallery, 3, "Ana")
    undo(gallery, say(site, gallery, "different", 3, 4))
    copy(gallery, centre)
    book(centre).forget(number_of(site, centre, 3))
    was = centre.people.read()
    copy(gallery, centre)
    assert not centre.people.changed(was)


def test_a_sync_that_breaks_off_goes_on(
    site: Site, gallery: Gallery, centre: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the centre's transaction and the note of what was sent."""

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    update(gallery)
    undo(gallery, say(site, gallery, "same", 0, 1))
    say(site, gallery, "same", 1, 2)
    call(site, gallery, 3, "Ana")
    with monkeypatch.context() as patch:
        patch.setattr(people_transfer, "note_names", cut)
        with pytest.raises(KeyboardInterrupt):
            sync(tmp_path / "g", centre, "centre")
    assert send(tmp_path, centre) == []
    update(centre)
    held = centre.people.read()
    assert (len(held.corrections), len(held.undone), called(site, centre, 3)) == (1, 1, "Ana")
    call(site, gallery, 3, "Anna")
    assert send(tmp_path, centre) == []
    assert called(site, centre, 3) == "Anna"


def test_two_boxes_with_one_name(site: Site, gallery: Gallery, centre: Gallery, tmp_path: Path) -> None:
    other = Site(3, seed=1)
    other.records = [
        one.__class__(f"x-{one.tracklet}", one.camera, one.start, one.end, "other") for one in other.records
    ]
    with Gallery.open(tmp_path / "box") as box:
        other.enroll(box)
        update(box)
        number = next(iter(box.people.read().members.values())).person
        book(box).rename(f"person-{number}", "Ana")
        sync(tmp_path / "box", centre, "centre")
    update(gallery)
    call(site, gallery, 3, "Ana")
    sync(tmp_path / "g", centre, "centre")
    update(centre)
    assert list(centre.people.read().names.values()) == ["Ana"]
    assert len(send(tmp_path, centre)) + (called(site, centre, 3) == "Ana") == 1, "said, or given"


def test_an_undo_reaches_the_centre(site: Site, gallery: Gallery, centre: Gallery, tmp_path: Path) -> None:
    update(gallery)
    c1 = say(site, gallery, "same", 0, 1)
    sync(tmp_path / "g", centre, "centre")
    update(centre)
    assert site.purity(centre) == (PEOPLE - 1, 1)
    undo(gallery, c1)
    assert site.purity(gallery) == (PEOPLE, 0)
    assert send(tmp_path, centre) == []
    assert centre.people.read().corrections == ()
    update(centre)  # new records are not needed for it
    assert site.purity(centre) == (PEOPLE, 0)
    assert [one.regroup for one in centre.people.read().undone] == [False]
    say(site, gallery, "same", 0, 1)  # said again
    assert send(tmp_path, centre) == []
    assert len(centre.people.read().corrections) == 1


def test_what_the_centre_took_back_does_not_come_again(
    site: Site, gallery: Gallery, centre: Gallery, tmp_path: Path
) -> None:
    update(gallery)
    say(site, gallery, "same", 0, 1)
    sync(tmp_path / "g", centre, "centre")
    update(centre)
    undo(centre, "c-1")
    assert site.purity(centre) == (PEOPLE, 0)
    assert send(tmp_path, centre) == []
    assert centre.people.read().corrections == ()
    assert len(gallery.people.read().corrections) == 1, "the box keeps its own"


def test_an_undo_does_not_take_what_the_centre_said_itself(
    site: Site, gallery: Gallery, centre: Gallery, tmp_path: Path
) -> None:
    group_both(gallery, centre, tmp_path)
    first, second = (next(tracklet for tracklet, who in site.truth.items() if who == person) for person in (0, 1))
    for store in (centre, gallery):
        book(store).say("different", first, second, "ana")
    undo(gallery, "c-1")
    assert send(tmp_path, centre) == []
    assert len(centre.people.read().corrections) == 1


def test_a_copy_has_it_all(site: Site, gallery: Gallery, centre: Gallery, tmp_path: Path) -> None:
    update(gallery, least_times={("camera-0", "camera-1"): 1.0}, false_match_rate=0.02)
    undo(gallery, say(site, gallery, "same", 0, 1))
    call(site, gallery, 3, "Ana")
    sync(tmp_path / "g", centre, "centre")  # whose name waits
    for number, source in enumerate((gallery, centre)):
        with Gallery.open(tmp_path / f"copy {number}") as other:
            copy(source, other)
            mine, theirs = source.people.read(), other.people.read()
            assert (mine.undone, mine.waiting, mine.least_times) == (theirs.undone, theirs.waiting, theirs.least_times)
            assert mine.false_match_rate == theirs.false_match_rate
            before = other.people.read()
            copy(source, other)
            assert not other.people.changed(before)
    assert centre.people.read().waiting
    assert len(centre.people.read().undone) == 1
    assert centre.people.read().least_times == {}, "each gallery has its own times"
    assert gallery.people.read().false_match_rate == 0.02
    assert centre.people.read().false_match_rate is None, "and its own rate"


def test_forgotten_records_take_it_all_with_them(site: Site, gallery: Gallery, centre: Gallery, tmp_path: Path) -> None:
    update(gallery)
    undo(gallery, say(site, gallery, "same", 3, 1))
    call(site, gallery, 3, "Ana Forgotten")
    sync(tmp_path / "g", centre, "centre")
    assert set(centre.people.read().waiting.values()) == {"Ana Forgotten"}
    book(gallery).forget(number_of(site, gallery, 3))
    assert gallery.people.read().undone == ()
    sync(tmp_path / "g", centre, "centre")
    assert centre.people.read().waiting == {}
    assert centre.people.read().undone == ()
    for folder in (tmp_path / "g", tmp_path / "centre"):
        assert not any(b"Ana Forgotten" in file.read_bytes() for file in folder.rglob("*") if file.is_file())
