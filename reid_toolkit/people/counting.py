"""How many different people there were, with an interval."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from reid_toolkit.gallery.people_table import Membership
from reid_toolkit.records import Record
from reid_toolkit.times import is_unix_time, label, zone

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


class Part(NamedTuple):
    """What records have in common: equal parts are counted together."""

    order: str
    """Parts are sorted by this, and then by the text."""
    text: str


def day_of(record: Record) -> Part:
    """The day on which a record begins, in the zone of REID_TIMEZONE."""
    moment = _moment(record)
    text = UNDATED if moment is None else f"{moment:%Y-%m-%d}"
    return Part(text, text)


def hour_of(record: Record) -> Part:
    """The hour in which a record begins. If clocks are set back in it, there are two of it, and the offset is said."""
    moment = _moment(record)
    if moment is None:
        return Part(UNDATED, UNDATED)
    text = f"{moment:%Y-%m-%d %H:00}"
    first, last = moment.replace(minute=0, second=0, fold=0), moment.replace(minute=59, second=59, fold=1)
    if first.utcoffset() != last.utcoffset():
        text = f"{text} {label(moment)}"
    begin = moment.astimezone(UTC) - timedelta(minutes=moment.minute)
    return Part(f"{begin:%Y-%m-%d %H:%M}", text)


def camera_of(record: Record) -> Part:
    return Part(record.camera, record.camera)


PARTS: dict[str, Callable[[Record], Part]] = {"day": day_of, "hour": hour_of, "camera": camera_of}


def count_people(records: Sequence[tuple[Record, Membership]], by: Sequence[str]) -> list[Count]:
    """Count different people for each combination of ``by``, which are names of PARTS, in order."""
    groups: defaultdict[tuple[Part, ...], list[Membership]] = defaultdict(list)
    for record, membership in records:
        groups[tuple(PARTS[part](record) for part in by)].append(membership)
    counts = []
    for key, members in sorted(groups.items()):
        people, strict, loose = (len(set(column)) for column in zip(*members, strict=True))
        by_text = tuple(part.text for part in key)
        counts.append(Count(by_text, people, min(loose, people), max(strict, people), len(members)))
    return counts


def _moment(record: Record) -> datetime | None:
    """When a record begins. None without a date."""
    if record.start is None or not is_unix_time(record.start):
        return None
    return datetime.fromtimestamp(record.start, zone())
