"""How many different people there were, with an interval."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from reid_toolkit.gallery.people_table import Membership
from reid_toolkit.records import Record
from reid_toolkit.times import UNIX_TIMES, zone

UNDATED = "no date"


@dataclass(frozen=True)
class Count:
    """Different people among some records."""

    by: tuple[str, ...]
    """What the records have in common, such as a day and a camera."""
    people: int
    low: int
    """The count if grouping goes on longer, or ``people`` if that is less."""
    high: int
    """The count if grouping stops earlier, or ``people`` if that is more."""
    records: int


def day_of(record: Record) -> str:
    """The day on which a record begins, in the zone of REID_TIMEZONE."""
    return _moment(record, "%Y-%m-%d")


def hour_of(record: Record) -> str:
    return _moment(record, "%Y-%m-%d %H:00")


def camera_of(record: Record) -> str:
    return record.camera


PARTS: dict[str, Callable[[Record], str]] = {"day": day_of, "hour": hour_of, "camera": camera_of}


def count_people(records: Sequence[tuple[Record, Membership]], by: Sequence[str]) -> list[Count]:
    """Count different people for each combination of ``by``, which are names of PARTS, sorted."""
    groups: defaultdict[tuple[str, ...], list[Membership]] = defaultdict(list)
    for record, membership in records:
        groups[tuple(PARTS[part](record) for part in by)].append(membership)
    counts = []
    for key, members in sorted(groups.items()):
        people, strict, loose = (len(set(column)) for column in zip(*members, strict=True))
        counts.append(Count(key, people, min(loose, people), max(strict, people), len(members)))
    return counts


def _moment(record: Record, pattern: str) -> str:
    if record.start is None or not UNIX_TIMES[0] <= record.start <= UNIX_TIMES[1]:
        return UNDATED
    return datetime.fromtimestamp(record.start, zone()).strftime(pattern)
