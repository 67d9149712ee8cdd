"""People of a gallery: grouped, kept, corrected, copied and forgotten."""

import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_site import PEOPLE, Site

from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.transfer import copy, sync
from reid_toolkit.gallery.types import Selection
from reid_toolkit.people import update as updating
from reid_toolkit.people.book import Book
from reid_toolkit.people.review import questions
from reid_toolkit.people.update import update


@pytest.fixture(autouse=True)
def not_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """New records are compared with few others, as in a gallery of many records."""
    monkeypatch.setattr(updating, "FEW", 0)


def book(store: Gallery) -> Book:
    return Book(store, "G", time.time())


def person_of(site: Site, store: Gallery, person: int) -> str:
    """The name of the person in the gallery who is ``person`` in truth."""
    groups = site.groups(store)
    return book(store).name(next(groups[name] for name, one in site.truth.items() if one == person))


def test_people_are_found_and_numbers_last(site: Site, gallery: Gallery) -> None:
    done = update(gallery)
    assert (done.people, done.new_people, done.new_records, done.moved) == (PEOPLE, PEOPLE, len(site.records), 0)
    assert site.purity(gallery) == (PEOPLE, 0)
    before = site.groups(gallery)
    again = update(gallery)
    assert (again.grouped, again.new_people, again.moved) == (0, 0, 0)
    assert update(gallery, anew=True).moved == 0
    assert site.groups(gallery) == before


def test_new_records_join_people_or_are_new_people(site: Site, gallery: Gallery) -> None:
    update(gallery)
    before, old = site.groups(gallery), len(site.records)
    site.looks = np.concatenate([site.looks, site.rng.normal(size=(1, site.looks.shape[1]))])
    for person in (0, 3, PEOPLE):
        for camera in range(3):
            site.cross(person, f"camera-{camera}")
    site.enroll(gallery, old)
    done = update(gallery)
    after = site.groups(gallery)
    assert {name: after[name] for name in before} == before
    assert site.purity(gallery) == (PEOPLE + 1, 0)
    assert (done.new_records, done.new_people) == (9, 1)


def test_new_records_of_one_person_join_that_person(tmp_path: Path) -> None:
    """They are compared with few others than that person's records, so these cannot say what is near."""
    site = Site(PEOPLE, visits=5)
    with Gallery.open(tmp_path / "g") as store:
        site.enroll(store)
        update(store)
        for _ in range(5):
            old = len(site.records)
            for _ in range(6):
                site.cross(0, "camera-0")
            site.enroll(store, old)
            assert update(store).new_people == 0
        assert site.purity(store) == (PEOPLE, 0)


def test_people_who_were_found_in_few_records_are_found_again_when_many_more_came(tmp_path: Path) -> None:
    site = Site(PEOPLE)
    with Gallery.open(tmp_path / "g") as store:
        rows = [at for at, person in enumerate(site.truth.values()) if person == 0][:2]
        store.add(np.stack([site.rows[at] for at in rows]), [site.records[at] for at in rows])
        assert update(store).people == 2, "two records do not tell what is near"
        site.enroll(store)
        done = update(store)
        assert (done.people, done.moved) == (PEOPLE, 1)
        assert site.purity(store) == (PEOPLE, 0)
        old = len(site.records)
        site.cross(0, "camera-0")
        site.enroll(store, old)
        assert update(store).grouped < old / 2, "few new records change nobody else"


def test_in_a_small_gallery_new_records_are_grouped_with_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(PEOPLE)
    with Gallery.open(tmp_path / "g") as store:
        site.enroll(store)
        update(store)
        old = len(site.records)
        site.cross(0, "camera-0")
        site.enroll(store, old)
        monkeypatch.setattr(updating, "FEW", old + 1)
        done = update(store)
        assert (done.grouped, done.new_records, done.moved) == (old + 1, 1, 0)
        assert update(store).grouped == 0, "nothing is new"
        assert site.purity(store) == (PEOPLE, 0)


def test_new_records_leave_both_ends_of_the_count(tmp_path: Path) -> None:
    """What grouping would do if it went on longer or stopped earlier was known of the records before."""
    site = Site(25, visits=4, noise=1.4)
    with Gallery.open(tmp_path / "g") as gallery:
        site.enroll(gallery)
        first = update(gallery)
        assert first.low < first.people < first.high
        members = gallery.people.read().members
        for run in range(3):
            known = len(site.records)
            for person in range(25):
                site.cross(person, f"camera-{run}")
            site.enroll(gallery, known)
            result = update(gallery)
            assert result.grouped > result.new_records == 25, "compared with people who are known"
            assert first.low <= result.low < result.people < first.high <= result.high
            now = gallery.people.read().members
            assert members == {digest: now[digest] for digest in members}
            members = now


def test_people_last_through_compact_and_through_enrolling_again(site: Site, gallery: Gallery) -> None:
    update(gallery)
    book(gallery).rename(person_of(site, gallery, 2), "Ana")
    before = site.groups(gallery)
    site.enroll(gallery)  # the same records replace themselves
    gallery.compact()
    update(gallery)
    assert site.groups(gallery) == before
    assert person_of(site, gallery, 2) == "Ana"


def test_two_in_one_picture_are_never_one_person(tmp_path: Path) -> None:
    site = Site(5)
    twin = site.cross(0, "camera-0")
    other = site.cross(0, "camera-0", at=twin.start + 2)  # somebody who looks the same
    with Gallery.open(tmp_path / "g") as store:
        site.enroll(store)
        assert update(store).apart == 1
        groups = site.groups(store)
        assert groups[twin.tracklet] != groups[other.tracklet]
        book(store).say("same", twin.tracklet, other.tracklet, "ana")  # the tracker followed one person twice
        update(store, anew=True)
        groups = site.groups(store)
        assert groups[twin.tracklet] == groups[other.tracklet]


def test_impossible_moves_are_kept_apart(tmp_path: Path) -> None:
    site = Site(5)
    here = site.cross(1, "camera-0")
    there = site.cross(1, "camera-1", at=here.end + 2)
    with Gallery.open(tmp_path / "g") as store:
        site.enroll(store)
        update(store)
        assert len({site.groups(store)[one.tracklet] for one in (here, there)}) == 1
        update(store, least_times={("camera-0", "camera-1"): 20.0}, anew=True)
        assert len({site.groups(store)[one.tracklet] for one in (here, there)}) == 2


def test_corrections_are_obeyed_by_every_later_grouping(site: Site, gallery: Gallery) -> None:
    update(gallery)
    one, other = person_of(site, gallery, 0), person_of(site, gallery, 1)
    book(gallery).say("same", one, other, "ana")
    assert site.purity(gallery) == (PEOPLE - 1, 1)
    update(gallery, anew=True)
    assert site.purity(gallery) == (PEOPLE - 1, 1)
    mine = [name for name, person in site.truth.items() if person == 2]
    book(gallery).say("different", mine[0], mine[1], "ana")
    update(gallery)
    groups = site.groups(gallery)
    assert groups[mine[0]] != groups[mine[1]]
    update(gallery, anew=True)
    groups = site.groups(gallery)
    assert groups[mine[0]] != groups[mine[1]]


def test_a_new_record_that_looks_different_joins_the_person_it_is_said_to_show(site: Site, gallery: Gallery) -> None:
    update(gallery)
    before, person = site.groups(gallery), person_of(site, gallery, 3)
    site.looks = np.concatenate([site.looks, site.rng.normal(size=(1, site.looks.shape[1]))])
    coat, other = site.cross(PEOPLE, "camera-0"), site.cross(PEOPLE, "camera-1")
    site.enroll(gallery, len(site.records) - 2)
    book(gallery).say("same", person, coat.tracklet, "ana")
    book(gallery).say("same", coat.tracklet, other.tracklet, "ana")
    update(gallery)
    after = site.groups(gallery)
    number = book(gallery).person(person)
    assert (after.pop(coat.tracklet), after.pop(other.tracklet)) == (number, number)
    assert after == before


def test_an_undone_correction_is_as_if_it_had_not_been_made(site: Site, gallery: Gallery) -> None:
    update(gallery)
    book(gallery).say("same", person_of(site, gallery, 0), person_of(site, gallery, 1), "ana")
    assert site.purity(gallery) == (PEOPLE - 1, 1)
    update(gallery, undo=book(gallery).corrections_called(["c-1"]))
    assert site.purity(gallery) == (PEOPLE, 0)
    assert not book(gallery).people.corrections
    made = book(gallery).say("same", person_of(site, gallery, 0), person_of(site, gallery, 1), "ana")
    assert made.name == "c-2", "a name is never given twice"


def test_some_records_become_a_new_person(site: Site, gallery: Gallery) -> None:
    update(gallery)
    mine = [name for name, person in site.truth.items() if person == 4]
    _, number = book(gallery).split(person_of(site, gallery, 4), mine[:2], "ana")
    groups = site.groups(gallery)
    assert groups[mine[0]] == groups[mine[1]] == number
    assert number not in {groups[name] for name in mine[2:]}
    update(gallery, anew=True)
    groups = site.groups(gallery)
    assert groups[mine[0]] == groups[mine[1]] != groups[mine[2]]
    with pytest.raises(InputError, match="all its records"):
        book(gallery).split(book(gallery).name(number), mine[:2], "ana")
    with pytest.raises(InputError, match="not a record of"):
        book(gallery).split(book(gallery).name(number), mine[2:3], "ana")


def test_a_contradiction_names_its_chain(site: Site, gallery: Gallery) -> None:
    update(gallery)
    one, other, third = (next(name for name, who in site.truth.items() if who == person) for person in range(3))
    book(gallery).say("same", one, other, "ana")
    book(gallery).say("same", other, third, "ana")
    with pytest.raises(InputError, match=r"cannot be different people: c-1: .*; c-2: .* \(ana, "):
        book(gallery).say("different", one, third, "ana")


def test_deleted_records_take_names_and_links_with_them(site: Site, gallery: Gallery, tmp_path: Path) -> None:
    update(gallery)
    book(gallery).rename(person_of(site, gallery, 0), "Ana Secret-Name")
    mine = [name for name, person in site.truth.items() if person == 0]
    theirs = next(name for name, person in site.truth.items() if person == 1)
    book(gallery).say("different", mine[0], theirs, "ana")
    gone = [key_digest(one) for one in site.records if one.tracklet in mine]
    held = book(gallery)
    assert held.forget(held.person("Ana Secret-Name")) == len(mine)
    after = gallery.people.read()
    assert not after.names
    assert not after.corrections
    assert not set(gone) & set(after.members)
    gallery.close()
    content = b"".join(file.read_bytes() for file in (tmp_path / "g").iterdir())
    assert b"Secret-Name" not in content


def test_purged_records_leave_their_people(site: Site, gallery: Gallery, tmp_path: Path) -> None:
    update(gallery)
    gallery.delete(before=site.records[len(site.records) // 2].start)
    members = gallery.people.read().members
    assert len(members) == len(gallery)
    assert update(gallery).new_records == 0
    gallery.compact()
    gallery.close()
    content = b"".join(file.read_bytes() for file in (tmp_path / "g").iterdir())
    gone = [digest for one in site.records if (digest := key_digest(one)) not in members]
    assert gone
    assert not any(digest.encode() in content for digest in gone)


def test_numbers_of_people_who_are_gone_are_never_given_again(site: Site, gallery: Gallery) -> None:
    update(gallery)
    last = gallery.people.read().last_person
    gallery.delete(source="/footage")
    site.enroll(gallery)
    update(gallery)
    assert min(site.groups(gallery).values()) > last


def test_a_copy_has_the_people(site: Site, gallery: Gallery, tmp_path: Path) -> None:
    update(gallery)
    book(gallery).rename(person_of(site, gallery, 3), "Ben")
    book(gallery).say("same", person_of(site, gallery, 0), person_of(site, gallery, 1), "ana")
    with Gallery.open(tmp_path / "copy") as other:
        copy(gallery, other)
        mine, theirs = gallery.people.read(), other.people.read()
        assert (mine.members, mine.names, mine.corrections) == (theirs.members, theirs.names, theirs.corrections)
        book(gallery).rename("Ben", None)
        update(gallery, undo=book(gallery).corrections_called(["c-1"]))
        copy(gallery, other)
        mine, theirs = gallery.people.read(), other.people.read()
        assert (mine.members, mine.names, mine.corrections) == (theirs.members, theirs.names, theirs.corrections)
        assert not theirs.names


def test_a_copy_that_was_corrected_becomes_as_its_source_again(site: Site, gallery: Gallery, tmp_path: Path) -> None:
    update(gallery)
    with Gallery.open(tmp_path / "copy") as other:
        copy(gallery, other)
        book(other).say("same", person_of(site, other, 0), person_of(site, other, 1), "ben")
        book(other).rename(person_of(site, other, 5), "Ana")
        book(gallery).say("different", person_of(site, gallery, 2), person_of(site, gallery, 3), "ana")  # c-1 too
        book(gallery).rename(person_of(site, gallery, 4), "Ana")
        copy(gallery, other)
        mine, theirs = gallery.people.read(), other.people.read()
        assert (mine.members, mine.names, mine.corrections) == (theirs.members, theirs.names, theirs.corrections)


def test_a_centre_obeys_the_corrections_of_its_boxes(site: Site, gallery: Gallery, tmp_path: Path) -> None:
    update(gallery)
    book(gallery).say("same", person_of(site, gallery, 0), person_of(site, gallery, 1), "ana")
    with Gallery.open(tmp_path / "centre") as centre:
        sync(tmp_path / "g", centre, "centre")
        update(centre)
        assert site.purity(centre) == (PEOPLE - 1, 1)
        sync(tmp_path / "g", centre, "centre")
        assert len(centre.people.read().corrections) == 1


def test_a_centre_keeps_its_own_word_against_its_boxes(site: Site, gallery: Gallery, tmp_path: Path) -> None:
    update(gallery)
    first, second, third = (person_of(site, gallery, person) for person in range(3))
    book(gallery).say("same", first, second, "ana")
    book(gallery).say("different", first, third, "ana")
    with Gallery.open(tmp_path / "centre") as centre:
        site.enroll(centre)
        update(centre)
        book(centre).say("different", person_of(site, centre, 0), person_of(site, centre, 1), "centre")
        with pytest.warns(RuntimeWarning, match="corrections c-1 were not sent, because they contradict"):
            sync(tmp_path / "g", centre, "centre")
        assert [one.kind for one in centre.people.read().corrections] == ["different", "different"]


def test_a_change_by_another_process_meanwhile_is_not_lost(site: Site, gallery: Gallery) -> None:
    update(gallery)
    mine, theirs = book(gallery), book(gallery)
    mine.rename(person_of(site, gallery, 0), "Ana")
    with pytest.raises(GalleryError, match="another process has changed its people"):
        theirs.rename(person_of(site, gallery, 1), "Ben")
    assert gallery.people.read().names == {site.groups(gallery)[next(iter(site.truth))]: "Ana"}


def test_what_is_said_is_in_the_audit_log(site: Site, gallery: Gallery) -> None:
    gallery.switch_audit(True)
    update(gallery)
    book(gallery).rename(person_of(site, gallery, 0), "Ana")
    book(gallery).say("different", "Ana", person_of(site, gallery, 1), "ana")
    actions = [event["action"] for event in gallery.audit_log()]
    assert [action for action in actions if action in ("people", "name", "different")] == [
        "people",
        "name",
        "different",
    ]


def test_galleries_without_people_get_no_tables(site: Site, gallery: Gallery, tmp_path: Path) -> None:
    gallery.delete(tracklet=site.records[0].tracklet)
    with sqlite3.connect(tmp_path / "g" / "gallery.sqlite") as file:
        tables = {row[0] for row in file.execute("SELECT name FROM sqlite_master")}
    file.close()
    assert not {"person_member", "person_name", "person_correction"} & tables


def test_the_first_questions_are_about_what_is_unsure(tmp_path: Path) -> None:
    site = Site(12, noise=0.8, seed=2)
    with Gallery.open(tmp_path / "g") as store:
        site.enroll(store)
        update(store)
        asked = questions(book(store), 5)
        assert asked
        first = asked[0]
        held = book(store)
        kind = "same" if site.truth[held.records[first.first].tracklet] == site.truth[
            held.records[first.second].tracklet
        ] else "different"  # fmt: skip
        held.say(kind, held.called[first.first], held.called[first.second], "ana") if kind != first.now else None
        if kind != first.now:
            update(store)
            again = questions(book(store), 5)
            assert (first.first, first.second) not in {(one.first, one.second) for one in again}


def test_pictures_are_read_for_one_person_only(site: Site, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery.add(np.stack(site.rows), [replace(one, thumbnail=b"picture") for one in site.records])
    update(gallery)
    held = book(gallery)
    assert not any(record.thumbnail for record in held.records.values())
    person = held.person(person_of(site, gallery, 2))
    searched: list[Selection] = []
    monkeypatch.setattr(gallery, "listed", lambda which: searched.append(which) or Gallery.listed(gallery, which))
    shown = held.pictured(person)
    assert len(searched) <= 1, "each looks through all records, and a person may have thousands"
    assert {one.tracklet for one in shown} == {one.tracklet for one in held.records_of(person)}
    assert all(one.thumbnail == b"picture" for one in shown)


def test_all_that_groups_obeys_the_stored_least_times(site: Site, gallery: Gallery) -> None:
    """New records, corrections, an undo, and questions: none unites what times keep apart."""
    least = {("camera-0", "camera-1"): 30.0}
    update(gallery, least_times=least)
    first = site.cross(2, "camera-0")
    second = site.cross(2, "camera-1", at=(first.end or 0.0) + 5)
    site.enroll(gallery, len(site.records) - 2)

    def apart() -> bool:
        groups = site.groups(gallery)
        return groups[first.tracklet] != groups[second.tracklet]

    update(gallery)
    assert apart()
    made = book(gallery).say("different", person_of(site, gallery, 0), person_of(site, gallery, 1), "ana")
    update(gallery)
    update(gallery, undo=[made])
    assert apart()
    update(gallery, anew=True)
    assert apart()
    pairs = {frozenset((one.first, one.second)) for one in questions(book(gallery), 1000)}
    assert frozenset(map(key_digest, (first, second))) not in pairs
    assert gallery.people.read().least_times == least
    update(gallery, anew=True, least_times={})
    assert not apart()
    assert gallery.people.read().least_times == {}


def test_a_split_stores_as_few_corrections_as_keep_it_apart(site: Site, gallery: Gallery) -> None:
    """One for each tracklet of the rest, because each could join the new person by itself, and what is known already is
    not said again."""
    update(gallery)
    rest = [one for one in site.records if site.truth[one.tracklet] == 4]
    moved, rest = rest[:2], rest[2:]
    book(gallery).say("same", rest[0].tracklet, rest[1].tracklet, "ana")
    made, number = book(gallery).split(person_of(site, gallery, 4), [one.tracklet for one in moved], "ana")
    assert [one.kind for one in made] == ["same", *["different"] * (len(rest) - 1)]
    for _ in range(2):
        groups = site.groups(gallery)
        assert {groups[one.tracklet] for one in moved} == {number}
        assert number not in {groups[one.tracklet] for one in rest}
        update(gallery, anew=True)
    for one in (*moved, *rest):  # new records that look the same join one of the two, and unite nobody
        site.cross(4, one.camera)
    site.enroll(gallery, len(site.records) - len(moved) - len(rest))
    update(gallery)
    groups = site.groups(gallery)
    assert not {groups[one.tracklet] for one in moved} & {groups[one.tracklet] for one in rest}
    update(gallery, undo=made)
    assert len({site.groups(gallery)[one.tracklet] for one in (*moved, *rest)}) == 1
