"""Times as people write and read them. A record's time is Unix time where that is known, else seconds of its recording.

Their zone is UTC, or the one that REID_TIMEZONE names.
"""

import os
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from reid_toolkit.errors import ReidError

ZONE = "REID_TIMEZONE"
UNIX_TIMES = (1e8, 1e11)
"""Seconds that are taken for Unix time (1973 to 5138), and not for a place in a recording of three years."""


def zone() -> tzinfo:
    """Of times without an offset, and of those that are shown. Raises :class:`ReidError` for one that is not known."""
    name = os.environ.get(ZONE) or "UTC"
    if name == "UTC":  # known also where the system has no table of zones
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ReidError(f"{ZONE} is {name!r}: no time zone known here: expected one such as Europe/Berlin") from None


def read_moment(text: str) -> datetime:
    """A time in ISO 8601, in :func:`zone` where it has no offset; raises :class:`ValueError` for anything else."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=zone())


def format_moment(seconds: float, *, to: str = "seconds") -> str:
    """A Unix time with its zone, to the second, or to the minute with ``to="minutes"``."""
    moment = datetime.fromtimestamp(seconds, zone())
    clock = "%H:%M" if to == "minutes" else "%H:%M:%S"
    return f"{moment:%Y-%m-%d {clock}} {label(moment)}"


def format_span(start: float | None, end: float | None) -> str:
    """A time or a span of times, with its zone, or in seconds of the recording; empty when unknown."""
    if start is None or end is None:
        return ""
    if not UNIX_TIMES[0] <= start <= end <= UNIX_TIMES[1]:
        return f"{start:.1f} s" if start == end else f"{start:.1f}–{end:.1f} s"
    first, last = (datetime.fromtimestamp(time, zone()) for time in (start, end))
    if first.utcoffset() != last.utcoffset():
        return f"{format_moment(start)}–{format_moment(end)}"
    until = f"{last:%H:%M:%S}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M:%S}"
    whole = f"{first:%Y-%m-%d %H:%M:%S}"
    return f"{whole if whole.endswith(until) else f'{whole}–{until}'} {label(last)}"


def label(moment: datetime) -> str:
    """How far its zone is from UTC: "UTC", "UTC+01:00"."""
    return f"UTC{moment.isoformat()[-6:]}" if moment.utcoffset() else "UTC"
