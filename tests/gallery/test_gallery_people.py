"""What every gallery does with people, wherever it is kept: stores them, and deletes them with their records."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_site import Site
from gallery_people import D

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery import Gallery, open_gallery
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.people_table import Correction, Membership, Parts, People, Undone
from reid_toolkit.gallery.transfer import copy, sync
from reid_toolkit.people import held as held_module
from reid_toolkit.people.book import Book
from reid_toolkit.people.recogniser import PeopleRecogniser
from reid_toolkit.people.review import questions
from reid_toolkit.people.update import update
from reid_toolkit.records import Record

NOW = 1_600_000_000.0
RECORDS = [Record(f"t{n}", "ab"[n % 2], NOW + n, NOW + n, "/s") for n in range(6)]
KEYS = [key_digest(record) for record in RECORDS]
PERSONS = {KEYS[0]: Membership(1, 11, 21), KEYS[1]: Membership(1, 12, 21), KEYS[2]: Membership(2**40, 13, 22)}
ODD = "Ana \"\\' \u00fc\u4e2d %_ == 1"
SAME = Correction(1, "same", KEYS[0], KEYS[1], ODD, NOW + 0.125)
APART = Correction(2, "different", KEYS[1], KEYS[2], "ben", NOW + 1)


@pytest.fixture
def gallery(where: str) -> Iterator[GalleryStore]:
    with open_gallery(where, D, "m") as held:
        held.add(np.eye(len(RECORDS), D, dtype=np.float32), RECORDS)
        yield held


def knows(gallery: GalleryStore) -> tuple:
    """Everything about people but the state."""
    held = gallery.people.read()
    return held.members, held.names, held.corrections, held.last_person, held.last_correction


def said_elsewhere(gallery: GalleryStore) -> tuple:
    """What other galleries said, and the least times."""
    held = gallery.people.read()
    return held.undone, held.waiting, held.least_times


def filled(gallery: GalleryStore) -> People:
    """The people of ``gallery`` after a first write."""
    table = gallery.people
    table.write(table.read(), members=PERSONS, names={1: ODD, 2**40: "Ben"}, put=[SAME, APART])
    return table.read()


def test_what_was_written_is_read_again(gallery: GalleryStore, where: str) -> None:
    table = gallery.people
    nothing = table.read()
    assert knows(gallery) == ({}, {}, (), 0, 0)
    assert not table.changed(nothing)
    first = filled(gallery)
    written = (PERSONS, {1: ODD, 2**40: "Ben"}, (SAME, APART), 2**40, 2)
    assert knows(gallery) == written
    assert table.changed(nothing)
    assert not table.changed(first)
    gallery.add(np.eye(2, D, dtype=np.float32), RECORDS[:2])  # records that are replaced keep their people
    gallery.compact()
    assert knows(gallery) == written
    with open_gallery(where) as other:
        assert knows(other) == written
        other.people.write(first, members={KEYS[3]: Membership(2, 2, 2)})
        assert table.changed(first)
        assert knows(gallery)[0] == PERSONS | {KEYS[3]: Membership(2, 2, 2)}


def test_changes_of_all_kinds(gallery: GalleryStore) -> None:
    table = gallery.people
    filled(gallery)
    table.write(
        table.read(),
        members={KEYS[0]: Membership(2**40, 1, 1), KEYS[4]: Membership(3, 3, 3)},
        names={1: "Ben", 2**40: ODD, 3: "Carl"},  # two exchange their names
        put=[replace(APART, number=1), replace(SAME, number=3)],
        take=[1, 2],
    )
    members = PERSONS | {KEYS[0]: Membership(2**40, 1, 1), KEYS[4]: Membership(3, 3, 3)}
    corrections = (replace(APART, number=1), replace(SAME, number=3))
    assert knows(gallery) == (members, {1: "Ben", 2**40: ODD, 3: "Carl"}, corrections, 2**40, 3)
    table.write(table.read(), members={KEYS[1]: Membership(3, 3, 3)}, names={3: None}, take=[3])
    members[KEYS[1]] = Membership(3, 3, 3)
    assert knows(gallery) == (members, {2**40: ODD}, corrections[:1], 2**40, 3), "nobody is 1 any more"
    gallery.compact()
    assert knows(gallery) == (members, {2**40: ODD}, corrections[:1], 2**40, 3)


def test_a_write_after_another_is_refused(gallery: GalleryStore, where: str) -> None:
    first = filled(gallery)
    with open_gallery(where) as other:
        theirs = other.people.read()
        gallery.people.write(first, names={1: "Ana"})
        before = knows(gallery)
        with pytest.raises(GalleryError, match="another process has changed its people meanwhile"):
            other.people.write(theirs, names={1: "Eve"}, members={KEYS[3]: Membership(1, 1, 1)}, take=[1])
        assert knows(gallery) == before
        other.people.write(other.people.read(), names={1: "Eve"})
    assert knows(gallery)[1] == {1: "Eve", 2**40: "Ben"}


def test_what_is_said_of_records_that_are_not_there_is_left_out(gallery: GalleryStore) -> None:
    table = gallery.people
    filled(gallery)
    was = table.read()
    gallery.delete(tracklet="t3")
    stranger = key_digest(Record("nobody", "a"))
    table.write(
        was,
        members={KEYS[3]: Membership(5, 5, 5), KEYS[4]: Membership(6, 6, 6), stranger: Membership(7, 7, 7)},
        names={5: "Carl", 6: "Dora"},
        put=[replace(SAME, number=3, second=KEYS[3]), replace(SAME, number=4, second=KEYS[4])],
    )
    members, names, corrections, *_ = knows(gallery)
    assert members == PERSONS | {KEYS[4]: Membership(6, 6, 6)}
    assert names == {1: ODD, 2**40: "Ben", 6: "Dora"}
    assert corrections == (SAME, APART, replace(SAME, number=4, second=KEYS[4]))


def test_what_a_user_says_of_records_that_were_deleted_meanwhile_is_refused(gallery: GalleryStore, where: str) -> None:
    gallery.people.write(gallery.people.read(), members=PERSONS | {KEYS[4]: Membership(3, 3, 3)})
    book = Book(gallery, where, NOW)
    gallery.delete(tracklet="t4")
    before = knows(gallery)
    for change in (
        lambda: book.say("different", "t0", "t4", "ana"),
        lambda: book.say("same", "person-1", "person-3", "ana"),
        lambda: book.rename("person-3", "Carl"),
    ):
        with pytest.raises(GalleryError, match="were deleted meanwhile, so nothing was changed now: run this again"):
            change()
        assert knows(gallery) == before
    Book(gallery, where, NOW).say("different", "t0", "t2", "ana")
    Book(gallery, where, NOW).rename("person-1", "Ana")
    assert [one.first for one in gallery.people.read().corrections] == [KEYS[0]]
    assert knows(gallery)[1] == {1: "Ana"}


UNDONE = (Undone(replace(SAME, number=7)), Undone(replace(APART, number=8), regroup=True))
LEAST = {("a", "b"): 12.5, ("b", 'c"\u4e2d'): 0.0}


def test_what_other_galleries_said_and_least_times(gallery: GalleryStore, where: str) -> None:
    table = gallery.people
    filled(gallery)
    stranger = key_digest(Record("nobody", "a"))
    waiting = {KEYS[3]: ODD + "!", KEYS[4]: "Dora", KEYS[5]: "Emil", stranger: "Nobody"}
    foreign = Undone(replace(SAME, number=9, second=stranger))
    table.write(table.read(), undone=[*UNDONE, foreign], waiting=waiting, least_times=LEAST)
    del waiting[stranger]
    with open_gallery(where) as other:
        assert said_elsewhere(other) == (UNDONE, waiting, LEAST)
    heard = replace(UNDONE[1], regroup=False)
    table.write(table.read(), undone=[heard], waiting={KEYS[5]: None}, least_times={("a", "b"): 13.0, ("a", "c"): 1.0})
    del waiting[KEYS[5]]
    assert said_elsewhere(gallery) == ((UNDONE[0], heard), waiting, {("a", "b"): 13.0, ("a", "c"): 1.0})
    table.write(table.read(), names={1: "Ana"})
    assert said_elsewhere(gallery)[2] == {("a", "b"): 13.0, ("a", "c"): 1.0}, "they stay if nothing is said"
    gallery.compact()
    gallery.delete_records([RECORDS[2], RECORDS[4]])
    assert said_elsewhere(gallery)[:2] == (UNDONE[:1], {KEYS[3]: ODD + "!"})
    table.write(table.read(), least_times={})
    assert said_elsewhere(gallery)[2] == {}


def test_the_rate_of_false_matches(gallery: GalleryStore, where: str) -> None:
    table = gallery.people
    assert table.read().false_match_rate is None
    filled(gallery)
    for rate in (0.005, 1e-9):
        table.write(table.read(), false_match_rate=rate)
        table.write(table.read(), names={1: "Ana"})
        gallery.compact()
        with open_gallery(where) as other:
            assert other.people.read().false_match_rate == rate, "it stays if nothing is said"
    assert table.read().members == PERSONS


def test_a_waiting_name_is_given_to_the_person_with_most_of_its_records(gallery: GalleryStore) -> None:
    table = gallery.people
    filled(gallery)
    names = {KEYS[0]: "Carl", KEYS[2]: "Eve", KEYS[3]: "Dora", KEYS[4]: "Dora", KEYS[5]: "Dora"}
    table.write(table.read(), waiting=names)
    people = table.read()
    assert people.names == {1: ODD, 2**40: "Ben"}, "who has a name keeps it"
    assert people.waiting == {KEYS[3]: "Dora", KEYS[4]: "Dora", KEYS[5]: "Dora"}
    table.write(people, members={KEYS[3]: Membership(5, 1, 1), **dict.fromkeys(KEYS[4:], Membership(4, 2, 2))})
    people = table.read()
    assert people.names == {1: ODD, 2**40: "Ben", 4: "Dora"}
    assert people.waiting == {}
    table.write(people, waiting={KEYS[3]: "Dora"})
    assert table.read().names == people.names, "nobody gets the name of another person"
    assert table.read().waiting == {}


def delete_one(gallery: GalleryStore) -> None:
    assert gallery.delete(tracklet="t2") == 1


def delete_records(gallery: GalleryStore) -> None:
    assert gallery.delete_records([RECORDS[2]]) == 1


def forget(gallery: GalleryStore) -> None:
    assert gallery.forget(tracklet="t2") == 1


@pytest.mark.parametrize("remove", [delete_one, delete_records, forget])
def test_what_refers_to_a_record_is_deleted_with_it(remove, gallery: GalleryStore) -> None:
    was = filled(gallery)
    remove(gallery)
    assert knows(gallery) == ({KEYS[0]: PERSONS[KEYS[0]], KEYS[1]: PERSONS[KEYS[1]]}, {1: ODD}, (SAME,), 2**40, 2)
    assert gallery.people.changed(was)
    gallery.add(np.eye(1, D, dtype=np.float32), RECORDS[2:3])
    assert KEYS[2] not in knows(gallery)[0], "it was forgotten whom it shows"
    gallery.people.write(was, members={KEYS[2]: Membership(4, 4, 4)})
    assert knows(gallery)[0] == PERSONS | {KEYS[2]: Membership(4, 4, 4)}, "deleting is no reason to refuse"


def test_people_fall_with_the_retention(gallery: GalleryStore) -> None:
    filled(gallery)
    gallery.keep_for(time.time() - NOW - 1.5)  # two records are older
    assert gallery.expire() == 2
    assert knows(gallery) == ({KEYS[2]: PERSONS[KEYS[2]]}, {2**40: "Ben"}, (), 2**40, 2)


def test_people_are_grouped_corrected_and_forgotten(where: str) -> None:
    site = Site(5)

    def book() -> Book:
        return Book(gallery, where, time.time())

    def person(who: int) -> str:
        return book().name(site.groups(gallery)[mine(who)[0]])

    def mine(who: int) -> list[str]:
        return [name for name, one in site.truth.items() if one == who]

    with open_gallery(where) as gallery:
        site.enroll(gallery)
        done = update(gallery)
        assert (done.people, done.new_records, site.purity(gallery)) == (5, len(site.records), (5, 0))
        before = site.groups(gallery)
        old = len(site.records)
        site.cross(2, "camera-0")
        site.enroll(gallery, old)
        assert (update(gallery).new_people, site.purity(gallery)) == (0, (5, 0))
        assert site.groups(gallery).items() >= before.items()

        book().rename(person(0), "Ana")
        book().say("same", person(1), "Ana", "ana")
        assert (person(1), site.purity(gallery)) == ("Ana", (4, 1))
        assert update(gallery, anew=True).people == 4
        assert update(gallery, undo=book().corrections_called(["c-1"])).people == 5
        made, number = book().split(person(3), mine(3)[:2], "ana")
        assert {site.groups(gallery)[name] for name in mine(3)[:2]} == {number}
        book().say("different", mine(4)[0], mine(4)[1], "ana")
        assert update(gallery).people == 7
        assert [one.kind for one in book().people.corrections].count("different") == len(made)
        assert all(one.now in ("same", "different") for one in questions(book(), 3))

        gone = book().person("Ana")
        assert book().forget(gone) == 6
        assert gone not in site.groups(gallery).values()
        assert not gallery.people.read().names
        assert not gallery.people.read().members.keys() & {key_digest(r) for r in site.records if r.tracklet in mine(0)}


def test_a_watch_sets_numbers_aside_and_proposes_people(gallery: GalleryStore, where: str) -> None:
    table = gallery.people
    was = filled(gallery)
    with open_gallery(where) as other:
        first = table.reserve(5)
        assert first == 2**40 + 1
        assert other.people.reserve(1) == first + 5
        assert not table.changed(was)
        table.write(was, names={1: "Ana"})  # which this does not disturb
        was = table.read()
        assert was.last_person == first + 5
        given = [(RECORDS[0], first), (RECORDS[4], first), (Record("nobody", "a"), first)]
        there, now = table.propose(was, given, {first})
        assert there == [True, True, False]
        assert not table.changed(now)
        assert other.people.changed(was)
        assert knows(other)[0] == PERSONS | {KEYS[4]: Membership.proposed(first)}, "who has a person keeps it"
        table.write(was, names={1: "Ana"})  # which this does not disturb
        table.propose(table.read(), [(RECORDS[4], first + 1)], {first + 1})
        there, _ = table.propose(table.read(), [(RECORDS[3], first + 2), (RECORDS[5], 1)], ())
        assert there == [True, True]
        assert KEYS[3] not in table.read().members, "a person without records does not come back"
        assert table.read().members[KEYS[5]] == Membership.proposed(1)
    gallery.delete(tracklet="t5")
    assert knows(gallery)[0] == PERSONS | {KEYS[4]: Membership.proposed(first)}
    gallery.delete(tracklet="t4")
    assert knows(gallery) == (PERSONS, {1: "Ana", 2**40: "Ben"}, (SAME, APART), first + 5, 2)
    assert first + 5 == 2**40 + 6


def parts_of(gallery: GalleryStore) -> Parts:
    parts = gallery.people.parts
    assert parts is not None
    return parts


def test_parts_of_a_gallery_are_read_by_numbers(gallery: GalleryStore) -> None:
    rows = np.eye(len(RECORDS), D, dtype=np.float32)
    gallery.add(np.eye(1, D, k=7, dtype=np.float32), [Record("undated", "c", thumbnail=b"x")])
    assert {digest for _, digest in parts_of(gallery).digests(NOW + 2.5)} == {
        *KEYS[3:],
        key_digest(Record("undated", "c")),
    }
    parts = parts_of(gallery)
    number_of = {digest: number for number, digest in parts.digests(None)}
    assert number_of.keys() == {*KEYS, key_digest(Record("undated", "c"))}
    assert len(set(number_of.values())) == len(KEYS) + 1
    gallery.delete(tracklet="t1")
    found = {
        number: (camera, vector.tolist())
        for numbers, cameras, vectors in parts.descriptors()
        for number, camera, vector in zip(numbers, cameras, vectors, strict=True)
    }
    left = [at for at in range(len(RECORDS)) if at != 1]
    assert {number_of[KEYS[at]]: (RECORDS[at].camera, rows[at].tolist()) for at in left}.items() <= found.items()
    assert len(found) == 6
    wanted = [number_of[KEYS[at]] for at in (5, 1, 2)]
    read = list(parts.chosen(wanted))
    numbers = [number for part, _ in read for number in part]
    assert numbers == sorted(number_of[KEYS[at]] for at in (2, 5)), "the other one was deleted"
    records = [record for _, (part, _) in read for record in part]
    assert [number_of[key_digest(record)] for record in records] == numbers
    assert set(records) == {RECORDS[2], RECORDS[5]}
    vectors = np.concatenate([part for _, (_, part) in read])
    assert (vectors == rows[[RECORDS.index(record) for record in records]]).all()
    assert list(parts.chosen([])) == []


def test_in_a_large_gallery_new_records_are_compared_with_what_is_near(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_module, "READ_ALL_BELOW", 0)
    site = Site(20, noise=0.4)
    with open_gallery(where) as gallery:
        site.enroll(gallery)
        assert update(gallery).people == 20
        before, old = site.groups(gallery), len(site.records)
        site.looks = np.concatenate([site.looks, site.rng.normal(size=(1, site.looks.shape[1]))])
        for person in (3, 20):
            site.cross(person, "camera-1")
            site.cross(person, "camera-2")
        site.enroll(gallery, old)
        monkeypatch.delattr(held_module.Held, "of")  # nothing reads all records
        done = update(gallery)
        assert (done.new_records, done.new_people, done.moved, done.records) == (4, 1, 0, old + 4)
        assert done.grouped < old / 4
        assert site.purity(gallery) == (21, 0)
        assert site.groups(gallery).items() >= before.items()


def test_people_go_to_other_galleries_and_come_back(where: str, tmp_path: Path) -> None:
    site = Site(4)
    with (
        open_gallery(tmp_path / "edge") as edge,
        open_gallery(where) as gallery,
        open_gallery(tmp_path / "back") as back,
    ):
        site.enroll(edge)
        update(edge)
        Book(edge, "edge", time.time()).rename("person-2", "Ana")
        Book(edge, "edge", time.time()).say("same", "person-3", "person-4", "ana")
        copy(edge, gallery)
        assert knows(gallery) == knows(edge)
        copy(gallery, back)
        assert knows(back) == knows(edge)
        Book(edge, "edge", time.time()).rename("Ana", None)
        update(edge, undo=Book(edge, "edge", time.time()).corrections_called(["c-1"]))
        copy(edge, gallery)
        assert knows(gallery) == knows(edge)
        assert not knows(gallery)[1]


def test_a_centre_obeys_the_corrections_of_its_boxes(where: str, tmp_path: Path) -> None:
    site = Site(4)
    with open_gallery(tmp_path / "edge") as edge, open_gallery(where) as centre:
        site.enroll(edge)
        update(edge)
        Book(edge, "edge", time.time()).say("same", "person-1", "person-2", "ana")
        for _ in range(2):
            sync(tmp_path / "edge", centre, where)
            assert update(centre).people == 3
            assert len(centre.people.read().corrections) == 1
        Book(edge, "edge", time.time()).rename("person-3", "Ana")
        sync(tmp_path / "edge", centre, where)
        assert list(centre.people.read().names.values()) == ["Ana"]
        update(edge, undo=Book(edge, "edge", time.time()).corrections_called(["c-1"]))
        Book(edge, "edge", time.time()).rename("Ana", None)
        sync(tmp_path / "edge", centre, where)
        assert update(centre).people == 4
        assert not centre.people.read().names
        edge.forget(tracklet=site.records[0].tracklet)
        sync(tmp_path / "edge", centre, where)
        assert key_digest(site.records[0]) not in centre.people.read().members


def test_people_in_view_are_recognised(where: str) -> None:
    site, clock = Site(6), [0.0]
    with open_gallery(where) as gallery:
        site.enroll(gallery)
        update(gallery)
        recogniser = PeopleRecogniser(gallery, where, clock=lambda: clock[0])
        seen = site.cross(3, "camera-1")
        given = (site.rows[-1], "camera-1", seen.start, seen.end, 5, "door-1")
        said = recogniser.recognise(*given)
        held = Book(gallery, where, time.time())
        assert (said.state, said.person) == ("known", held.name(site.groups(gallery)[site.records[3 * 3].tracklet]))
        held.rename(said.person, "Ana")
        clock[0] += 3600
        assert recogniser.recognise(*given).person == "Ana"


def test_numbers_that_were_set_aside_are_never_given_again(gallery: GalleryStore) -> None:
    table = gallery.people
    was = filled(gallery)
    first = table.reserve(5)
    table.write(was, names={1: "Ana"})
    assert table.reserve(1) == first + 5


def test_the_persons_of_a_few_records(gallery: GalleryStore) -> None:
    table = gallery.people
    assert table.persons(KEYS) in (None, {})
    table.write(filled(gallery), names={1: "Ana"})
    names = {1: "Ana", 2**40: "Ben"}
    everybody = {key: (one.person, names[one.person]) for key, one in PERSONS.items()}
    assert table.persons([*KEYS, "0" * 64]) in (None, everybody), "None if this engine must read everything"
    if isinstance(gallery, Gallery):
        assert table.persons(KEYS[:1]) == {KEYS[0]: everybody[KEYS[0]]}
