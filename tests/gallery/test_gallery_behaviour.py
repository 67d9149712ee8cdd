"""What every gallery does, wherever it is kept: the same tests on each kind."""

import math
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gallery_people import D, make_people
from slow_search import half, passes, slow_search

from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.gallery import Filter, GalleryStore, open_gallery
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.people.book import Book
from reid_toolkit.people.held import visible
from reid_toolkit.records import Record
from reid_toolkit.service.desk import read_records

ODD = ('a" or 1==1', "a\\", "ü%_'", "", 'a\' or "" == "', "new\nline", "\t\r", "\0\x1b\u2028", "{x}", 'a\\" or id != "')
"""Names that must not be taken for a part of a query."""


def bits(gallery: GalleryStore) -> dict[Record, bytes]:
    """All records, and their descriptors to the last bit."""
    return {
        record: vector.tobytes()
        for records, vectors in gallery.records()
        for record, vector in zip(records, vectors, strict=True)
    }


FILTERS = (
    Filter(),
    Filter(cameras=["b", "d"]),
    Filter(cameras=[]),
    Filter(since=100.0),
    Filter(until=99.5),
    Filter(since=20, until=30.25),
    Filter(since=-1e300),
    Filter(sources=["/s"]),
    Filter(sources=["/s/3", "/s/x"]),
    Filter(tags=["hat"]),
    Filter(tags=["bag", "hat"], cameras=["a", "b"], since=3),
    Filter(tags=["nobody's"]),
)


def test_search_is_the_slow_search_with_every_filter(where: str) -> None:
    vectors, records = make_people(count=160)
    vectors[40:60] = vectors[7]  # ties: the earlier enrolled comes first
    records[11] = Record("t11", "b", source="/s/3")  # passes no filter of time
    records[12] = Record("t12", "b", source="/s", tags=("bag", "hat"))
    queries = vectors[[7, 11, 130]]
    filters = [*FILTERS, Filter(exclude=[records[7], records[50], Record("unknown", "a")])]
    with open_gallery(where, dimension=D) as gallery:
        gallery.add(vectors[:90], records[:90])
        gallery.add(vectors[90:], records[90:])
        for given in filters:
            for k in (1, 5, 30):
                answers = gallery.search_batch(queries, k, given)
                for query, found in zip(queries, answers, strict=True):
                    assert [m.record for m in found] == slow_search(vectors, records, query, k, given)
                    assert [m.rank for m in found] == list(range(1, len(found) + 1))
        everything = gallery.search(queries[0], top_k=100_000)
        alone = gallery.search(queries[1], 5, ["b"], 3, 90, sources=["/s"], tags=["hat"], exclude=[records[21]])
    assert len(everything) == len(records)
    assert everything[0].distance == pytest.approx(np.linalg.norm(half(vectors[7]) - vectors[7]), abs=1e-6)
    given = Filter(["b"], 3, 90, ["/s"], ["hat"], [records[21]])
    assert [m.record for m in alone] == slow_search(vectors, records, queries[1], 5, given)


def test_what_was_added_is_there_after_reopening(where: str) -> None:
    vectors, _ = make_people(count=4)
    rows = [
        Record("t", "cam", 1.5, 2.5, "/data/set", "/data/set/a.jpg", ("bag", "hat"), b"\xff\xd8\0picture"),
        Record("t", "cam", None, None, "/data/other"),
        Record("u", "cam", -3.25, 0, "/data/set"),
    ]
    with open_gallery(where, dimension=D, model="m1") as gallery:
        gallery.add(vectors[:3], rows)
        gallery.remember_model_file(Path("/models/m1.onnx"))
    with open_gallery(where, create=False) as gallery:
        assert [gallery.search(vector, top_k=1)[0].record for vector in vectors[:3]] == rows
        info = gallery.info()
        assert gallery.model_file == Path("/models/m1.onnx")
        gallery.expect(D, "m1")
        held = [pair for batch in gallery.records() for pair in zip(*batch, strict=True)]
        assert gallery.check().sound
    assert (info.path, info.count, info.dimension, info.model, info.model_file) == (
        where,
        3,
        D,
        "m1",
        "/models/m1.onnx",
    )
    assert (info.cameras, info.sources) == ({"cam": 3}, {"/data/other": 1, "/data/set": 2})
    assert (info.tags, info.first, info.last) == ({"bag": 1, "hat": 1}, -3.25, 2.5)
    by_name = {(record.tracklet, record.source): (record, vector) for record, vector in held}
    assert len(held) == len(by_name) == 3
    for row, vector in zip(rows, vectors, strict=False):
        found, descriptor = by_name[row.tracklet, row.source]
        assert found == row
        assert descriptor.dtype == np.float32
        np.testing.assert_array_equal(descriptor, half(vector))


def test_what_a_gallery_gives_out_it_takes_back_to_the_last_bit(where: str, tmp_path: Path) -> None:
    vectors, records = make_people(count=40)
    with open_gallery(where) as gallery, open_gallery(tmp_path / "copy") as copy:
        gallery.add(vectors, records)
        first = bits(gallery)
        for rows, parts in gallery.records():
            copy.add(parts, rows)
        assert bits(copy) == first


def test_adding_again_replaces_and_of_equal_ones_the_last_stays(where: str) -> None:
    vectors, _ = make_people(count=8)
    old, new = Record("t", "a", 1.0, 2.0, "s"), Record("t", "a", 5.0, 6.0, "s", tags=("hat",))
    others = [Record("t", "b", source="s"), Record("t", "a", source="other")]
    with open_gallery(where) as gallery:
        gallery.add(vectors[:3], [old, *others])
        gallery.add(vectors[3:5], [old, new])
        assert len(gallery) == 3
        assert gallery.search(vectors[4], top_k=1)[0].record == new
        assert gallery.enrolled([old, *others, Record("t", "c", source="s")]) == [True, True, True, False]


def test_another_object_sees_adds_replacements_and_deletions_at_once(where: str) -> None:
    vectors, records = make_people(count=8)
    with open_gallery(where) as writer, open_gallery(where) as reader:
        writer.add(vectors[:3], records[:3])
        assert len(reader.search(vectors[0])) == 3
        writer.add(vectors[3:4], [records[1]])
        assert reader.search(vectors[3], top_k=1)[0].record == records[1]
        writer.delete(tracklet="t2")
        assert [m.record.tracklet for m in reader.search(vectors[0])] == ["t0", "t1"]
        writer.forget(source="/s")
        with pytest.raises(GalleryError, match="empty"):
            reader.search(vectors[0])
        writer.add(vectors[5:6], records[5:6])
        assert len(reader.search(vectors[0])) == 1


def test_forget_takes_what_matches_and_nothing_else(where: str) -> None:
    vectors, _ = make_people(count=8)
    rows = [
        Record("t1", "a", source="/d/set"), Record("t1", "a", source="/d/set/1.jpg"),
        Record("t1", "a", source="/d/set2"), Record("t1", "b", source="/d/set"),
        Record("t2", "a", source="/d/s_t"), Record("t2", "a", source="/d/s%t/x"),
    ]  # fmt: skip
    with open_gallery(where) as gallery:
        gallery.add(vectors[:6], rows)
        assert gallery.matching(source="/d/set") == 3
        assert gallery.matching(tracklet="t1", camera="a", source="/d/set/") == 1
        assert gallery.matching(camera="nobody") == gallery.forget(camera="nobody") == 0
        assert gallery.forget(tracklet="t1", camera="a", source="/d/set") == 2
        assert gallery.enrolled(rows) == [False, False, True, True, True, True]
        assert gallery.delete_records([rows[3], rows[0]]) == 1
        assert gallery.enrolled(rows) == [False, False, True, False, True, True]
        assert gallery.forget(source="/d/s_t") == 1
        assert {m.record for m in gallery.search(vectors[0])} == {rows[2], rows[5]}
        with pytest.raises(InputError, match="no records were chosen"):
            gallery.forget()


DAY = 86_400.0


def aged(now: float) -> list[Record]:
    """Records of every kind of time there is."""
    return [
        Record("old", "a", now - 50 * DAY, now - 40 * DAY, "/s/old"),
        Record("long", "a", now - 50 * DAY, now - DAY, "/s/long"),
        Record("new", "b", now - 60, now - 60, "/s/new"),
        Record("relative", "b", 5.0, 900.0, "/s/relative"),
        Record("untimed", "b", None, None, "/s/untimed"),
    ]


def names(matches: list) -> set[str]:
    return {match.record.tracklet for match in matches}


def seen(gallery: GalleryStore, rows: list[Record]) -> list[set[str]]:
    """The tracklets that a look-up, the people, grouping and the service show. Searches are compared with them."""
    called = {key_digest(row): row.tracklet for row in rows}
    kept = gallery.retention
    since = None if kept is None else time.time() - kept
    assert gallery.people.parts is not None
    return [
        {called[digest] for digest in gallery.held(list(called))},
        {called[digest] for digest in Book(gallery, "g", time.time()).records},
        {record.tracklet for records, _ in visible(gallery) for record in records},
        {called[digest] for _, digest in gallery.people.parts.digests(since)},
        {called[digest] for digest in read_records(gallery, kept)[0]},
    ]


def test_age_is_since_the_last_sight_or_the_enrolment(where: str) -> None:
    vectors, _ = make_people(count=8)
    now = time.time()
    rows = aged(now)
    with open_gallery(where) as gallery:
        gallery.add(vectors[:5], rows)
        assert gallery.matching(before=now - 30 * DAY) == gallery.matching("old", before=now - 30 * DAY) == 1
        assert gallery.matching(camera="b", before=now - 30 * DAY) == 0
        assert gallery.matching(before=now - DAY / 2) == 2
        assert gallery.matching(before=now - 60 * DAY) == gallery.matching(before=-math.inf) == 0
        # They were enrolled just now, whenever that recording was.
        assert gallery.matching(before=now + DAY) == gallery.matching(before=math.inf) == 5
        assert gallery.matching(before=now + DAY, keep_undated=True) == 3
        with pytest.raises(InputError, match="no records were chosen"):
            gallery.forget(keep_undated=True)
        assert gallery.forget(before=now - 30 * DAY) == 1
        assert gallery.enrolled(rows) == [False, True, True, True, True]
        assert gallery.delete(camera="b", before=now + DAY, keep_undated=True) == 1
        assert gallery.enrolled(rows) == [False, True, False, True, True]
        assert gallery.forget(before=now + DAY) == 3
        assert len(gallery) == 0


def test_what_is_past_the_retention_is_not_shown_and_then_deleted(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = make_people(count=8)
    rows = aged(time.time())
    with open_gallery(where) as gallery:
        gallery.add(vectors[:5], rows)
        assert gallery.retention is None
        assert gallery.expire() == 0
        assert names(gallery.search(vectors[0])) == {row.tracklet for row in rows}
        gallery.keep_for(30 * DAY)
    with open_gallery(where, create=False) as gallery:
        assert gallery.retention == gallery.info().retention == 30 * DAY
        assert (len(gallery), gallery.info().past) == (5, 1)
        assert [match.record for match in gallery.search(vectors[0], top_k=1)] != [rows[0]]
        assert names(gallery.search(vectors[0])) == {"long", "new", "relative", "untimed"}
        assert seen(gallery, rows) == [{"long", "new", "relative", "untimed"}] * 5
        assert gallery.search(vectors[0], sources=["/s/old"]) == []
        assert [names(found) for found in gallery.search_batch(vectors[:2], 9, Filter(cameras=["a"]))] == [{"long"}] * 2
        page = gallery.search_page(vectors[0], 3)
        rest = gallery.search_page(vectors[0], 3, after=page.after)
        assert [match.record for match in (*page.matches, *rest.matches)] == [
            match.record for match in gallery.search(vectors[0])
        ]
        gallery.keep_for(DAY / 2)
        assert names(gallery.search(vectors[0])) == {"new", "relative", "untimed"}
        gallery.keep_for(None)
        assert len(gallery.search(vectors[0])) == 5
        assert seen(gallery, rows) == [{row.tracklet for row in rows}] * 5
        gallery.keep_for(30 * DAY)
        assert gallery.expire() == 1
        assert gallery.expire() == 0
        assert gallery.enrolled(rows) == [False, True, True, True, True]
        for seconds in (0.0, -1.0, math.nan, math.inf):
            with pytest.raises(InputError, match="expected more than 0"):
                gallery.keep_for(seconds)
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + 29.5 * DAY)
        assert names(gallery.search(vectors[0])) == {"new", "relative", "untimed"}
        monkeypatch.setattr(time, "time", lambda: clock() + 31 * DAY)
        # Nothing is known of when these were seen, but when they were enrolled is.
        assert gallery.search(vectors[0]) == []
        assert seen(gallery, rows) == [set()] * 5
        gallery.compact()
        assert len(gallery) == 0


def test_names_are_never_taken_for_a_part_of_a_query(where: str) -> None:
    vectors, _ = make_people(count=len(ODD) * 4)
    rows = [Record(name, name, 0.0, 1.0, f"/s/{name}", tags=(name,) if name else ()) for name in ODD]
    with open_gallery(where) as gallery:
        gallery.add(vectors[: len(ODD)], rows)
        for name, row in zip(ODD, rows, strict=True):
            assert [m.record for m in gallery.search(vectors[0], cameras=[name])] == [row]
            assert row in [m.record for m in gallery.search(vectors[0], sources=[f"/s/{name}"])]
            if name:
                assert [m.record for m in gallery.search(vectors[0], tags=[name])] == [row]
            assert gallery.matching(tracklet=name, camera=name) == 1
        assert gallery.matching(camera='x" or camera != "') == 0
        assert gallery.search(vectors[0], cameras=['x"] or camera not in ["x']) == []
        assert gallery.info().cameras == dict.fromkeys(sorted(ODD), 1)
        for left, name in zip(range(len(ODD) - 1, -1, -1), ODD, strict=True):
            assert gallery.delete(camera=name) == 1
            assert len(gallery) == left


def test_a_gallery_keeps_to_its_width_and_model(where: str) -> None:
    vectors, records = make_people(count=4)
    with open_gallery(where, dimension=D, model="m1") as gallery:
        with pytest.raises(GalleryError, match="empty"):
            gallery.search(vectors[0])
        with pytest.raises(GalleryError, match=f"width {D}, got width 3"):
            gallery.add(np.eye(3, dtype=np.float32), records[:3])
        with pytest.raises(GalleryError, match="model m1, got model m2"):
            gallery.expect(model="m2")
        gallery.add(vectors, records)
    for given, message in (
        ({"model": "m2"}, "model m1, got model m2"),
        ({"dimension": 3}, f"width {D}, got width 3"),
    ):
        with pytest.raises(GalleryError, match=message):
            open_gallery(where, **given)
    with open_gallery(where, model="m1") as gallery:
        with pytest.raises(GalleryError, match=f"width {D}, got width 3"):
            gallery.add(np.eye(3, dtype=np.float32), records[:3])
        with pytest.raises(InputError, match=f"width 3: expected {D}"):
            gallery.search(np.eye(3, dtype=np.float32)[0])
        gallery.forget(source="/s")
    # Empty again, it is anybody's.
    with open_gallery(where, dimension=3, model="m2") as gallery:
        gallery.add(np.eye(3, dtype=np.float32), records[:3])
        assert gallery.info().model == "m2"
        assert len(gallery) == 3


def test_what_is_refused_is_not_stored(where: str) -> None:
    vectors, records = make_people(count=4)
    with open_gallery(where, dimension=D) as gallery:
        for bad, rows, message in (
            (vectors * 1.1, records, "length"),
            (np.where(np.eye(4, D, dtype=bool), np.nan, vectors), records, "NaN"),
            (vectors[:3], records, "3 descriptors for 4 records"),
            (vectors[:1], [Record("t", "a", 2.0, 1.0)], "in this order"),
            (vectors[:1], [Record("\udcff", "a")], "not valid Unicode"),
        ):
            with pytest.raises(InputError, match=message):
                gallery.add(bad, rows)
        gallery.add(vectors[:0], [])
        assert len(gallery) == 0
        gallery.add(vectors, records)
        for call, message in (
            (lambda: gallery.search(vectors), "shape"),
            (lambda: gallery.search(vectors[0], top_k=0), "top_k"),
            (lambda: gallery.search(vectors[0], cameras="a"), "collection"),
            (lambda: gallery.search(vectors[0] * 2), "length"),
        ):
            with pytest.raises(InputError, match=message):
                call()


def test_a_gallery_that_is_not_there_is_not_made_by_looking(where: str) -> None:
    for _ in range(2):
        with pytest.raises(GalleryError, match="no gallery there"):
            open_gallery(where, create=False)


def test_a_gallery_without_a_width_is_empty_until_something_is_added(where: str) -> None:
    vectors, records = make_people(count=4)
    with open_gallery(where) as gallery:
        assert len(gallery) == gallery.info().count == 0
        assert gallery.enrolled(records) == [False] * 4
        assert list(gallery.records()) == []
        assert gallery.check().sound
        gallery.remember_model_file(Path("/models/m.onnx"))
        gallery.add(vectors, records)
        gallery.compact()
        gallery.build_index()
        assert len(gallery) == 4
    with open_gallery(where, create=False) as gallery:
        assert gallery.model_file == Path("/models/m.onnx")


def test_records_are_found_by_their_digests_and_counted_by_filters(where: str) -> None:
    vectors, records = make_people(count=160)
    keys = [key_digest(record) for record in records]
    with open_gallery(where, dimension=D) as gallery:
        assert gallery.held(keys[:1]) == {}
        assert gallery.count_passing(Filter()) == {}
        gallery.add(vectors, records)
        found = gallery.held([keys[0], keys[7], "0" * 64, "no digest"])
        assert {digest: one.record for digest, one in found.items()} == {keys[0]: records[0], keys[7]: records[7]}
        assert np.array_equal(found[keys[7]].vector, half(vectors)[7].astype(np.float32))
        gallery.delete_records(records[:4])
        assert gallery.held(keys[:4]) == {}
        for given in FILTERS:
            expected = Counter(record.camera for record in records[4:] if passes(record, given))
            assert gallery.count_passing(given) == dict(sorted(expected.items()))
        gallery.add(vectors[:1], [replace(records[0], tags=("back",))])
        assert gallery.held(keys[:1])[keys[0]].record.tags == ("back",)
