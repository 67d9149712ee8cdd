"""What times say about records."""

from dataclasses import replace
from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reid_toolkit.people.constraints import impossible_moves, seen_at_once, together, too_soon
from reid_toolkit.records import Record

NOON = 1_790_000_000.0


@st.composite
def some_records(draw) -> list[Record]:
    count = draw(st.integers(0, 12))
    return [
        Record(
            str(number),
            draw(st.sampled_from("abc")),
            None if (start := draw(st.none() | st.integers(0, 40))) is None else NOON + start,
            None if start is None else NOON + start + draw(st.integers(0, 9)),
            draw(st.sampled_from(["/x", "/y"])),
        )
        for number in range(count)
    ]


def as_set(pairs) -> set[tuple[int, int]]:
    return {(int(min(pair)), int(max(pair))) for pair in pairs}


@given(some_records())
def test_people_seen_at_once_are_in_one_camera_of_one_source(records: list[Record]) -> None:
    expected = {
        (i, j)
        for (i, a), (j, b) in combinations(enumerate(records), 2)
        if a.camera == b.camera and a.source == b.source and a.start is not None and b.start is not None
        if a.start <= b.end and b.start <= a.end
    }
    assert as_set(seen_at_once(records)) == expected


@given(some_records(), st.integers(1, 12))
def test_moves_that_are_too_quick_are_impossible(records: list[Record], seconds: int) -> None:
    expected = {
        (i, j)
        for (i, a), (j, b) in combinations(enumerate(records), 2)
        if {a.camera, b.camera} == {"a", "c"} and a.start is not None and b.start is not None
        if max(a.start, b.start) - min(a.end, b.end) < seconds
    }
    assert as_set(impossible_moves(records, {("a", "c"): float(seconds)})) == expected


def test_times_of_recordings_are_not_compared_between_cameras() -> None:
    records = [Record("1", "a", 0.0, 1.0, "/x"), Record("2", "b", 0.0, 1.0, "/x")]
    assert not len(impossible_moves(records, {("a", "b"): 10.0}))


def test_crops_of_a_tracklet_that_were_enrolled_singly_belong_together() -> None:
    singly = [Record("t", "a", source=path, image=path) for path in ("/x/1.jpg", "/x/2.jpg")]
    others = [Record("t", "b", source="/x/3.jpg", image="/x/3.jpg"), Record("u", "a", source="/x")]
    labels = together([*singly, *others], [(2, 3)])
    assert labels[0] == labels[1] != labels[2] == labels[3]
    np.testing.assert_array_equal(together([], []), np.empty(0, int))


def test_pictures_of_one_name_in_two_folders_do_not_belong_together() -> None:
    paths = ["/x/ana/1.jpg", "/x/ben/1.jpg", "/x/crops/ana/1/1.jpg", "/x/crops/ben/1/1.jpg"]
    labels = together([Record("1", "door", source=path, image=path) for path in paths], [])
    assert len(set(labels.tolist())) == 4


def test_single_crops_are_compared_within_their_dataset() -> None:
    """As `reid ingest` stores them, also with parts of a tracklet that was split, and as other programs may."""

    def crop(tracklet: str, path: str) -> Record:
        return Record(tracklet, "hall", NOON, NOON, path, path)

    ingested = [
        crop("am-00001", "/d/crops/am/00001/0000007.jpg"),
        crop("am-00002-2", "/d/crops/am/00002/0000007.jpg"),
        crop("pm-00001", "/d/crops/pm/00001/0000000.jpg"),
        crop("am-00001", "/e/crops/am/00001/0000007.jpg"),
    ]
    assert as_set(seen_at_once(ingested)) == {(0, 1), (0, 2), (1, 2)}
    assert len(set(together(ingested, []).tolist())) == 4
    others = [crop("a", "/d/a.jpg"), crop("b", "/d/b.jpg"), crop("b", "/e/b.jpg")]
    assert as_set(seen_at_once(others)) == {(0, 1)}


def test_times_that_begin_at_0_are_compared_within_one_recording() -> None:
    def undated(tracklet: str, image: str, source: str = "/d") -> Record:
        return Record(tracklet, "hall", 3.0, 5.0, source, image)

    ingested = [undated(f"{day}-0000{n}", f"/d/crops/{day}/0000{n}/0000007.jpg") for day in "ab" for n in (1, 2)]
    singly = [replace(one, source=one.image) for one in ingested]
    for records in (ingested, singly):
        assert as_set(seen_at_once(records)) == {(0, 1), (2, 3)}
    unknown = [undated(name, f"/d/{name}.jpg") for name in "ab"]
    assert not len(seen_at_once([*unknown, undated("c", "", ""), undated("d", "", "")]))
    watched = [undated("1", "", "/a.mp4"), undated("2", "", "/a.mp4"), undated("1", "", "/b.mp4")]
    assert as_set(seen_at_once(watched)) == {(0, 1)}


@given(some_records(), st.integers(1, 12))
def test_one_record_alone_is_too_soon_for_the_same_moves(records: list[Record], seconds: int) -> None:
    least = {("a", "c"): float(seconds)}
    found = {
        (i, j)
        for (i, a), (j, b) in combinations(enumerate(records), 2)
        if b.start is not None and too_soon(a, b.camera, b.start, b.end, least)
    }
    assert found == as_set(impossible_moves(records, least))
    assert not any(too_soon(one, "c", 3.0, 4.0, least) for one in records), "no Unix time"
