"""When people were where."""

from reid_toolkit.people.visits import routes_of, seen_of, visits_of
from reid_toolkit.records import Record

NOON = 1_790_000_000.0


def test_recordings_without_dates_have_their_own_clocks() -> None:
    """Each begins at 0, also in one dataset."""
    records = [
        Record(f"{day}-0000{n}", "hall", 9.0 * n, 9.0 * n + 5, "/d", f"/d/crops/{day}/0000{n}/0000001.jpg")
        for n in (1, 2)
        for day in "ab"
    ]
    assert [[one.tracklet for one in visit.records] for visit in visits_of(records)] == [
        ["a-00001", "a-00002"],
        ["b-00001", "b-00002"],
    ]
    unknown = [Record(name, "hall", 3.0, 5.0, "/d", f"/d/{name}.jpg") for name in "ab"]
    assert len(visits_of(unknown)) == 2


def test_a_visit_goes_on_although_another_camera_sees_the_person_meanwhile() -> None:
    records = [Record(str(n), "ab"[n % 2], NOON + 10 * n, NOON + 10 * n + 5) for n in range(6)]
    records.append(Record("6", "a", NOON + 105, NOON + 107))  # 60 s after the last of this camera
    visits = [(one.camera, one.start, one.end, len(one.records)) for one in visits_of(records)]
    assert visits == [
        ("a", NOON, NOON + 45, 3),
        ("b", NOON + 10, NOON + 55, 3),
        ("a", NOON + 105, NOON + 107, 1),
    ]


def test_times_of_recordings_do_not_count_beside_dates() -> None:
    dated = [Record(str(n), "hall", NOON + n, NOON + n + 5) for n in range(3)]
    undated = [Record("a", "hall", 3.0, 9.0), Record("b", "hall", 1.0, None), Record("c", "hall")]
    assert seen_of(dated + undated) == (NOON, NOON + 7)
    assert seen_of(undated) == (1.0, 9.0)
    assert seen_of(undated[2:]) == (None, None)


def test_who_goes_to_and_fro_has_moved_each_time() -> None:
    records = [Record(str(n), "ab"[n % 2], NOON + 10 * n, NOON + 10 * n + 5) for n in range(6)]
    found = [(one.start, one.end, one.moves, one.shortest, one.longest) for one in routes_of({1: records})]
    assert found == [("a", "b", 3, 5.0, 5.0), ("b", "a", 2, 5.0, 5.0)]
