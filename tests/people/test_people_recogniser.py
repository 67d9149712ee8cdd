"""Recognising the people of a gallery while they are in view."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_site import MIDNIGHT, WIDTH, Site
from numpy.typing import NDArray

from reid_toolkit.errors import AuditError, GalleryError, InputError, UnavailableError
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.live.recognising import Correction, Decision
from reid_toolkit.people import told
from reid_toolkit.people import update as updating
from reid_toolkit.people.alert_budget import AlertBudget
from reid_toolkit.people.book import Book
from reid_toolkit.people.grouping import group
from reid_toolkit.people.in_view import MOST, InView
from reid_toolkit.people.recogniser import KNOWN_FROM, NEW_FROM, PeopleRecogniser
from reid_toolkit.people.scale import Scale, estimate_scale
from reid_toolkit.people.update import update
from reid_toolkit.people.watch_log import WatchLog
from reid_toolkit.records import Record

LATER = MIDNIGHT + 1e6
"""After all records."""


@dataclass
class Watch:
    """Shows people to a recogniser, crop by crop."""

    site: Site
    store: Gallery
    clock: float = 0.0
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.recogniser = PeopleRecogniser(self.store, "G", clock=lambda: self.clock, **self.more)

    def name(self, person: int) -> str:
        """What the person is called who is ``person`` in truth."""
        groups = self.site.groups(self.store)
        number = next(groups[name] for name, one in self.site.truth.items() if one == person and name in groups)
        return Book(self.store, "G", LATER).name(number)

    def look(self, *people: float) -> NDArray[np.float32]:
        """A descriptor, between those of several people if several are given with their weights."""
        pairs = zip(people[::2], people[1::2], strict=True) if len(people) > 1 else [(people[0], 1.0)]
        row = sum(w * self.site.looks[int(p)] / np.linalg.norm(self.site.looks[int(p)]) for p, w in pairs)
        return (row / np.linalg.norm(row)).astype(np.float32)

    def see(
        self, descriptor: NDArray[np.float32], tracklet: str, frames: int, *, at: float = LATER, camera: str = "new"
    ) -> Decision:
        """The answer after crop number ``frames``; there are ten crops a second, and each came in its turn."""
        return self.recogniser.recognise(descriptor, camera, at, at + frames / 10, frames, tracklet)

    def cross(self, descriptor: NDArray[np.float32], tracklet: str, **more: Any) -> list[Decision]:
        """The answers for a tracklet of 20 crops."""
        return [self.see(descriptor, tracklet, frames, **more) for frames in range(1, 21)]


@pytest.fixture
def watch(site: Site, gallery: Gallery) -> Watch:
    update(gallery)
    return Watch(site, gallery)


def stranger(seed: int = 7) -> NDArray[np.float32]:
    row = np.random.default_rng(seed).normal(size=WIDTH)
    return (row / np.linalg.norm(row)).astype(np.float32)


def test_people_are_known_and_strangers_are_new(watch: Watch) -> None:
    told = watch.cross(watch.look(3), "t")
    assert [one.state for one in told] == ["undecided"] * (KNOWN_FROM - 1) + ["known"] * (21 - KNOWN_FROM)
    assert {(one.person, one.probability, one.alert) for one in told[KNOWN_FROM:]} == {(watch.name(3), None, False)}
    assert watch.site.truth[told[-1].record or ""] == 3
    told = watch.cross(stranger(), "s", at=LATER + 100)
    assert [one.state for one in told] == ["undecided"] * (NEW_FROM - 1) + ["new"] * (21 - NEW_FROM)
    assert {(one.person, one.record) for one in told[: NEW_FROM - 1]} == {(None, None)}
    assert {(one.person, one.number, one.record) for one in told[NEW_FROM:]} == {
        ("person-000015", "person-000015", None)
    }


def test_nobody_is_known_who_cannot_be_here_yet(site: Site, gallery: Gallery) -> None:
    """By the least times that the gallery stores."""
    last = site.cross(3, "camera-0")
    site.enroll(gallery, len(site.records) - 1)
    update(gallery, least_times={("camera-0", "new"): 60.0})
    watch, end = Watch(site, gallery), last.end or 0.0
    assert watch.see(watch.look(3), "soon", 10, at=end + 20).state == "new"
    assert watch.see(watch.look(3), "later", 10, at=end + 61).person == watch.name(3)
    assert watch.see(watch.look(3), "other", 10, at=end + 20, camera="other").person == watch.name(3)


def test_few_strangers_who_look_alike_are_taken_for_somebody(tmp_path: Path) -> None:
    """People differ mostly in a few directions, so that many look alike, and half of them are not in the gallery."""
    people = 40
    site = Site(2 * people, visits=0, noise=0.6)
    site.looks *= np.exp(-np.arange(WIDTH) / 12)
    for person in range(people):
        for camera in [0, 1, 2] * 3:
            site.cross(person, f"camera-{camera}")
    with Gallery.open(tmp_path / "alike") as store:
        site.enroll(store)
        update(store)
        watch, told = Watch(site, store), []
        for person in range(2 * people):
            site.cross(person, "camera-0")
            at = LATER + 100 * person
            told.append([watch.see(site.rows[-1], f"t{person}", frames, at=at) for frames in (3, 5, 8)][-1])
        names = [watch.name(person) for person in range(people)]
    right = sum(one.person == name for one, name in zip(told, names, strict=False))
    wrong = sum(one.state == "known" for one in told) - right
    assert right >= 38
    assert wrong <= 3, "40 with the nearest record alone"


@pytest.mark.parametrize(
    ("people", "searches"),
    [
        ((3,), [3, 5, 8, 13, 21, 34, 54]),
        # Who is between two people is undecided, and soon looked for again.
        ((3, 1.0, 4, 1.0), [3, 4, 5, 6, 8, 10, 12, 15, 19, 24, 30, 38, 48]),
    ],
)
def test_it_searches_less_and_less_often(
    watch: Watch, people: tuple[float, ...], searches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    search = watch.store.search_batch

    def counted(*given: Any, **named: Any) -> Any:
        asked.append(frames)
        return search(*given, **named)

    monkeypatch.setattr(watch.store, "search_batch", counted)
    for frames in range(1, 60):
        watch.see(watch.look(*people), "t", frames)
    assert asked == searches
    for frames in range(60, 1300):
        watch.see(watch.look(*people), "t", frames)
    assert max(np.diff(asked)) <= 601, "at least once a minute"


def test_who_is_between_two_people_is_undecided(watch: Watch) -> None:
    assert {one.state for one in watch.cross(watch.look(3, 1.0, 4, 1.0), "t")} == {"undecided"}


def test_a_decision_is_revised_when_more_was_seen(watch: Watch) -> None:
    assert watch.see(watch.look(3), "t", 3).person == watch.name(3)
    assert watch.see(watch.look(3, 1.0, 4, 1.0), "t", 5).person == watch.name(3), "it stays while nothing is clear"
    assert watch.see(watch.look(4), "t", 8).person == watch.name(4)
    told = watch.see(stranger(), "t", 13)
    assert (told.state, told.person) == ("new", "person-000015")


def test_two_tracklets_at_one_moment_never_show_one_person(watch: Watch) -> None:
    anna, less = watch.look(3), watch.look(3, 1.0, 4, 0.3)
    assert watch.see(anna, "a", 3).person == watch.name(3)
    for frames in (3, 5, 8):
        assert watch.see(less, "b", frames).person is None
        assert watch.see(anna, "a", frames).person == watch.name(3)
    assert watch.see(anna, "c", 3, camera="another camera").person == watch.name(3)
    assert watch.see(anna, "d", 3, at=LATER + 5).person == watch.name(3), "not at the same moment"


def test_the_surer_tracklet_gets_the_person(watch: Watch) -> None:
    less, anna = watch.look(3, 1.0, 4, 0.5, 5, 0.5), watch.look(3)
    assert watch.see(less, "a", 3).person == watch.name(3)
    assert watch.see(anna, "b", 3).state == "undecided", "the other holds the person until it is asked again"
    taken = watch.see(less, "a", 4)
    assert (taken.state, taken.person, taken.withdrawn) == ("undecided", None, True)
    assert watch.see(anna, "b", 4).person == watch.name(3)
    assert watch.see(less, "a", 5).person is None


def test_the_less_sure_tracklet_gets_the_next_best(watch: Watch) -> None:
    less, anna = watch.look(3, 1.0, 4, 0.6), watch.look(3)
    assert watch.see(less, "a", 3).person == watch.name(3)
    watch.see(anna, "b", 3)
    assert watch.see(less, "a", 4).person == watch.name(4)
    assert watch.see(anna, "b", 4).person == watch.name(3)


def test_it_follows_reid_people(watch: Watch) -> None:
    book = Book(watch.store, "G", LATER)
    anna = watch.look(3)
    before, number = watch.see(anna, "t", 3).person, watch.name(3)
    book.rename(watch.name(3), "Anna")
    assert watch.see(anna, "t", 4).person == before, "read only now and then"
    watch.clock += 60
    told = watch.see(anna, "t", 6)
    assert (told.person, told.number) == ("Anna", number)
    Book(watch.store, "G", LATER).say("same", "Anna", watch.name(4), "me")
    watch.clock += 60
    assert watch.see(watch.look(4), "u", 3, at=LATER + 50).person == "Anna"
    site, first = watch.site, len(watch.site.records)
    site.looks = np.concatenate([site.looks, stranger()[None]])
    assert watch.see(stranger(), "s", 5, at=LATER + 90).state == "new"
    for camera in range(3):
        site.cross(len(site.looks) - 1, f"camera-{camera}")
    site.enroll(watch.store, first)
    assert watch.see(stranger(), "s", 6, at=LATER + 90).state == "new", "no person until it is grouped"
    update(watch.store)
    watch.clock += 60
    assert watch.see(stranger(), "s", 13, at=LATER + 90).person == watch.name(len(site.looks) - 1)


def test_a_new_person_has_a_lasting_number_at_once(watch: Watch) -> None:
    site, store, (row,) = watch.site, watch.store, [stranger()]
    new = watch.cross(row, "first", camera="camera-0")[-1]
    assert (new.state, new.person, new.number) == ("new", "person-000015", "person-000015")
    other = watch.cross(stranger(8), "other", camera="camera-1")[-1]
    assert other.number == "person-000016"
    for decision, look, camera in ((new, row, "camera-0"), (other, stranger(8), "camera-1")):
        record = Record(f"{decision.number}", camera, LATER, LATER + 2, "/live")
        watch.recogniser.ended(record, decision)
        store.add(look[None], [record])
    told = watch.see(row, "again", 3, camera="camera-2", at=LATER + 50)
    assert (told.state, told.person, told.record) == ("known", "person-000015", "person-000015")
    assert not store.people.read().members.keys() & {key_digest(record)}, "stored now and then"
    watch.clock += 60
    watch.see(row, "again", 4, camera="camera-2", at=LATER + 50)
    assert store.people.read().members[key_digest(record)].is_proposed
    assert Watch(site, store).see(row, "in another watch", 3, at=LATER + 60).person == "person-000015"
    Book(store, "G", LATER).rename("person-000016", "Zoe")
    done = update(store)
    members = store.people.read().members
    assert (done.new_records, done.new_people, done.moved) == (1, 1, 0)
    assert members[key_digest(record)].person == 16
    assert members[key_digest(Record("person-000015", "camera-0", source="/live"))] == (15, 15, 15)
    site.cross(3, "camera-0")
    site.enroll(store, len(site.records) - 1)
    update(store)
    assert max(one.person for one in store.people.read().members.values()) <= 16, "3 was known"
    update(store, anew=True)
    assert store.people.read().names == {16: "Zoe"}


def test_grouping_corrects_whom_a_watch_took_for_new(watch: Watch) -> None:
    site, store = watch.site, watch.store
    first = len(site.records)
    records = [site.cross(3, "camera-0"), site.cross(3, "camera-1")]
    site.enroll(store, first)
    number, was = store.people.reserve(5), store.people.read()
    given = [*((one, number) for one in records), (Record("gone", "x"), number)]
    there, was = store.people.propose(was, given, {number})
    assert there == [True, True, False]
    assert not store.people.changed(was)
    stale = store.people.read()
    store.people.propose(was, [(site.records[0], number)], ())
    assert store.people.changed(was)
    assert site.groups(store)[site.records[0].tracklet] != number, "it has a person"
    done = update(store)
    assert (done.new_records, done.new_people, done.moved, done.people) == (2, 0, 0, 14)
    assert {site.groups(store)[one.tracklet] for one in records} == {int(watch.name(3).rpartition("-")[2])}
    with pytest.raises(GalleryError, match="another process has changed its people"):
        store.people.write(stale, names={1: "Anna"})


def test_numbers_that_a_watch_takes_meanwhile_are_given_to_nobody_else(
    site: Site, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: set[int] = set()

    def take() -> None:
        first = gallery.people.reserve(20)
        taken.update(range(first, first + 20))

    with monkeypatch.context() as context:
        context.setattr(updating, "group", lambda *args, **more: take() or group(*args, **more))
        assert update(gallery).people == 14
    book = Book(gallery, "G", LATER)
    take()
    person = min(book.by_person)
    _, made = book.split(book.name(person), [book.records[book.by_person[person][0]].tracklet], "me")
    numbers = set(site.groups(gallery).values())
    assert len(numbers) == 15
    assert made in numbers
    assert taken.isdisjoint(numbers)
    assert gallery.people.reserve(1) > max(taken | numbers)


def test_who_is_forgotten_does_not_come_back_with_what_a_watch_still_holds(watch: Watch) -> None:
    site, store = watch.site, watch.store
    name = watch.name(3)
    watch.cross(watch.look(3), "before")
    first = len(site.records)
    before, after = site.cross(3, "camera-0"), site.cross(3, "camera-0")
    watch.recogniser.ended(before, Decision("known", name, number=name))
    book = Book(store, "G", LATER)
    book.forget(book.person(name))
    site.enroll(store, first)
    watch.clock += 60
    watch.see(stranger(), "s", 5)  # reads the people again, and stores what waits
    watch.recogniser.ended(after, Decision("known", name, number=name))
    watch.clock += 60
    assert watch.cross(watch.look(3), "later")[-1].person != name
    watch.recogniser.close()
    number = int(name.rpartition("-")[2])
    assert number not in {one.person for one in store.people.read().members.values()}


def test_what_grouping_decides_otherwise_is_corrected_once(watch: Watch) -> None:
    site, store, recogniser = watch.site, watch.store, watch.recogniser
    names = {person: watch.name(person) for person in (3, 4, 5)}
    first = len(site.records)
    wrong, right, open_one, gone = (site.cross(person, f"camera-{at}") for at, person in enumerate((3, 4, 5, 4)))
    for record, person in ((wrong, 4), (right, 4), (gone, 3)):
        recogniser.ended(record, Decision("known", names[person], number=names[person]))
    recogniser.ended(open_one, Decision("undecided"))
    site.enroll(store, first)
    store.delete_records([gone])
    watch.clock += 60
    assert recogniser.corrections() == [], "before grouping"
    update(store)
    assert recogniser.corrections() == [], "people are read now and then"
    watch.clock += 60
    assert recogniser.corrections() == [
        Correction(record.camera, record.tracklet, Decision("known", names[person], number=names[person]))
        for record, person in ((wrong, 3), (open_one, 5))
    ]
    Book(store, "G", LATER).rename(names[3], "Ana")
    Book(store, "G", LATER).say("same", "Ana", names[5], "me")
    update(store)
    watch.clock += 60
    merged = recogniser.corrections()
    assert [(one.tracklet, one.decision.person) for one in merged] == [(open_one.tracklet, "Ana")]
    assert merged[0].decision.number == names[3]
    watch.clock += 60
    assert recogniser.corrections() == []


def test_the_latest_tracklets_can_be_corrected(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "MOST", 2)
    first = len(watch.site.records)
    records = [watch.site.cross(3, "camera-0") for _ in range(3)]
    for record in records:
        watch.recogniser.ended(record, Decision("undecided"))
    watch.site.enroll(watch.store, first)
    update(watch.store)
    watch.clock += 60
    assert [one.tracklet for one in watch.recogniser.corrections()] == [one.tracklet for one in records[1:]]


def test_a_gallery_that_is_locked_gives_no_numbers(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise UnavailableError("locked")

    with monkeypatch.context() as context:
        context.setattr(type(watch.store.people), "reserve", fail)
        assert watch.see(stranger(), "s", 5) == Decision("new")
    assert watch.see(stranger(), "s", 8) == Decision("new"), "it is not tried again at once"
    watch.clock += 60
    assert watch.see(stranger(), "s", 9).number == "person-000015"
    for at in range(2 * MOST):
        watch.recogniser.ended(Record(f"t{at}", "x"), Decision("new", number="person-000015"))
    assert len(watch.recogniser._newcomers.waiting) == MOST
    watch.clock += 700
    watch.see(stranger(), "s", 10)
    assert watch.recogniser._newcomers.waiting == [], "they were never enrolled"


def test_a_person_who_is_forgotten_is_named_no_more(watch: Watch) -> None:
    anna = watch.look(3)
    assert watch.see(anna, "t", 3).state == "known"
    book = Book(watch.store, "G", LATER)
    book.forget(book.person(watch.name(3)))
    watch.clock += 60
    gone = watch.see(anna, "t", 4)
    assert (gone.person, gone.withdrawn) == (None, True)
    assert watch.see(anna, "t", 5).state == "new"


def test_its_own_record_and_records_of_the_same_moment_are_no_evidence(watch: Watch) -> None:
    one, row = watch.site.records[9], watch.site.rows[9]
    start, end = one.start or 0.0, one.end or 0.0
    told = watch.recogniser.recognise(row, one.camera, start, end, 5, one.tracklet)
    assert told.state == "known"
    assert told.record != one.tracklet
    told = watch.recogniser.recognise(row, one.camera, start + 1, end + 1, 5, "another tracker's name")
    assert told.record != one.tracklet


def test_alerts_follow_the_person(site: Site, gallery: Gallery) -> None:
    update(gallery)
    name = Watch(site, gallery).name(3)
    watch = Watch(site, gallery, more={"watched": [name]})
    assert watch.see(watch.look(3), "t", 3).alert
    assert not watch.see(watch.look(4), "u", 3).alert
    book = Book(gallery, "G", LATER)
    book.rename(watch.name(4), "Ben")
    Book(gallery, "G", LATER).say("same", name, "Ben", "me")
    watch.clock += 60
    told = watch.see(watch.look(3), "v", 3, at=LATER + 50)
    assert (told.person, told.alert) == ("Ben", True)
    book = Book(gallery, "G", LATER)
    book.forget(book.person("Ben"))
    watch.clock += 60
    with pytest.warns(RuntimeWarning, match="watch list has no records any more"):
        watch.see(watch.look(3), "w", 3, at=LATER + 90)
    with pytest.raises(InputError, match="nobody is called 'Zoe'"):
        Watch(site, gallery, more={"watched": ["Zoe"]})


def test_with_a_budget_an_alert_needs_a_record_that_is_near_enough(site: Site, gallery: Gallery) -> None:
    update(gallery)
    name = Watch(site, gallery).name(3)
    rates: list[float] = []

    def alerts(farthest: float) -> list[bool]:
        def limit(rate: float, one: str | None, other: str) -> float:
            assert one in ("camera-0", "camera-1", "camera-2")
            rates.append(rate)
            return farthest

        scale = estimate_scale(gallery)._replace(limit=limit)
        budget = AlertBudget(1.0, expected=500.0)
        watch = Watch(site, gallery, more={"watched": [name], "budget": budget, "scale": lambda: scale})
        assert watch.see(watch.look(4), "u", 3).state == "known"
        told = watch.cross(watch.look(3), "t")
        assert {one.person for one in told[KNOWN_FROM:]} == {name}
        return [one.alert for one in told]

    assert not any(alerts(0.01))
    assert rates[0] == pytest.approx(1 / (500 * 3 * 6)), "500 tracklets are compared 3 times with 6 records"
    assert alerts(2.0) == [False] * (KNOWN_FROM - 1) + [True] * (21 - KNOWN_FROM)


def test_alerts_come_back_with_a_new_calibration(site: Site, gallery: Gallery) -> None:
    update(gallery)
    name = Watch(site, gallery).name(3)
    calibration: list[Scale] = []
    more = {
        "watched": [name],
        "budget": AlertBudget(50.0, expected=500.0),
        "scale": lambda: calibration[-1] if calibration else None,
        "scale_version": lambda: len(calibration),
    }
    watch = Watch(site, gallery, more=more)
    with pytest.warns(RuntimeWarning, match="no alerts for people before camera 'new' for now: the calibration"):
        assert not any(one.alert for one in watch.cross(watch.look(3), "t"))
    calibration.append(estimate_scale(gallery)._replace(limit=lambda *_: 2.0))
    watch.clock += 60
    assert watch.cross(watch.look(3), "u", at=LATER + 100)[-1].alert
    calibration.append(estimate_scale(gallery))
    watch.clock += 60
    with pytest.warns(RuntimeWarning, match="no alerts for people before camera 'new' for now"):
        assert not any(one.alert for one in watch.cross(watch.look(3), "v", at=LATER + 200))


def test_searches_are_counted_and_who_is_recognised_is_a_line(site: Site, gallery: Gallery) -> None:
    update(gallery)
    gallery.switch_audit(True)
    log = WatchLog(gallery.people, {"cameras": ["new"]})
    watch = Watch(site, gallery, more={"log": log})
    before = len(gallery.audit_log())
    watch.cross(watch.look(3), "t")
    watch.cross(stranger(), "s", at=LATER + 100)
    watch.see(watch.look(3), "r", 3, at=LATER + 200)
    watch.see(watch.look(4), "r", 8, at=LATER + 200)
    log.end()
    lines = gallery.audit_log()[before:]
    assert [line["action"] for line in lines] == ["watch", *["recognised"] * 4, "watch ended"]
    told = [(line["tracklet"], line["person"], line["searches"]) for line in lines[1:-1]]
    assert told == [("t", watch.name(3), 1), ("s", None, 1), ("r", watch.name(3), 1), ("r", watch.name(4), 2)]
    assert (lines[-1]["searches"], lines[-1]["tracklets"]) == (4 + 5 + 2, 3)


def test_nobody_is_recognised_who_is_not_in_the_log(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    watch.store.switch_audit(True)

    def full(*_: Any) -> None:
        raise AuditError("no space")

    with monkeypatch.context() as context:
        context.setattr(type(watch.store.people), "note", full)
        with pytest.warns(RuntimeWarning, match="G: people are not recognised now: no space"):
            assert watch.see(watch.look(3), "t", 3) == Decision("undecided")
        assert watch.see(watch.look(3), "t", 4) == Decision("undecided")
    watch.clock += 60
    assert watch.see(watch.look(3), "t", 5).person == watch.name(3)
    assert watch.store.audit_log()[-1]["tracklet"] == "t"


def test_a_calibration_gives_the_probability_and_the_reach(site: Site, gallery: Gallery) -> None:
    update(gallery)
    asked: list[tuple[str | None, str, int]] = []

    def probability(distance: float, query: str | None, record: str, people: int) -> float:
        asked.append((query, record, people))
        return 1 - distance / 2

    watch = Watch(site, gallery, more={"scale": lambda: Scale(lambda _a, _b: 0.9, probability)})
    told = watch.see(watch.look(3), "t", 3)
    assert told.probability is not None
    assert 0.8 < told.probability < 1
    assert asked[0][::2] == ("new", 14)
    nobody = Watch(site, gallery, more={"scale": lambda: Scale(lambda _a, _b: 0.01)})
    assert nobody.see(nobody.look(3), "t", 5).state == "new"


def test_the_reach_is_estimated_from_a_sample(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = estimate_scale(gallery)
    monkeypatch.setattr("reid_toolkit.people.scale.ROWS", 40)
    part = estimate_scale(gallery)
    assert part.farthest("a", "b") == pytest.approx(whole.farthest("a", "b"), rel=0.15)
    assert part.farthest("a", "a") != whole.farthest("a", "a")


def test_an_empty_gallery_knows_nobody(tmp_path: Path, site: Site) -> None:
    with Gallery.open(tmp_path / "empty", dimension=WIDTH) as store:
        watch = Watch(site, store)
        assert watch.cross(stranger(), "t")[-1].state == "new"
        site.enroll(store)
        update(store)
        watch.clock += 60
        assert watch.cross(watch.look(3), "u", at=LATER + 50)[-1].person == watch.name(3)


def test_a_gallery_that_cannot_be_searched_now_decides_nothing(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, error = 0, UnavailableError("locked")

    def fail(*_: Any, **__: Any) -> None:
        nonlocal asked
        asked += 1
        raise error

    with monkeypatch.context() as context:
        context.setattr(watch.store, "search_batch", fail)
        with pytest.warns(RuntimeWarning, match="G: people are not recognised now: locked"):
            watch.see(stranger(), "t", 3)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # said once
            assert watch.see(stranger(), "t", 5).state == "undecided"
            watch.clock += 60
            assert watch.see(stranger(), "t", 6).state == "undecided"
        assert asked == 2
        watch.clock += 60
        error = GalleryError("damaged")
        with pytest.raises(GalleryError, match="damaged"):
            watch.see(stranger(), "t", 20)
    assert watch.see(stranger(), "t", 40).state == "new"


def test_people_that_cannot_be_read_now_are_as_before(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AuditError("no space")

    monkeypatch.setattr(type(watch.store.people), "changed", fail)
    watch.clock += 60
    with pytest.warns(RuntimeWarning, match="its people were not read again: no space"):
        assert watch.see(watch.look(3), "t", 3).person == watch.name(3)


def test_only_who_is_in_view_is_held() -> None:
    view = InView()
    for number in range(50):
        view.update(f"t{number}", "hall", number * 100.0, number * 100.0 + 5, 1)
    assert len(view._cameras["hall"]) == 1
    stays = view.update("stays", "hall", 10_000.0, 10_000.0, 1)
    for number in range(2 * MOST):
        at = 10_010.0 + number * 10
        view.update(f"u{number}", "hall", at, at + 1, 1)
        stays = view.update("stays", "hall", 10_000.0, at + 1, 1)
    assert len(view._cameras["hall"]) == MOST
    assert len(view.with_it(stays)) == MOST - 1
    view.update("after the clock was set", "hall", 5.0, 6.0, 1)
    assert list(view._cameras["hall"]) == ["after the clock was set"]


def test_the_audit_log_keeps_a_note(gallery: Gallery) -> None:
    assert not gallery.people.note({"action": "watch list", "reason": "theft"})
    gallery.switch_audit(True)
    assert gallery.people.note({"action": "watch list", "reason": "theft"})
    assert gallery.audit_log()[-1]["reason"] == "theft"
    people = gallery.people.read()
    assert not gallery.people.changed(people)
    gallery.delete_records([Record("camera-0-0000", "camera-0", source="/footage")])
    assert gallery.people.changed(people)
    assert key_digest(Record("camera-0-0000", "camera-0", source="/footage")) not in people.members
