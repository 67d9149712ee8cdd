"""Cursors: a text that says where a page of matches ended. Users give it back to get the next page.

A cursor names a position in the ranking, not a number of matches to skip. So records that are added or deleted between
two pages neither repeat nor hide other records.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.files import parse_json
from reid_toolkit.gallery.types import Filter

FORMAT = 2
CHECK_BYTES = 4
"""Length of the checksum, which tells a truncated or mistyped cursor from a cursor of another search."""


class Position(NamedTuple):
    """The position of a record in the ranking of all records for a query. Positions are ordered as the ranking. Adding
    or deleting a record does not change the positions of others."""

    distance: float
    """Euclidean distance, 0-2."""
    place: int
    """The number of the record's enrolment. Of equal distances, the record that was enrolled first comes first."""
    digest: str = ""
    """Digest of the record's key, in galleries where records may share a ``place``."""


class Mark(NamedTuple):
    """How far a ranking was shown."""

    rank: int
    """Rank of the last match shown. 0 for none."""
    position: Position | None
    """Position of the last match shown. None for the beginning."""


class Bond(NamedTuple):
    """Digests of the search that a cursor belongs to. It cannot be used in another search."""

    gallery: str
    query: str
    filter: str
    grouping: str
    statistics: str
    """Digest of the camera statistics' version and the query's camera."""


ANOTHER = {
    "gallery": "in another gallery",
    "query": "with another query",
    "filter": "with another filter",
    "grouping": "with another grouping",
    "statistics": "with other camera statistics or for another query camera",
}
"""For each part of the bond, the words that say how the cursor's search differs."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The end of a page."""

    bond: Bond
    marks: Mapping[str, Mark]
    """Marks by camera if each camera is ranked separately, else one mark under ""."""
    shown: frozenset[str] = field(default=frozenset())
    """Digests of the tracklets that were shown, if matches are grouped by tracklet."""

    def __str__(self) -> str:
        marks = [[name, mark.rank, mark.position] for name, mark in sorted(self.marks.items())]
        body = json.dumps([FORMAT, *self.bond, marks, sorted(self.shown)], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(body + _check(body)).decode().rstrip("=")


def bond(
    gallery: str, query: NDArray[np.float32], where: Filter, grouping: str | None, statistics: int, camera: str | None
) -> Bond:
    """The bond of a search: ``query`` (D,) from ``camera``, in the gallery with the identity ``gallery``, with this
    version of camera ``statistics`` (0 for none)."""
    # The cameras of excluded records are left out: a caller may exclude a tracklet in every camera of the gallery, and
    # new cameras may appear between two pages.
    excluded = sorted({(record.source, record.tracklet) for record in where.exclude})
    several = (where.cameras, where.sources, where.tags)
    names = [None if some is None else sorted(set(some)) for some in several]
    times = [None if time is None else float(time) for time in (where.since, where.until)]
    filters = json.dumps([names, times, excluded]).encode()
    # Without statistics, the query's camera has no effect.
    compared = json.dumps([statistics, camera if statistics else None]).encode()
    return Bond(digest(gallery.encode()), digest(query.tobytes()), digest(filters), grouping or "", digest(compared))


def digest(content: bytes) -> str:
    """Eight bytes of BLAKE2b as 11 characters. Eight bytes are enough to tell a million contents apart."""
    return base64.urlsafe_b64encode(hashlib.blake2b(content, digest_size=8).digest()).decode().rstrip("=")


def read_cursor(text: str, expected: Bond) -> Cursor:
    """Read a cursor. Raises :class:`InputError` if ``text`` is malformed or belongs to another search than
    ``expected``."""
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        body = content[:-CHECK_BYTES]
        if _check(body) != content[-CHECK_BYTES:]:
            raise ValueError("checksum")
        number, *made_for, marks, shown = parse_json(body)
        if number != FORMAT:
            raise ValueError("format")
        places = {name: Mark(rank, at and Position(*at)) for name, rank, at in marks}
        cursor = Cursor(Bond(*made_for), places, frozenset(shown))
    except (ValueError, TypeError):
        some = text if len(text) <= 24 else f"{text[:24]}…"
        raise InputError(
            f"cursor {some!r}: incomplete, or made by another version: expected the cursor of the page before; without "
            "a cursor, the search begins again"
        ) from None
    for what, mine, theirs in zip(Bond._fields, expected, cursor.bond, strict=True):
        if mine != theirs:
            raise InputError(
                f"this cursor was made {ANOTHER[what]}: expected the cursor of the page before, of the same search; "
                "without a cursor, the search begins again"
            )
    return cursor


def _check(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=CHECK_BYTES).digest()
