"""What only Milvus can get wrong about people: writes of several requests, two writers, and what a killed one left."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
from galleries import ON_SERVER, address_of
from gallery_people import D

pytest.importorskip("pymilvus")

from test_gallery_people import APART, KEYS, ODD, PERSONS, RECORDS, SAME, filled, knows

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery import open_gallery
from reid_toolkit.gallery.milvus import people_collection as module
from reid_toolkit.gallery.milvus import people_work
from reid_toolkit.gallery.milvus.collection import Collection
from reid_toolkit.gallery.milvus.gallery import MilvusGallery
from reid_toolkit.gallery.milvus.people_rows import FIELDS, STORED
from reid_toolkit.gallery.people_table import Correction, Membership, People, Undone
from reid_toolkit.gallery.transfer import copy
from reid_toolkit.records import Record

NEW = {KEYS[0]: Membership(2**40, 5, 5), KEYS[3]: Membership(2, 6, 6)}


@pytest.fixture(params=["milvus-lite", ON_SERVER])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return address_of(request.param, tmp_path)


@pytest.fixture
def gallery(where: str) -> Iterator[MilvusGallery]:
    with MilvusGallery.open(where) as held:
        held.add(np.eye(len(RECORDS), D, dtype=np.float32), RECORDS)
        yield held


def change(gallery: MilvusGallery) -> None:
    """A write of all kinds."""
    table = gallery.people
    was = table.read()
    table.write(
        was, members=NEW, names={1: "Ana", 2**40: None, 2: "Carl"}, put=[SAME], take=[APART.number],
        undone=[Undone(APART)], waiting={KEYS[5]: "Emil"}, least_times={("a", "b"): 3.0},
    )  # fmt: skip


AFTER = (PERSONS | NEW, {1: "Ana", 2: "Carl"}, (SAME,), 2**40, 2)


def rows_of(gallery: MilvusGallery, expr: str = STORED) -> list[dict]:
    return [row for page in gallery.people._rows.pages(FIELDS, expr) for row in page]


def is_tidy(gallery: MilvusGallery) -> bool:
    """Whether there is a row for everything that is known, and no row for anything else."""
    held = gallery.people.read()
    parts = (held.members, held.names, held.corrections, held.undone, held.waiting, held.least_times)
    return len(rows_of(gallery)) == sum(map(len, parts)) and not rows_of(gallery, 'camera == "work"')


class KilledError(BaseException):
    """In place of kill -9."""


class Requests:
    """Counts the requests to Milvus, and does something between two of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *methods: str) -> None:
        self.count, self.at, self.then = 0, -1, lambda: None
        self.busy = False
        for method in methods:
            monkeypatch.setattr(Collection, method, self.counted(getattr(Collection, method)))

    def counted(self, method: Callable) -> Callable:
        def request(*arguments: object, **named: object) -> object:
            if self.busy:
                return method(*arguments, **named)
            if self.count == self.at:
                self.busy = True
                try:
                    self.then()
                finally:
                    self.busy = False
            self.count += 1
            return method(*arguments, **named)

        return request

    def before(self, number: int, then: Callable[[], object]) -> None:
        """From now on, do ``then`` right before the request of this number."""
        self.count, self.at, self.then = 0, number, then


def die() -> None:
    raise KilledError


def killed(requests: Requests, number: int, action: Callable[[], object]) -> bool:
    """Whether the action was killed before its request of this number, and every later one."""
    requests.before(number, die)
    try:
        action()
    except KilledError:
        return True
    finally:
        requests.before(-1, die)
    return False


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock forward by some seconds."""
    ahead = [0.0]
    real = time.time
    monkeypatch.setattr(people_work.time, "time", lambda: real() + ahead[0])

    def forward(seconds: float) -> None:
        ahead[0] += seconds

    return forward


def test_a_killed_write_is_done_or_not_begun(
    gallery: MilvusGallery, monkeypatch: pytest.MonkeyPatch, later: Callable[[float], None]
) -> None:
    requests = Requests(monkeypatch, "upsert", "delete")
    filled(gallery)
    before, seen, number = knows(gallery), [], 0
    while killed(requests, number, lambda: change(gallery)):
        seen.append(knows(gallery))
        assert seen[-1] in (before, AFTER)
        if seen[-1] == before and number:
            with pytest.raises(GalleryError, match="another process changes its people now"):
                change(gallery)
        later(301)
        table = gallery.people
        table.write(table.read(), names={1: "Ana"})  # mends what was left
        assert is_tidy(gallery)
        if seen[-1] == AFTER:  # as it was, for the next round
            table.write(
                table.read(),
                members=PERSONS | {KEYS[3]: Membership(3, 3, 3)}, names={2**40: "Ben"}, put=[APART],
            )  # fmt: skip
            gallery.delete(tracklet="t3")
            gallery.add(np.eye(1, D, dtype=np.float32), RECORDS[3:4])
        before = knows(gallery)
        number += 1
    assert knows(gallery) == AFTER
    assert is_tidy(gallery)
    assert number > 6
    assert AFTER in seen


def write_and_die(where: str, environment: dict[str, str]) -> None:
    """What is in the ``environment`` by now: a process that was forked does not have the server's password."""
    os.environ |= environment
    with MilvusGallery.open(where) as gallery:
        gallery.add(np.eye(len(RECORDS), D, dtype=np.float32), RECORDS)
        filled(gallery)
        upsert, calls = Collection.upsert, []

        def counted(*arguments: object) -> None:
            upsert(*arguments)
            calls.append(arguments)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        Collection.upsert = counted
        change(gallery)


def test_kill_9_in_the_middle_leaves_the_old_people(
    where: str, later: Callable[[float], None], forked: ForkServerContext
) -> None:
    writer = forked.Process(target=write_and_die, args=(where, dict(os.environ)))
    writer.start()
    writer.join(300)
    assert writer.exitcode == -signal.SIGKILL
    with MilvusGallery.open(where) as gallery:
        assert knows(gallery)[0] == PERSONS
        assert knows(gallery)[2] == (SAME, APART)
        assert not is_tidy(gallery)
        later(301)
        change(gallery)
        assert knows(gallery) == AFTER
        assert is_tidy(gallery)


def test_of_two_writers_one_is_refused(gallery: MilvusGallery, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the other one writes between two requests of the first."""
    requests = Requests(monkeypatch, "upsert", "delete", "query")
    filled(gallery)
    said: list[str] = []
    refusals: list[str] = []

    def write(into: MilvusGallery, was: People, person: int, name: str) -> None:
        try:
            into.people.write(was, members={KEYS[person]: Membership(person, 1, 1)}, names={person: name})
            said.append(name)
        except GalleryError as error:
            refusals.append(str(error))

    with MilvusGallery.open(where) as other:
        number, first = 0, set()
        while number <= requests.count:
            was, names = gallery.people.read(), (f"Adam {number}", f"Eve {number}")
            said.clear()
            requests.before(number, lambda: write(other, other.people.read(), 4, names[1]))  # noqa: B023
            write(gallery, was, 5, names[0])
            requests.at = -1
            assert len(said) == 1
            first.add(said[0].partition(" ")[0])
            assert set(names) & set(gallery.people.read().names.values()) == set(said)
            assert is_tidy(gallery)
            number += 1
        assert first == {"Adam", "Eve"}
        assert all("another process " in refusal for refusal in refusals)


def test_records_that_are_deleted_during_a_write_leave_nothing(
    gallery: MilvusGallery, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Requests(monkeypatch, "upsert", "delete", "query")
    filled(gallery)
    with MilvusGallery.open(where) as other:
        for number in range(100):
            was = gallery.people.read()
            link = Correction(was.last_correction + 1, "same", KEYS[0], KEYS[4], "ana", 1.0)
            requests.before(number, lambda: other.delete(tracklet="t4"))
            gallery.people.write(was, members={KEYS[4]: Membership(3, 1, 1)}, names={3: "Carl"}, put=[link])
            requests.at = -1
            if requests.count <= number:
                break
            assert knows(gallery)[:3] == (PERSONS, {1: ODD, 2**40: "Ben"}, (SAME, APART))
            assert is_tidy(gallery)
            gallery.add(np.eye(1, D, dtype=np.float32), RECORDS[4:5])
        assert number > 8
        assert knows(gallery)[1][3] == "Carl"


def test_links_of_deleted_records_are_not_read_however_the_deletion_ended(
    gallery: MilvusGallery, monkeypatch: pytest.MonkeyPatch, later: Callable[[float], None]
) -> None:
    requests = Requests(monkeypatch, "upsert", "delete")
    filled(gallery)
    number = 0
    while killed(requests, number, lambda: gallery.delete(tracklet="t2")):
        left = knows(gallery)
        if gallery.enrolled([RECORDS[2]]) == [True]:
            assert left == (PERSONS, {1: ODD, 2**40: "Ben"}, (SAME, APART), 2**40, 2)
        else:
            assert left == ({key: PERSONS[key] for key in KEYS[:2]}, {1: ODD}, (SAME,), 2**40, 2)
            assert gallery.leftover()
            gallery.forget(tracklet="t2")  # again, as the docs say
            assert knows(gallery) == left
            assert len(rows_of(gallery)) == 4
            gallery.add(np.eye(1, D, dtype=np.float32), RECORDS[2:3])
            assert knows(gallery) == left
        later(1801)
        table = gallery.people
        table.write(
            table.read(), members={KEYS[2]: PERSONS[KEYS[2]]}, names={2**40: "Ben"},
            put=() if APART in left[2] else [APART],
        )  # fmt: skip
        assert is_tidy(gallery)
        assert not gallery.leftover()
        number += 1
    assert number > 4
    assert is_tidy(gallery)


def test_a_read_during_writes_is_of_one_moment(
    gallery: MilvusGallery, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Requests(monkeypatch, "query")
    filled(gallery)
    with MilvusGallery.open(where) as other:
        number, moments = 0, [knows(gallery)]

        def write() -> None:
            for _ in range(2):
                table = other.people
                was = table.read()
                numbers = {key: Membership(was.last_person + 1, 1, 1) for key in KEYS}
                table.write(was, members=numbers, names={was.last_person + 1: f"x{was.last_person}"})
                moments.append(knows(other))

        while number <= requests.count:
            requests.before(number, write)
            assert knows(gallery) in moments
            requests.at = -1
            number += 1
        requests.before(0, lambda: None)

        def always() -> None:
            requests.at = requests.count + 1
            write()

        requests.before(0, always)
        with pytest.raises(GalleryError, match="change too fast to be read"):
            gallery.people.read()


@pytest.mark.parametrize("number", [2, 4, 7])  # before its first rows, among them, and before its head
def test_a_writer_whose_work_was_taken_over_changes_nothing(
    number: int, gallery: MilvusGallery, where: str, monkeypatch: pytest.MonkeyPatch, later: Callable[[float], None]
) -> None:
    requests = Requests(monkeypatch, "upsert", "query")
    filled(gallery)
    with MilvusGallery.open(where) as other:

        def take_over() -> None:
            later(301)
            table = other.people
            table.write(table.read(), names={1: "Eve"})

        was = gallery.people.read()
        requests.before(number, take_over)
        with pytest.raises(GalleryError, match="another process has changed its people meanwhile"):
            gallery.people.write(was, members=NEW, names={1: "Ana", 2**40: None, 2: "Carl"}, put=[SAME], take=[2])
        requests.at = -1
        expected = (PERSONS, {1: "Eve", 2**40: "Ben"}, (SAME, APART), 2**40, 2)
        assert knows(gallery) == expected
        for _ in range(3):  # what the first has written does not come up later
            table = other.people
            table.write(table.read(), names={1: "Eve"})
            assert knows(gallery) == expected
        assert is_tidy(gallery)


def test_a_failed_write_can_be_repeated_at_once(gallery: MilvusGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(gallery)
    before = knows(gallery)
    sign = people_work.Mark.sign

    def fail(_: people_work.Mark) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(people_work.Mark, "sign", fail)
    with pytest.raises(KeyboardInterrupt):
        change(gallery)
    monkeypatch.setattr(people_work.Mark, "sign", sign)
    assert knows(gallery) == before
    change(gallery)
    assert knows(gallery) == AFTER
    assert is_tidy(gallery)


def test_what_was_replaced_or_taken_away_is_not_kept(gallery: MilvusGallery) -> None:
    filled(gallery)
    change(gallery)
    assert is_tidy(gallery)
    assert not {ODD, "Ben"} & {word for row in rows_of(gallery) for word in row["thumbnail"].split('"')}
    assert any(row["thumbnail"] for row in rows_of(gallery)), "of records, the person before is kept for a while"
    gallery.delete_records([RECORDS[1]])  # the last record of person 1, who was the person of another one before
    assert not any("Ana" in row["image"] for row in rows_of(gallery))
    gallery.compact()
    assert not any(row["thumbnail"] or row["end_time"] for row in rows_of(gallery))
    assert knows(gallery) == ({key: one for key, one in AFTER[0].items() if key != KEYS[1]}, {2: "Carl"}, (), 2**40, 2)


def test_many_records_in_many_parts(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEP", 20)
    monkeypatch.setattr(module, "NARROW", 10)
    monkeypatch.setattr(people_work, "SIGN_SECONDS", 0.0)
    records = [Record(f"t{n}", "a") for n in range(150)]
    from reid_toolkit.gallery.digests import key_digest

    members = {key_digest(one): Membership(1 + n % 7, n + 1, 1) for n, one in enumerate(records)}
    with MilvusGallery.open(where) as gallery:
        gallery.add(np.tile(np.eye(1, D, dtype=np.float32), (150, 1)), records)
        table = gallery.people
        table.write(table.read(), members=members, names={3: "Ana"})
        assert table.read().members == members
        assert gallery.delete_records([one for n, one in enumerate(records) if n % 7 == 2]) == 22
        gallery.compact()
        assert table.read().members == {key: one for key, one in members.items() if one.person != 3}
        assert not table.read().names
        assert is_tidy(gallery)


def test_galleries_without_people_get_no_collection(gallery: MilvusGallery) -> None:
    gallery.forget(tracklet="t2")
    assert gallery.people.read().members == {}
    assert not [name for name in gallery._collection.names() if name.endswith("__people")]


def test_the_collection_of_people_is_no_gallery_and_may_be_another_programs(gallery: MilvusGallery, where: str) -> None:
    filled(gallery)
    part = f"{where}__people"
    with pytest.raises(GalleryError, match="is not a gallery, but the people of the gallery people"):
        open_gallery(part)
    foreign = where.replace("/people", "/other")
    with MilvusGallery.open(f"{foreign}__people") as theirs, MilvusGallery.open(foreign) as mine:
        theirs.add(np.eye(1, D, dtype=np.float32), RECORDS[:1])
        mine.add(np.eye(1, D, dtype=np.float32), RECORDS[:1])
        assert mine.people.read().members == {}
        with pytest.raises(GalleryError, match="which belongs to another program or gallery"):
            filled(mine)
        assert mine.forget(tracklet="t0") == 1
        assert len(theirs) == 1


def test_a_name_without_room_for_people(where: str) -> None:
    with MilvusGallery.open(where + "x" * (250 - len(where.rpartition("/")[2]))) as gallery:
        gallery.add(np.eye(len(RECORDS), D, dtype=np.float32), RECORDS)
        assert gallery.people.read().members == {}
        with pytest.raises(GalleryError, match="the name is too long for people"):
            filled(gallery)
        assert gallery.forget(tracklet="t2") == 1


def test_a_gallery_that_does_not_exist_has_nobody(where: str) -> None:
    with MilvusGallery.open(where) as gallery:
        was = gallery.people.read()
        assert was.members == {}
        with pytest.raises(GalleryError, match="no gallery there: make one with `reid enroll`"):
            gallery.people.write(was, names={1: "Ana"})


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("member", {"image": "1 2"}),
        ("name", {"image": "[1"}),
        ("correction", {"thumbnail": "x", "place": 99}),
        ("head", {"image": "1"}),
    ],
)
def test_damaged_rows_are_one_line(gallery: MilvusGallery, where: str, kind: str, damage: dict, tmp_path: Path) -> None:
    filled(gallery)
    rows = gallery.people._rows
    row = rows.query(f'camera == "{kind}"', ["*"])[0]
    rows.upsert([{**row, "vector": np.array([1, 0], np.float32), **damage}])
    name = f"{where.rpartition('/')[2]}__people"
    with pytest.raises(GalleryError, match=rf"what it knows of people is damaged .* drop the collection {name}"):
        gallery.people.read()
    with open_gallery(tmp_path / "copy") as other, pytest.raises(GalleryError, match="of people is damaged"):
        copy(gallery, other)
