"""How many different people there were."""

from datetime import UTC, datetime

import pytest

from reid_toolkit.gallery.people_table import Membership
from reid_toolkit.people.counting import count_people
from reid_toolkit.records import Record


def counted(zone: str, moments: list[datetime], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    monkeypatch.setenv("REID_TIMEZONE", zone)
    starts = [moment.replace(tzinfo=UTC).timestamp() for moment in moments]
    records = [(Record(str(n), "a", one, one), Membership(n, n, n)) for n, one in enumerate(starts)]
    return [(one.by[0], one.people) for one in count_people(records, ("hour",))]


def test_the_hour_in_which_clocks_go_back_is_two_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = [datetime(2026, 10, 24, 23, 30), datetime(2026, 10, 25, 0, 0), datetime(2026, 10, 25, 0, 59)]
    hours += [datetime(2026, 10, 25, 1, 30), datetime(2026, 10, 25, 2, 30)]
    assert counted("Europe/Berlin", hours, monkeypatch) == [
        ("2026-10-25 01:00", 1),
        ("2026-10-25 02:00 UTC+02:00", 2),
        ("2026-10-25 02:00 UTC+01:00", 1),
        ("2026-10-25 03:00", 1),
    ]
    # Clocks go back by half an hour only.
    halves = [datetime(2026, 4, 4, 14, 10), datetime(2026, 4, 4, 14, 40), datetime(2026, 4, 4, 15, 10)]
    assert counted("Australia/Lord_Howe", halves, monkeypatch) == [
        ("2026-04-05 01:00 UTC+11:00", 2),
        ("2026-04-05 01:00 UTC+10:30", 1),
    ]


def test_other_hours_have_no_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = [datetime(2026, 3, 29, hour, 30) for hour in (0, 1)]
    assert counted("Europe/Berlin", hours, monkeypatch) == [("2026-03-29 01:00", 1), ("2026-03-29 03:00", 1)]
