"""When people were where."""

from reid_toolkit.people.visits import visits_of
from reid_toolkit.records import Record


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
