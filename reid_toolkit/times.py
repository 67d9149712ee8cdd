"""Times as text. A record's time is Unix time if it is known, else seconds from the start of its recording.

Times are read and shown in the zone that REID_TIMEZONE names, by default UTC.
"""

import math
import os
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from reid_toolkit.errors import ReidError

ZONE = "REID_TIMEZONE"
UNIX_TIMES = (1e8, 1e11)
"""Seconds in this range are taken for Unix time (1973 to 5138). Smaller numbers count from the start of a recording: no
recording is three years long."""


def is_unix_time(seconds: float) -> bool:
    """Whether ``seconds`` is taken for Unix time, and not for seconds from the start of a recording."""
    return UNIX_TIMES[0] <= seconds <= UNIX_TIMES[1]


def zone() -> tzinfo:
    """The zone of times without an offset, and of times that are shown. Raises :class:`ReidError` if it is unknown."""
    name = os.environ.get(ZONE) or "UTC"
    if name == "UTC":  # works also on systems without a table of zones
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ReidError(f"{ZONE} is {name!r}: unknown time zone: expected a name such as Europe/Berlin") from None


def read_moment(text: str) -> datetime:
    """Read a time in ISO 8601, in :func:`zone` if it has no offset. Raises :class:`ValueError` for other text."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=zone())


def read_seconds(text: str) -> float:
    """A time in seconds: a number, or the Unix time of ISO 8601 (in :func:`zone` if it has no offset).

    Eight digits that are a date, such as 20261122, are read as the date.

    Raises :class:`ValueError` for other text.
    """
    # 20261122 would be 234 days from the start of a recording, and no recording is so long.
    if len(text) == 8 and text.isdecimal() and text > "1973":
        with suppress(ValueError):
            return read_moment(text).timestamp()
    try:
        seconds = float(text)
        if math.isfinite(seconds):
            return seconds
    except ValueError:
        pass
    return read_moment(text).timestamp()


def format_moment(seconds: float, *, to: str = "seconds") -> str:
    """A Unix time as text with its zone, to the second, or with ``to="minutes"`` to the minute."""
    moment = datetime.fromtimestamp(seconds, zone())
    clock = "%H:%M" if to == "minutes" else "%H:%M:%S"
    return f"{moment:%Y-%m-%d {clock}} {label(moment)}"


def format_span(start: float | None, end: float | None) -> str:
    """A time or a span of times as text: with its zone, or in seconds of the recording. Empty if unknown."""
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
    """The offset of a time's zone from UTC, such as "UTC" or "UTC+01:00"."""
    return f"UTC{moment.isoformat()[-6:]}" if moment.utcoffset() else "UTC"
