"""Where a page of answers ended, as a text that users hand back to get the next one.

It names the place behind which to go on, and not how many to skip: so records that are added or deleted between two
pages neither repeat nor hide any other.
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
"""Of the checksum: a cursor that was cut short or mistyped is told from one of another search."""


class Position(NamedTuple):
    """A place in the ranking of all records for one query. Positions compare as the ranking goes, and adding or
    deleting a record moves no other's."""

    distance: float
    """Euclidean, 0-2."""
    place: int
    """The number under which it was enrolled: of equal distances the earlier enrolled comes first."""
    digest: str = ""
    """Of its key, where records may share a ``place``."""


class Mark(NamedTuple):
    """How far one ranking was shown."""

    rank: int
    """Of the last match shown; 0 of none."""
    position: Position | None
    """Behind which to go on; None for the beginning."""


class Bond(NamedTuple):
    """What a cursor belongs to, as digests; it means nothing elsewhere."""

    gallery: str
    query: str
    filter: str
    grouping: str
    statistics: str
    """Of the camera statistics' version and the query's camera."""


ANOTHER = {
    "gallery": "in another gallery",
    "query": "with another query",
    "filter": "with another filter",
    "grouping": "with another grouping",
    "statistics": "with other camera statistics or for another query camera",
}
"""How a cursor is of another search, by the part of its bond that differs."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The end of a page."""

    bond: Bond
    marks: Mapping[str, Mark]
    """By the name of the camera where each is ranked apart, else by ""."""
    shown: frozenset[str] = field(default=frozenset())
    """Digests of the tracklets that were shown, where they are shown once."""

    def __str__(self) -> str:
        marks = [[name, mark.rank, mark.position] for name, mark in sorted(self.marks.items())]
        body = json.dumps([FORMAT, *self.bond, marks, sorted(self.shown)], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(body + _check(body)).decode().rstrip("=")


def bond(
    gallery: str, query: NDArray[np.float32], where: Filter, grouping: str | None, statistics: int, camera: str | None
) -> Bond:
    """Of one search: ``query`` (D,) from ``camera`` in the gallery of this identity, compared by the ``statistics`` of
    this version; 0 for none."""
    # Of what is excluded the camera is left out: it may stand for "in any camera there is", and more come up.
    excluded = sorted({(record.source, record.tracklet) for record in where.exclude})
    several = (where.cameras, where.sources, where.tags)
    names = [None if some is None else sorted(set(some)) for some in several]
    times = [None if time is None else float(time) for time in (where.since, where.until)]
    filters = json.dumps([names, times, excluded]).encode()
    # Without statistics the query's camera changes nothing.
    compared = json.dumps([statistics, camera if statistics else None]).encode()
    return Bond(digest(gallery.encode()), digest(query.tobytes()), digest(filters), grouping or "", digest(compared))


def digest(content: bytes) -> str:
    """Eight bytes of BLAKE2b, which tell a million apart, as 11 characters."""
    return base64.urlsafe_b64encode(hashlib.blake2b(content, digest_size=8).digest()).decode().rstrip("=")


def read_cursor(text: str, expected: Bond) -> Cursor:
    """The cursor that ``text`` is; raises :class:`InputError` when it is none, or of another search."""
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
            f"cursor {some!r}: not whole, or of another version: expected the text that the page before ended with; "
            "without one, search begins anew"
        ) from None
    for what, mine, theirs in zip(Bond._fields, expected, cursor.bond, strict=True):
        if mine != theirs:
            raise InputError(
                f"this cursor was made {ANOTHER[what]}: expected the one that this very search ended with; "
                "without one, search begins anew"
            )
    return cursor


def _check(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=CHECK_BYTES).digest()
