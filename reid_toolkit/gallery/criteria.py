"""Which records are meant."""

from collections.abc import Collection
from dataclasses import dataclass

from reid_toolkit.records import Record


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
