"""Times as people read them. A record's time is Unix time where that is known, else seconds of its recording."""

from datetime import UTC, datetime

UNIX_TIMES = (1e8, 1e11)
"""Seconds that are taken for Unix time (1973 to 5138), and not for a place in a recording of three years."""


def format_span(start: float | None, end: float | None) -> str:
    """A time or a span of times, in UTC or in seconds of the recording; empty when unknown."""
    if start is None or end is None:
        return ""
    if not UNIX_TIMES[0] <= start <= end <= UNIX_TIMES[1]:
        return f"{start:.1f} s" if start == end else f"{start:.1f}–{end:.1f} s"
    first, last = (datetime.fromtimestamp(time, UTC) for time in (start, end))
    until = f"{last:%H:%M:%S}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M:%S}"
    whole = f"{first:%Y-%m-%d %H:%M:%S}"
    return whole if whole.endswith(until) else f"{whole}–{until}"
