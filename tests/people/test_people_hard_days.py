"""What `reid people` does on days that are hard: what goes wrong, and what mends it. The descriptors are drawn."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_site import MIDNIGHT, PEOPLE, Site

from reid_toolkit.gallery import Gallery
from reid_toolkit.people.book import Book
from reid_toolkit.people.counting import count_people
from reid_toolkit.people.grouping import group
from reid_toolkit.people.update import Update, update
from reid_toolkit.people.visits import routes_of, visits_of


class Day:
    """A site whose records are in a gallery."""

    def __init__(self, site: Site, store: Gallery) -> None:
        self.site, self.store, self.enrolled = site, store, 0

    def group(self, **how: object) -> Update:
        """Enroll what is new, and group it."""
        if self.enrolled < len(self.site.records):
            self.site.enroll(self.store, self.enrolled)
        self.enrolled = len(self.site.records)
        return update(self.store, **how)

    @property
    def book(self) -> Book:
        return Book(self.store, "G", time.time())

    def people_of(self, *who: int) -> set[int]:
        """The numbers of the people in the gallery who have records of these people in truth."""
        return {number for name, number in self.site.groups(self.store).items() if self.site.truth[name] in who}

    def unite(self, *who: int) -> None:
        """What a user does with `reid people same`."""
        first, *rest = sorted(self.people_of(*who))
        for other in rest:
            self.book.say("same", self.book.name(first), self.book.name(other), "ana")


@pytest.fixture
def day(tmp_path: Path):
    """An ordinary morning of 14 people. Tests add to it before they group."""
    with Gallery.open(tmp_path / "g") as store:
        yield Day(Site(PEOPLE, noise=0.4), store)


def dress(site: Site, uniform: float) -> None:
    """Four more people cross all cameras twice. This part of their looks is the same."""
    clothes, own = site.rng.normal(size=site.looks.shape[1]), site.rng.normal(size=(4, site.looks.shape[1]))
    site.looks = np.concatenate([site.looks, uniform * clothes + (1 - uniform) * own])
    for _ in range(2):
        for person in range(PEOPLE, PEOPLE + 4):
            for camera in range(3):
                site.cross(person, f"camera-{camera}")


def test_people_in_like_uniforms_stay_apart_if_more_than_the_uniform_tells_them(day: Day) -> None:
    dress(day.site, 0.3)
    assert day.group().people == PEOPLE + 4
    assert day.site.purity(day.store) == (PEOPLE + 4, 0)


def test_people_of_whom_only_the_uniform_is_seen_become_one_person(day: Day) -> None:
    dress(day.site, 0.95)
    day.group()
    assert len(day.people_of(14, 15, 16, 17)) == 1
    (one,) = count_people(day.book.grouped, ())
    assert one.people == PEOPLE + 1 < one.high, "the interval says that grouping could have stopped earlier"
    mine = [name for name, person in day.site.truth.items() if person == 15]
    day.book.split(day.book.name(*day.people_of(15)), mine, "ana")
    day.group(anew=True)
    assert len(day.people_of(15)) == 1
    assert not day.people_of(15) & day.people_of(14, 16, 17)


def test_twins_of_clothes_are_one_person_unless_one_picture_shows_both(day: Day) -> None:
    day.site.looks = np.concatenate([day.site.looks, day.site.looks[:1]])  # 14 looks as 0
    for camera in range(3):
        day.site.cross(PEOPLE, f"camera-{camera}")
    assert day.group().people == PEOPLE
    one = day.site.cross(0, "camera-0")
    day.site.cross(PEOPLE, "camera-0", at=one.start + 1)
    assert day.group(anew=True).people == PEOPLE + 1
    # Two people are known now, but not which of the other records are whose.
    assert len(day.people_of(0, PEOPLE)) == 2
    assert day.site.purity(day.store)[1] > 0


def test_a_person_in_another_coat_is_another_person_until_a_user_says_so(day: Day) -> None:
    coats = day.site.looks[3], day.site.rng.normal(size=day.site.looks.shape[1])
    day.site.looks[3] = coats[1]
    for camera in range(3):
        day.site.cross(3, f"camera-{camera}")
    assert day.group().people == PEOPLE + 1
    assert len(day.people_of(3)) == 2
    day.unite(3)
    assert len(day.people_of(3)) == 1
    for coat in coats:  # both coats are known now
        day.site.looks[3] = coat
        day.site.cross(3, "camera-0")
        day.site.cross(3, "camera-2")
    assert day.group().new_people == 0
    assert len(day.people_of(3)) == 1
    assert day.group(anew=True).people == PEOPLE


def hang_poster(day: Day) -> None:
    day.site.looks = np.concatenate([day.site.looks, day.site.rng.normal(size=(1, day.site.looks.shape[1]))])
    day.site.noise = 0.1
    for number in range(20):
        day.site.cross(PEOPLE, "camera-0", at=MIDNIGHT + 1800 * (number + 1))


def test_a_poster_is_counted_as_a_person_and_can_be_forgotten(day: Day) -> None:
    hang_poster(day)
    assert day.group().people == PEOPLE + 1
    assert day.site.purity(day.store) == (PEOPLE + 1, 0), "nobody else is taken for the poster"
    (poster,) = day.people_of(PEOPLE)
    visits = visits_of(day.book.records_of(poster))
    assert len(visits) == 20
    assert {visit.camera for visit in visits} == {"camera-0"}
    day.book.forget(poster)
    assert day.book.people.members.keys() == set(day.book.records)
    (one,) = count_people(day.book.grouped, ())
    assert one.people == PEOPLE
    # The block list names records, not looks: tomorrow's tracklets of the poster come back.
    day.site.cross(PEOPLE, "camera-0")
    assert day.group().new_people == 1


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("tracklets", [40, 200])
def test_a_poster_is_one_person_however_often_it_is_seen(tracklets: int, seed: int) -> None:
    site = Site(PEOPLE, noise=0.4, seed=seed)
    site.looks = np.concatenate([site.looks, site.rng.normal(size=(1, site.looks.shape[1]))])
    site.noise = 0.1
    for _ in range(tracklets):
        site.cross(PEOPLE, "camera-0")
    labels = group(np.stack(site.rows), [one.camera for one in site.records]).labels
    assert len(set(zip(labels.tolist(), site.truth.values(), strict=True))) == len(set(labels.tolist())) == PEOPLE + 1


def test_a_crowd_that_comes_at_once_is_kept_apart(day: Day) -> None:
    alike = day.site.rng.normal(size=(1, day.site.looks.shape[1]))
    day.site.looks = np.concatenate([day.site.looks, np.repeat(alike, 6, axis=0)])  # six who look the same
    start = day.site.clock
    for person in range(PEOPLE + 6):
        day.site.cross(person, "camera-1", at=start, seconds=20)
    done = day.group()
    assert done.apart == 20 * 19 // 2
    assert done.people == PEOPLE + 6
    assert day.site.purity(day.store)[1] == 0


def an_hour_ahead(site: Site, camera: str) -> None:
    site.records = [
        replace(one, start=one.start + 3600, end=one.end + 3600) if one.camera == camera else one
        for one in site.records
    ]


def test_a_clock_that_is_an_hour_ahead_keeps_nobody_apart_and_spoils_times(day: Day) -> None:
    an_hour_ahead(day.site, "camera-2")
    done = day.group()
    assert (done.people, done.apart) == (PEOPLE, 0)
    assert day.site.purity(day.store) == (PEOPLE, 0)
    book = day.book
    found = routes_of({who: book.records_of(who) for who in book.by_person})
    (there,) = [one for one in found if (one.start, one.end) == ("camera-1", "camera-2")]
    assert there.shortest > 1800, "30 seconds in truth"


def test_least_times_and_a_wrong_clock_keep_one_person_apart(day: Day) -> None:
    early = day.site.cross(0, "camera-2")
    day.site.cross(0, "camera-1", at=early.start + 3602)
    an_hour_ahead(day.site, "camera-2")
    assert day.group().people == PEOPLE
    assert day.group(least_times={("camera-1", "camera-2"): 15.0}, anew=True).apart > 0
    assert len(day.people_of(0)) == 2


def test_a_person_before_two_overlapping_cameras_is_one_person_unless_least_times_name_them(day: Day) -> None:
    for person in range(PEOPLE):
        one = day.site.cross(person, "camera-0")
        day.site.cross(person, "camera-1", at=one.start + 1)
    done = day.group()
    assert (done.people, done.apart) == (PEOPLE, 0)
    assert day.group(least_times={("camera-0", "camera-1"): 5.0}, anew=True).people > PEOPLE
    assert all(len(day.people_of(person)) > 1 for person in range(PEOPLE))
    assert day.group(anew=True).people > PEOPLE, "times are stored"
    assert day.group(least_times={}, anew=True).people == PEOPLE, "without that row all is well again"


def test_who_stays_all_day_remains_one_person_if_new_records_are_grouped_as_they_come(day: Day) -> None:
    for _ in range(3):  # an ordinary day has more than one visit of each
        for person in range(PEOPLE):
            for camera in range(3):
                day.site.cross(person, f"camera-{camera}")
    day.group()
    for _ in range(10):
        for _ in range(6):
            day.site.cross(0, "camera-0")
        day.group()
    assert day.site.purity(day.store) == (PEOPLE, 0)
    assert len(day.people_of(0)) == 1


@pytest.mark.parametrize("tracklets", [60, 200])
def test_who_stays_all_day_is_one_person_if_the_day_is_grouped_at_once(day: Day, tracklets: int) -> None:
    for _ in range(tracklets):
        day.site.cross(0, "camera-0")
    assert day.group().people == PEOPLE
    assert day.site.purity(day.store) == (PEOPLE, 0)
    for _ in range(6):
        day.site.cross(0, "camera-0")
    assert day.group().new_people == 0
    assert day.site.purity(day.store) == (PEOPLE, 0)
