"""Lengths of time as people write them: 12h, 30d, 4w."""

import re
import time

import click

from reid_toolkit.times import read_moment

UNITS = {"w": 7 * 86_400, "d": 86_400, "h": 3_600, "m": 60}
"""Seconds in each."""
LONGEST = 1e10
"""Seconds, three centuries: times before are no dates any more."""


def parse_duration(text: str) -> float:
    """Seconds; raises :class:`click.BadParameter` for what is no length of time, or none at all."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([wdhm])", text.strip())
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= LONGEST:
        raise click.BadParameter(f"{text!r}: expected a length of time such as 90m, 12h, 30d or 4w")
    return seconds


def parse_moment(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """The Unix time so long ago, or the ISO 8601 time itself, without an offset in the zone that is set; none that is
    to come."""
    if value is None:
        return None
    try:
        seconds = read_moment(value).timestamp()
    except ValueError:
        return time.time() - parse_duration(value)
    if seconds > time.time():
        raise click.BadParameter(f"{value!r} is still to come: everything would be older")
    if seconds < time.time() - LONGEST:
        raise click.BadParameter(f"{value!r} is over three centuries ago: expected a time of some record")
    return seconds


def format_duration(seconds: float) -> str:
    """As :func:`parse_duration` reads it, in the largest unit that needs no fraction."""
    for unit, length in UNITS.items():
        if seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds / UNITS['m']:g}m"
