"""Which records: those that a search looks among, and those that are to be deleted."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from reid_toolkit.errors import InputError
from reid_toolkit.records import Record
from reid_toolkit.times import UNIX_TIMES

DATED_FROM = UNIX_TIMES[0]
"""Seconds from which on an end is taken for Unix time."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records a search looks among: those that pass all that is given here."""

    cameras: Collection[str] | None = None
    """Seen by one of these; None for all."""
    since: float | None = None
    """Seconds. The record's time, from start to end, overlaps [since, until]; one without times never does."""
    until: float | None = None
    sources: Collection[str] | None = None
    """From one of these. A source stands for itself and for everything below it, as a folder for its files."""
    tags: Collection[str] = ()
    """Carrying every one of these."""
    exclude: Collection[Record] = ()
    """Not of the tracklet, camera and source of one of these."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How descriptors of one search are compared."""

    query_cameras: Sequence[str | None] = (None,)
    """The camera of each query; None where it is not known."""
    camera_statistics: bool = True
    """Free queries and records of their camera's bias, where the gallery has statistics for it."""


@dataclass(frozen=True, slots=True)
class Which:
    """Which records to delete: those that match all that is given here; raises :class:`InputError` when nothing is."""

    tracklet: str | None = None
    camera: str | None = None
    source: str | None = None
    """A source stands for itself and for everything below it."""
    before: float | None = None
    """Unix time. Seen last before it, or enrolled before it. Times in a recording, which are no Unix times, do not
    tell when that was: of these records, and of those without times, only the enrolment counts."""
    keep_undated: bool = False
    """Of what ``before`` chooses, leave those whose times are no Unix times."""

    def __post_init__(self) -> None:
        if all(value is None for value in (self.tracklet, self.camera, self.source, self.before)):
            raise InputError("nothing chosen: expected a tracklet, a camera or a source")
        if self.before is not None and math.isnan(self.before):  # which SQLite takes for no time at all
            raise InputError("before is nan: expected a Unix time")


def is_past(record: Record, kept_since: float | None) -> bool:
    """Whether a record would be past a gallery's retention as soon as it is enrolled; None for no retention."""
    return kept_since is not None and record.end is not None and DATED_FROM <= record.end < kept_since
