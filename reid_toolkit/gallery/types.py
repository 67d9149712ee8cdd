"""Types of all galleries: choices of records, and reports about a gallery."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.records import Record
from reid_toolkit.times import UNIX_TIMES

DATED_FROM = UNIX_TIMES[0]
"""An end time of at least so many seconds is taken for Unix time."""
EXACT_BELOW = 100_000
"""Galleries with fewer rows have no index. Up to this size, exact search takes 7 ms at most; an index would take
minutes to build and would sometimes miss a record."""
OnProgress = Callable[[int, int | None], None]
"""Called with (done, total). total is None if it is unknown."""
Batch = tuple[list[Record], NDArray[np.float32]]
"""Records and their descriptors, (B, D) float32."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records a search may find: those that pass every filter given here."""

    cameras: Collection[str] | None = None
    """The record's camera is one of these. None for all cameras."""
    since: float | None = None
    """Seconds. The record's time, from start to end, overlaps [since, until]. A record without times never does."""
    until: float | None = None
    sources: Collection[str] | None = None
    """The record's source is one of these, or lies below one, as a file below its folder."""
    tags: Collection[str] = ()
    """The record has all these tags."""
    exclude: Collection[Record] = ()
    """The record does not have the tracklet, camera and source of one of these."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a search compares descriptors."""

    query_cameras: Sequence[str | None] = (None,)
    """The camera of each query, None if unknown."""
    camera_statistics: bool = True
    """Remove each camera's bias from queries and records, if the gallery has camera statistics."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records to delete: those that match all criteria given here. Raises :class:`InputError` if none is
    given."""

    tracklet: str | None = None
    camera: str | None = None
    source: str | None = None
    """The record's source is this, or lies below it."""
    before: float | None = None
    """Unix time: the record was last seen, or enrolled, before it. If a record has no Unix times (only times within a
    recording, or none), only its enrolment counts."""
    keep_undated: bool = False
    """Keep those records that ``before`` chooses but that have no Unix times."""

    def __post_init__(self) -> None:
        if all(value is None for value in (self.tracklet, self.camera, self.source, self.before)):
            raise InputError("no records were chosen: expected a tracklet, a camera, a source or a time")
        if self.before is not None and math.isnan(self.before):  # SQLite would take NaN for NULL
            raise InputError("before is nan: expected a Unix time")


def is_past(record: Record, kept_since: float | None) -> bool:
    """Whether a record was last seen before the Unix time ``kept_since``. False if that is None (no retention)."""
    return kept_since is not None and record.end is not None and DATED_FROM <= record.end < kept_since


class Stored(NamedTuple):
    """A stored record and its descriptor."""

    record: Record
    vector: NDArray[np.float32]
    """(D,), with the bias of its camera."""


@dataclass(frozen=True, slots=True)
class Info:
    """What a gallery holds."""

    path: str
    """The folder or address."""
    count: int
    dimension: int | None
    """Width of the descriptors. None if nothing was added yet."""
    model: str | None
    """Fingerprint of the model that made the descriptors. None if unknown."""
    model_file: str | None
    cameras: dict[str, int]
    """Records of each camera."""
    sources: dict[str, int]
    tags: dict[str, int]
    first: float | None
    """Earliest start, seconds."""
    last: float | None
    """Latest end, seconds."""
    bytes: int | None
    """Size of all its files. None if they cannot be seen."""
    index: dict[str, Any] | None
    """The index: how many records it covers, its settings, and the recall that was measured when it was built. None if
    searches are exact."""
    retention: float | None
    """Seconds after which a record is hidden from searches. None for never."""
    past: int
    """Records past the retention that are not deleted yet."""
    audit: dict[str, Any] | None
    """The audit log: whether it is on, its number of lines, and the digest of the last line. None if there is none."""
    statistics: dict[str, Any] | None
    """Camera statistics: "version" that searches use, "newest" version (higher until the index is built again),
    "fitted" (Unix time), "cameras" (how many) and "digest". None if searches use none."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """A damaged record."""

    id: int
    why: str
    source: str | None
    """Source, tracklet and camera say what to enroll again. None if they are lost."""
    tracklet: str | None
    camera: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """The result of :meth:`Gallery.check`."""

    count: int
    """Number of records that should exist."""
    whole: int
    """Number of records that were read and match their checksums."""
    damaged: tuple[Damaged, ...]
    missing: int
    """Number of records that are counted but stored in no page of the file."""
    pages: tuple[str, ...]
    """Faults that SQLite finds in the file's pages and indexes."""
    index: str
    """"none", "whole", "damaged", or "stale" (of another state of the gallery). Searches do not use a damaged or stale
    index. No record is lost by it, and it is built again."""
    audit: tuple[str, ...] = ()
    """Faults in the audit log."""
    statistics: str = "none"
    """Camera statistics: "none", "whole" or "damaged". No record is lost by damage, and they can be fitted again."""

    @property
    def sound(self) -> bool:
        """Whether no record is damaged or missing, and SQLite's structures, the audit log and the camera statistics are
        undamaged. The index does not count."""
        lost = self.damaged or self.missing or self.pages or self.audit
        return not lost and self.statistics != "damaged"
