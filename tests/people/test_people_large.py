"""A large gallery: new records are compared with what is near to them, and the rest of the gallery is not read."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from drawn_site import Site

from reid_toolkit.gallery import Gallery
from reid_toolkit.method import neighbours
from reid_toolkit.people import held, reach
from reid_toolkit.people.book import Book
from reid_toolkit.people.held import Held
from reid_toolkit.people.update import update

PEOPLE = 60


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Galleries of any size are read as large ones are."""
    monkeypatch.setattr(held, "READ_ALL_BELOW", 0)
    monkeypatch.setattr(reach, "SAMPLED_FROM", 100)
    monkeypatch.setattr(reach, "SAMPLED", 150)
    monkeypatch.setattr(neighbours, "CELLS_FROM", 100)


@pytest.fixture
def site() -> Site:
    return Site(PEOPLE, noise=0.4)


@pytest.fixture
def grouped(site: Site, tmp_path: Path, large: None):
    with Gallery.open(tmp_path / "g") as store:
        site.enroll(store)
        store.refresh_statistics()
        assert update(store).people == PEOPLE
        yield store


def come(site: Site, store: Gallery, *people: int) -> list[str]:
    """These people cross all cameras once more."""
    old = len(site.records)
    for person in people:
        for camera in range(3):
            site.cross(person, f"camera-{camera}")
    site.enroll(store, old)
    return [one.tracklet for one in site.records[old:]]


def around(store: Gallery) -> Held | None:
    return Held.around(store, store.people.read(), set())


def test_new_records_join_their_people_or_become_new_people(site: Site, grouped: Gallery) -> None:
    before = site.groups(grouped)
    site.looks = np.concatenate([site.looks, site.rng.normal(size=(1, site.looks.shape[1]))])
    come(site, grouped, 0, 3, PEOPLE)
    done = update(grouped)
    assert (done.new_records, done.new_people, done.moved) == (9, 1, 0)
    assert (done.records, done.people) == (len(site.records), PEOPLE + 1)
    assert done.grouped < len(site.records) / 4
    assert site.purity(grouped) == (PEOPLE + 1, 0)
    after = site.groups(grouped)
    assert {name: after[name] for name in before} == before
    again = update(grouped)
    assert (again.records, again.people, again.grouped) == (done.records, done.people, 0)


def test_only_new_records_and_the_people_near_to_them_are_kept(site: Site, grouped: Gallery) -> None:
    mine = {*come(site, grouped, 5, 7), *(name for name, person in site.truth.items() if person in (5, 7))}
    part = around(grouped)
    assert part is not None
    assert {record.tracklet for record in part.records} == mine
    assert len(part.others) == len(site.records) - len(part.records)


def test_a_large_gallery_gives_the_groups_that_a_small_one_gives(
    site: Site, grouped: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    come(site, grouped, *range(0, 12, 2))
    update(grouped)
    with monkeypatch.context() as small, Gallery.open(tmp_path / "small") as store:
        small.setattr(held, "READ_ALL_BELOW", 10**9)
        small.setattr(neighbours, "CELLS_FROM", 10**9)
        small.setattr(reach, "SAMPLED_FROM", 10**9)
        old = 6 * PEOPLE
        store.add(np.stack(site.rows[:old]), site.records[:old])
        store.refresh_statistics()
        update(store)
        site.enroll(store, old)
        update(store)
        assert around(store) is None
        assert site.groups(store) == site.groups(grouped)


def test_many_new_records_are_grouped_with_all(site: Site, grouped: Gallery) -> None:
    come(site, grouped, *range(PEOPLE))
    assert around(grouped) is None
    assert update(grouped).people == PEOPLE
    assert site.purity(grouped) == (PEOPLE, 0)


def test_records_past_the_retention_are_neither_read_nor_counted(
    site: Site, grouped: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle = site.records[3 * PEOPLE].start
    come(site, grouped, 1)
    grouped.keep_for(3600)
    monkeypatch.setattr(time, "time", lambda: middle + 3600)
    assert update(grouped).records == sum(record.end >= middle for record in site.records)


def test_corrections_are_obeyed(site: Site, grouped: Gallery) -> None:
    mine = [name for name, person in site.truth.items() if person == 2]
    Book(grouped, "G", time.time()).say("different", mine[0], mine[1], "ana")
    assert update(grouped).grouped < PEOPLE
    groups = site.groups(grouped)
    assert groups[mine[0]] != groups[mine[1]]
    update(grouped, undo=Book(grouped, "G", time.time()).corrections_called(["c-1"]))
    groups = site.groups(grouped)
    assert groups[mine[0]] == groups[mine[1]]
    assert site.purity(grouped) == (PEOPLE, 0)


def test_a_damaged_record_is_left_out(site: Site, grouped: Gallery, tmp_path: Path) -> None:
    names = come(site, grouped, 6)
    with closing(sqlite3.connect(tmp_path / "g" / "gallery.sqlite")) as db, db:
        db.execute("UPDATE record SET vector = zeroblob(length(vector)) WHERE tracklet = ?", (names[0],))
    done = update(grouped)
    assert (done.new_records, done.new_people, done.people) == (2, 0, PEOPLE)
    assert names[0] not in site.groups(grouped)
    done = update(grouped)
    assert (done.new_records, done.people, done.records) == (0, PEOPLE, len(site.groups(grouped)))


def test_a_calibration_says_what_is_near(site: Site, grouped: Gallery) -> None:
    come(site, grouped, 4)
    assert update(grouped, farthest=lambda a, b: 1.0).new_people == 0
    come(site, grouped, 4)
    assert update(grouped, farthest=lambda a, b: 0.0).new_people == 3
