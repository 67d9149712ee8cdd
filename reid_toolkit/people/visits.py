"""Where people were: their visits in the order of time, and how long people take from camera to camera."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from reid_toolkit.people.origins import dataset_of, is_dated, recording_of
from reid_toolkit.records import Record

GAP = 60.0
"""Records of a person in one camera with less than so many seconds between them are one visit."""
LONGEST_MOVE = 3600.0
"""Two visits with more seconds between them are not a move: the person was elsewhere meanwhile."""


@dataclass(frozen=True)
class Visit:
    """A person in a camera for a while."""

    camera: str
    start: float | None
    """Seconds, as in :class:`Record`. None if unknown."""
    end: float | None
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Route:
    """Moves of people from a camera to another."""

    start: str
    end: str
    moves: int
    shortest: float
    """The time that one move in twenty is shorter than, seconds."""
    median: float
    longest: float
    """The time that one move in twenty is longer than, seconds."""


def visits_of(records: Iterable[Record]) -> list[Visit]:
    """The visits of a person whom ``records`` show, by time. Records without times are a visit each, and come last.

    Times that count from the start of a recording are only compared within their recording. A visit goes on although
    another camera sees the person meanwhile.
    """
    found: list[Visit] = []
    for _, part in groupby(sorted(records, key=_by_time), key=_clock):
        cameras: defaultdict[str, list[Record]] = defaultdict(list)
        for record in part:
            cameras[record.camera].append(record)
        visits = [visit for seen in cameras.values() for visit in _joined(seen)]
        found += sorted(visits, key=lambda visit: (visit.start or 0.0, visit.camera))
    return found


def seen_of(records: Sequence[Record]) -> tuple[float | None, float | None]:
    """When records begin and end, the first and the last of them, None if unknown.

    If any of them are dated, only these count: seconds of a recording cannot be compared with Unix times.
    """
    counted = [record for record in records if is_dated(record)] or records
    starts = [record.start for record in counted if record.start is not None]
    ends = [record.end for record in counted if record.end is not None]
    return min(starts, default=None), max(ends, default=None)


def routes_of(people: Mapping[int, Sequence[Record]], *, direct: bool = True) -> list[Route]:
    """The routes that people took between cameras, the most frequent first. Only Unix times are compared.

    A move is from a stay to the next. A stay is a visit, but ends when another camera sees the person, because who goes
    to and fro between two cameras has moved each time. With ``direct=False``, a move is from a stay to the next in each
    other camera, whatever cameras are between, so that the shortest time is that of any two cameras.

    Wrong groups make wrong moves, so the least time of a route is not taken for certain: one move in twenty may be
    shorter than ``shortest``. A person whom two cameras see at once has moved in 0 seconds.
    """
    moves: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for records in people.values():
        dated = [record for record in records if not _clock(record)]
        stays = list(_joined(sorted(dated, key=_by_time)))
        for one, other in pairwise(stays) if direct else following(stays):
            if one.camera != other.camera and one.end is not None and other.start is not None:
                seconds = max(0.0, other.start - one.end)
                if seconds <= LONGEST_MOVE:
                    moves[one.camera, other.camera].append(seconds)
    routes = [
        Route(start, end, len(times), *(float(value) for value in np.quantile(times, (0.05, 0.5, 0.95))))
        for (start, end), times in moves.items()
    ]
    return sorted(routes, key=lambda route: (-route.moves, route.start, route.end))


def following(visits: Sequence[Visit]) -> Iterator[tuple[Visit, Visit]]:
    """Each visit with the next visit in each camera."""
    after: dict[str, Visit] = {}
    for one in reversed(visits):
        for other in after.values():
            yield one, other
        after[one.camera] = one


def _by_time(record: Record) -> tuple[str, float, str, str]:
    return _clock(record), record.start or 0.0, record.camera, record.tracklet


def _clock(record: Record) -> str:
    """What a record's time counts from: empty for Unix time, which sorts first."""
    if record.start is None or record.end is None:
        return "\U0010ffff"
    # If the recording is unknown, the clock is the tracklet's own.
    return "" if is_dated(record) else recording_of(record) or f"{dataset_of(record)}\0{record.tracklet}"


def _joined(records: Iterable[Record]) -> Iterator[Visit]:
    """Join records of one clock, which are in order, as long as each continues the one before."""
    current: list[Record] = []
    for record in records:
        if current and not _continues(current, record):
            yield _visit(current)
            current = []
        current.append(record)
    if current:
        yield _visit(current)


def _continues(visit: Sequence[Record], record: Record) -> bool:
    if record.camera != visit[-1].camera or record.start is None:
        return False
    return record.start - max(one.end or 0.0 for one in visit) < GAP


def _visit(records: Sequence[Record]) -> Visit:
    return Visit(records[0].camera, *seen_of(records), tuple(records))
