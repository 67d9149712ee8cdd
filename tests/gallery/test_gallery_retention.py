"""What is old leaves a gallery: its bytes every file, and its index every answer; by clocks that may be wrong."""

import math
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from gallery_people import D, make_people

from reid_toolkit.errors import InputError
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.local import lookup
from reid_toolkit.gallery.local.database import NAME
from reid_toolkit.gallery.local.record_table import ENROLMENT_SECONDS, RecordTable
from reid_toolkit.gallery.people_table import Membership
from reid_toolkit.gallery.types import Filter
from reid_toolkit.records import Record

DAY = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "g"


def holders(folder: Path, vector: np.ndarray) -> set[str]:
    """Suffixes of the files that hold a descriptor, as the record or as the index has it."""
    half = vector.astype(np.float16)
    secrets = (half.tobytes(), half.astype(np.float32).tobytes())
    return {file.suffix for file in folder.iterdir() if any(secret in file.read_bytes() for secret in secrets)}


def dated(count: int = 40, old: int = 5) -> tuple[np.ndarray, list[Record]]:
    """``count`` records of a minute ago, but for those up to ``old``, which are of last year."""
    vectors, _ = make_people(count=count)
    now = time.time()
    times = [now - 365 * DAY if number < old else now - 60 for number in range(count)]
    return vectors, [
        Record(f"t{number}", "a", at, at, thumbnail=b"picture of t%03d" % number) for number, at in enumerate(times)
    ]


def test_purged_bytes_are_in_no_file(path: Path) -> None:
    vectors, records = dated()
    with Gallery.open(path, exact_below=10) as gallery:
        gallery.add(vectors, records)
        gallery.build_index()
        assert holders(path, vectors[3]) == {".sqlite-wal", ".rows", ".graph"}
        assert gallery.forget(before=time.time() - 30 * DAY) == 5
        assert [holders(path, vector) for vector in vectors[:5]] == [set()] * 5
        pictures = {
            number for number in range(40) for file in path.iterdir() if b"of t%03d" % number in file.read_bytes()
        }
        assert pictures == set(range(5, 40))
        assert holders(path, vectors[5]) == {".sqlite", ".rows", ".graph"}


def test_what_expires_leaves_the_record_at_once_and_the_index_when_it_is_compacted(path: Path) -> None:
    vectors, records = dated()
    with Gallery.open(path, exact_below=10) as gallery:
        gallery.add(vectors, records)
        gallery.keep_for(30 * DAY)
        # Without an index, expiring is all that it takes.
        assert holders(path, vectors[3]) == {".sqlite-wal"}
        assert gallery.expire() == 5
        assert holders(path, vectors[3]) == set()
        gallery.keep_for(None)
        gallery.add(vectors[:5], records[:5])
        gallery.build_index()
        gallery.keep_for(30 * DAY)
        assert gallery.expire() == 5
        assert holders(path, vectors[3]) == {".rows", ".graph"}
        gallery.compact()
        assert holders(path, vectors[3]) == set()
        assert len(gallery) == 35


def test_what_a_reader_keeps_in_the_log_is_erased_by_the_next_purge(path: Path) -> None:
    vectors, records = dated()
    with Gallery.open(path) as gallery, Gallery.open(path) as reader:
        gallery.add(vectors, records)
        gallery.keep_for(30 * DAY)
        reading = reader.records()
        next(reading)
        assert gallery.expire() == 5
        reading.close()
        assert holders(path, vectors[3]) == {".sqlite-wal"}
        assert gallery.leftover()
        assert gallery.forget(before=time.time() - 400 * DAY) == 0
        assert holders(path, vectors[3]) == set()
        assert not gallery.leftover()


def test_a_name_that_a_reader_keeps_in_the_log_is_erased_by_the_next_purge(path: Path) -> None:
    vectors, records = dated()
    with Gallery.open(path) as gallery, Gallery.open(path) as reader:
        gallery.add(vectors, records)
        members = {key_digest(records[30]): Membership(1, 1, 1)}
        gallery.people.write(gallery.people.read(), members=members, names={1: "Ana Garcia"})
        reading = reader.records()
        next(reading)
        gallery.people.write(gallery.people.read(), names={1: None})
        reading.close()
        assert any(b"Ana Garcia" in file.read_bytes() for file in path.iterdir())
        assert gallery.forget(before=time.time() - 400 * DAY) == 0
        assert not any(b"Ana Garcia" in file.read_bytes() for file in path.iterdir())


def test_compacting_deletes_what_is_past_the_retention(path: Path) -> None:
    vectors, records = dated()
    with Gallery.open(path) as gallery:
        gallery.add(vectors, records)
        gallery.keep_for(30 * DAY)
        gallery.compact()
        assert len(gallery) == 35
        assert holders(path, vectors[3]) == set()


def test_the_index_hides_what_is_past_too(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = make_people()
    now = time.time()
    with Gallery.open(indexed, exact_below=100) as gallery:
        gallery.add(vectors[:8], [Record(f"n{i}", "a", now - 100 * i, now - 100 * i) for i in range(8)])
        gallery.add(vectors[8:9], [Record("last year", "a", now - 365 * DAY, now - 365 * DAY)])
        gallery.keep_for(DAY)
        shown = [[match.record.tracklet for match in gallery.search(vectors[at], 20)] for at in (0, 8)]
        assert gallery._searcher._index is not None
        assert all("last year" not in names for names in shown)
        assert "n3" in shown[0]
        assert "t8" in shown[1]
        gallery.keep_for(350.0)
        assert len(gallery.search(vectors[0], 500, cameras=["a"])) == 100 + 4
        # Dated ones that grow old while nothing is added; the others were enrolled within the hour.
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + 120)
        gallery.keep_for(700.0)
        assert len(gallery.search(vectors[0], 500, cameras=["a"])) == 100 + 6
        monkeypatch.setattr(time, "time", lambda: clock() + 320)
        assert len(gallery.search(vectors[0], 500, cameras=["a"])) == 100 + 4
        assert gallery.expire() == 5
        assert len(gallery.search(vectors[0], 500, cameras=["a"])) == 100 + 4
        gallery.add(vectors[8:9], [Record("late", "a", now - 5000, now - 4000)])
        assert "late" not in [match.record.tracklet for match in gallery.search(vectors[8], 500)]


def test_a_search_by_age_is_the_slow_one(path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors, _ = make_people(count=200)
    now = time.time()
    ages = rng.uniform(0, 100, 200) * DAY
    rows = [Record(f"t{number}", "a", now - 101 * DAY, now - age) for number, age in enumerate(ages)]
    with Gallery.open(path) as gallery:
        gallery.add(vectors, rows)
        longest = math.inf
        for days in (100.5, 80, 30, 99, 5, 60):  # both ways, so that nothing is remembered wrongly
            gallery.keep_for(days * DAY)
            found = {match.record for match in gallery.search(vectors[0], 200)}
            assert found == {row for row, age in zip(rows, ages, strict=True) if age < min(days, longest) * DAY}
            assert gallery.info().past == len(gallery) - len(found)
            if days == 99:
                longest = days
                assert gallery.expire() == 200 - len(found) > 0
                assert {match.record for match in gallery.search(vectors[0], 200)} == found


def enrolments(path: Path) -> list[tuple[int, float]]:
    with sqlite3.connect(path / NAME) as db:
        rows = db.execute("SELECT first_id, time FROM enrolment ORDER BY first_id").fetchall()
    db.close()
    return rows


def test_enrolment_is_known_to_ten_minutes_and_a_clock_that_goes_back_ages_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, _ = make_people(count=20)
    clock, shift = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: clock() + shift[0])
    now = clock()
    with Gallery.open(path) as gallery:
        for number, seconds in enumerate([0, 10, ENROLMENT_SECONDS + 5, 40 * DAY, -20_000 * DAY, 41 * DAY]):
            shift[0] = seconds
            gallery.add(vectors[number : number + 1], [Record(f"t{number}", "a")])
        first_ids = [first_id for first_id, _ in enrolments(path)]
        assert first_ids == [0, 3, 4, 6]
        times = [at for _, at in enrolments(path)]
        assert times == sorted(times)
        assert times == pytest.approx([now, now + 605, now + 40 * DAY, now + 41 * DAY], abs=60)
        shift[0] = 42 * DAY
        gallery.keep_for(30 * DAY)
        assert {match.record.tracklet for match in gallery.search(vectors[0])} == {"t3", "t4", "t5"}
        gallery.keep_for(1.5 * DAY)
        assert {match.record.tracklet for match in gallery.search(vectors[0])} == {"t5"}
        gallery.compact()
        assert [first_id for first_id, _ in enrolments(path)] == [6]
        assert len(gallery) == 1


def test_an_older_gallery_counts_from_its_upgrade(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reid_toolkit.gallery.local import schema

    vectors, records = make_people(count=8)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", schema.STEPS[:2])
        patch.setattr(RecordTable, "_note_time", lambda *_: None)
        with Gallery.open(path, dimension=D) as gallery:
            gallery.add(vectors, records)
    with Gallery.open(path) as gallery:
        gallery.keep_for(DAY)
        assert len(gallery.search(vectors[0])) == 8
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + 2 * DAY)
        assert gallery.search(vectors[0]) == []


def test_a_process_that_runs_for_months_does_not_keep_what_expired(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = make_people(count=200)
    clock, shift = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: clock() + shift[0])
    monkeypatch.setattr(lookup, "SPARE", 0)
    with Gallery.open(path) as gallery:
        gallery.keep_for(1.5 * DAY)
        for day in range(10):
            shift[0] = day * DAY
            today = [
                Record(f"t{day}-{number}", "ab"[number % 2], source=f"/{day}/{number}.jpg", tags=(f"day {day}",))
                for number in range(20)
            ]
            gallery.add(vectors[20 * day : 20 * day + 20], today)
            gallery.expire()
            assert gallery.search(vectors[20 * day], top_k=1)[0].record == today[0]
            assert gallery.held([key_digest(today[1])])
        assert len(gallery) == 40
        assert gallery._searcher._snapshot.count <= 60
        assert len(gallery._lookup._keys) <= 80
        assert len(gallery._searcher._snapshot.names["source"]) <= 60
        assert len(gallery._searcher._snapshot.names["tags"]) <= 3
        where = Filter(cameras=["b"], sources=["/9", "/8/1.jpg"], tags=["day 9"])
        assert gallery.count_passing(where) == {"b": 10}
        (passing,) = gallery.search_batch(vectors[:1], 40, where)
        assert {match.record.tracklet for match in passing} == {f"t9-{number}" for number in range(1, 20, 2)}
        assert gallery.count_passing(Filter(sources=["/8/1.jpg", "/0"])) == {"b": 1}
        found = gallery.search(vectors[161], top_k=3)
        assert (found[0].record.tracklet, found[0].distance) == ("t8-1", pytest.approx(0, abs=1e-2))


def test_no_time_is_not_every_time(path: Path) -> None:
    vectors, records = dated()
    with Gallery.open(path) as gallery:
        gallery.add(vectors, records)
        for remove in (gallery.matching, gallery.delete, gallery.forget):
            with pytest.raises(InputError, match="before is nan"):
                remove(before=math.nan)
        assert len(gallery) == 40
