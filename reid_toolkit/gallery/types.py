"""What every gallery takes and gives: choices of records, and what a gallery says of itself."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.records import Record
from reid_toolkit.times import UNIX_TIMES

DATED_FROM = UNIX_TIMES[0]
"""Seconds from which on an end is taken for Unix time."""
EXACT_BELOW = 100_000
"""Rows from which on an index is made. Below, exact search takes 7 ms at most; an index would take minutes to
build and now and then miss somebody."""
OnProgress = Callable[[int, int | None], None]
"""Called with (done, total); total is None when it cannot be known."""
Batch = tuple[list[Record], NDArray[np.float32]]
"""Records and their descriptors, (B, D) float32."""


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
class Selection:
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


@dataclass(frozen=True, slots=True)
class Info:
    """What a gallery holds."""

    path: str
    """The folder, or the address."""
    count: int
    dimension: int | None
    """None as long as nothing was added."""
    model: str | None
    """Fingerprint of the model its descriptors come from; None when it was never told."""
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
    """Size of all its files; None where they are out of sight."""
    index: dict[str, Any] | None
    """The index: how many records it covers, its settings, and the recall that was checked when it was built;
    None where search is exact."""
    retention: float | None
    """Seconds after which a record is not shown any more; None for ever."""
    past: int
    """Records that are past it, and wait for the next writer to delete them."""
    audit: dict[str, Any] | None
    """The audit log: whether it is on, how many lines it has, and the digest of the last; None where there is none."""
    statistics: dict[str, Any] | None
    """Camera statistics: "version" that searches use, "newest" (another while an index is not rebuilt yet), "fitted"
    (Unix time), "cameras" (how many) and "digest"; None where searches use none."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """One record that cannot be used."""

    id: int
    why: str
    source: str | None
    """With tracklet and camera: what to enroll again; None where no part of the file knows it any more."""
    tracklet: str | None
    camera: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """What :meth:`Gallery.check` found."""

    count: int
    """Records that there should be."""
    whole: int
    """Records that were read and fit their checksums."""
    damaged: tuple[Damaged, ...]
    missing: int
    """Records that are counted but that no page holds."""
    pages: tuple[str, ...]
    """What SQLite finds wrong in the file's pages and indexes."""
    index: str
    """"none", "whole", "damaged", or "stale": of another state of the gallery. Searches pass over the last two, which
    cost no record: it is made again."""
    audit: tuple[str, ...] = ()
    """What does not fit in the audit log."""
    statistics: str = "none"
    """Camera statistics: "none", "whole", or "damaged", which costs no record: they can be fitted anew."""

    @property
    def sound(self) -> bool:
        """Whether every record is there and whole, and so are SQLite's own structures and the audit log."""
        lost = self.damaged or self.missing or self.pages or self.audit
        return not lost and self.statistics != "damaged"
