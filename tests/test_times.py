import pytest

from reid_toolkit.errors import ReidError
from reid_toolkit.times import ZONE, format_moment, format_span, read_moment, read_seconds

UNIX = 1_763_800_000.0  # 2025-11-22T08:26:40Z


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        (None, None, ""),
        (0.0, 0.0, "0.0 s"),
        (59.94, 3723.0, "59.9–3723.0 s"),
        (-2.0, 1.0, "-2.0–1.0 s"),
        (UNIX, UNIX, "2025-11-22 08:26:40 UTC"),
        (UNIX, UNIX + 0.9, "2025-11-22 08:26:40 UTC"),
        (UNIX, UNIX + 3, "2025-11-22 08:26:40–08:26:43 UTC"),
        (UNIX, UNIX + 86_400, "2025-11-22 08:26:40–2025-11-23 08:26:40 UTC"),
        (1e300, 1e300, f"{1e300:.1f} s"),
    ],
)
def test_a_span_of_times(start: float | None, end: float | None, text: str) -> None:
    assert format_span(start, end) == text


def test_times_are_shown_and_read_in_the_zone_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ZONE, "Asia/Kolkata")
    assert format_span(UNIX, UNIX + 3) == "2025-11-22 13:56:40–13:56:43 UTC+05:30"
    assert format_moment(UNIX, to="minutes") == "2025-11-22 13:56 UTC+05:30"
    assert read_moment("2025-11-22T13:56:40").timestamp() == UNIX
    assert read_moment("2025-11-22T08:26:40Z").timestamp() == UNIX
    monkeypatch.delenv(ZONE)
    assert read_moment("2025-11-22T08:26:40").timestamp() == UNIX
    assert format_moment(UNIX) == "2025-11-22 08:26:40 UTC"


def test_a_span_over_the_change_of_the_clocks_names_both_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ZONE, "Europe/Berlin")
    change = 1_761_440_400  # 2025-10-26T01:00Z
    assert format_span(change - 60, change + 60) == "2025-10-26 02:59:00 UTC+02:00–2025-10-26 02:01:00 UTC+01:00"


@pytest.mark.parametrize("name", ["Europe/Berlino", "../../etc/passwd", "/etc/passwd", "a\0b"])
def test_a_zone_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("os.environ", {ZONE: name})
    with pytest.raises(ReidError, match="unknown time zone: expected a name such as Europe/Berlin"):
        format_span(UNIX, UNIX)


def test_eight_digits_that_are_a_date_are_the_date() -> None:
    assert read_seconds("20261122") == read_seconds("2026-11-22") == 1795305600
    assert read_seconds("20261322") == 20261322  # no month 13
    assert (read_seconds("2026"), read_seconds("12345678"), read_seconds("20261122.0")) == (2026, 12345678, 20261122)
