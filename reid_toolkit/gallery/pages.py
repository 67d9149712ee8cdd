"""Search results in pages: by record, by tracklet or by camera. A cursor leads to the next page."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.gallery.cursor import Bond, Cursor, Mark, Position, bond, digest, read_cursor
from reid_toolkit.gallery.types import Comparison, Filter, Info
from reid_toolkit.gallery.validation import checked_queries
from reid_toolkit.records import Match, Record

Grouping = Literal["tracklet", "camera"]
"""One match per tracklet, or the best matches of each camera."""
GROUPINGS = ("tracklet", "camera")
DEEPER = 4
"""If the records found so far belong to too few tracklets, so many times as many records are searched for."""
BEGINNING = Mark(0, None)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a ranking, and the cursor of the next part."""

    matches: tuple[Match, ...]
    """The nearest first; ranks continue from the page before. Grouped by camera: one camera after the other, beginning
    with the camera of the nearest match, and ranks count within the camera."""
    crops: tuple[tuple[Match, ...], ...] | None
    """Grouped by tracklet: for each match, the records of its tracklet that are nearer than the tracklets after this
    page, the match included, nearest first and ranked within the tracklet. Else None."""
    after: str | None
    """The cursor of the next page. None if this is the last page."""
    statistics_version: int = 0
    """Version of the camera statistics that were used. 0 for none."""


class Ranking(Protocol):
    """The methods of a gallery that this module needs."""

    @property
    def identity(self) -> str: ...

    def info(self) -> Info: ...

    def statistics_version(self, how: Comparison) -> int: ...


SearchAfter = Callable[[NDArray[np.float32], int, Filter, Position | None], list[tuple[Match, Position]]]
"""Gives the next matches of a ranking, after a position in it."""


def page_of(
    gallery: Ranking,
    search: SearchAfter,
    vector: NDArray,
    top_k: int,
    where: Filter,
    group: Grouping | None,
    after: str | None,
    how: Comparison,
) -> Page:
    """See :meth:`GalleryStore.search_page`. ``search`` is the search of that gallery; ``vector`` is (1, D)."""
    if group is not None and group not in GROUPINGS:
        raise InputError(f"group is {group!r}: expected 'tracklet', 'camera' or None")
    query = checked_queries(vector, top_k, where)[0]
    while True:
        version = gallery.statistics_version(how)
        made_for = bond(gallery.identity, query, where, group, version, how.query_cameras[0])
        page = _page(gallery, search, query, top_k, where, group, after, made_for)
        # If the statistics have changed meanwhile, the page may mix two versions, so it is made again.
        if gallery.statistics_version(how) == version:
            return replace(page, statistics_version=version)


def _page(
    gallery: Ranking,
    search: SearchAfter,
    query: NDArray[np.float32],
    top_k: int,
    where: Filter,
    group: Grouping | None,
    after: str | None,
    made_for: Bond,
) -> Page:
    held = read_cursor(after, made_for) if after is not None else None
    if group == "camera":
        known = None if held is None else held.marks
        if known is None:
            cameras: Collection[str] = gallery.info().cameras if where.cameras is None else where.cameras
            known = dict.fromkeys(cameras, BEGINNING)
            if not known:
                search(query, 1, where, None)  # raises an error that says why there is nothing
        matches, marks = _each_camera(search, query, top_k, where, known)
        return Page(matches, None, str(Cursor(made_for, marks)) if marks else None)
    begin, shown = (held.marks[""], held.shown) if held else (BEGINNING, frozenset[str]())
    if group == "tracklet":
        return _tracklets(search, query, top_k, where, Cursor(made_for, {"": begin}, shown))
    found, mark = _next(search, query, top_k, where, begin)
    return Page(tuple(match for match, _ in found), None, str(Cursor(made_for, {"": mark})) if mark else None)


def _next(
    search: SearchAfter, query: NDArray[np.float32], top_k: int, where: Filter, begin: Mark
) -> tuple[list[tuple[Match, Position]], Mark | None]:
    """Up to ``top_k`` matches after ``begin`` with their positions, and the next mark; None if nothing follows."""
    # Search for one more, to know whether there is another page.
    found = search(query, top_k + 1, where, begin.position)
    shown = [(replace(match, rank=begin.rank + match.rank), at) for match, at in found[:top_k]]
    return shown, Mark(begin.rank + top_k, shown[-1][1]) if len(found) > top_k else None


def _each_camera(
    search: SearchAfter, query: NDArray[np.float32], top_k: int, where: Filter, known: Mapping[str, Mark]
) -> tuple[tuple[Match, ...], dict[str, Mark]]:
    """``_next`` for each camera."""
    sections, marks = [], {}
    for camera, begin in known.items():
        found, mark = _next(search, query, top_k, replace(where, cameras=[camera]), begin)
        if found:
            sections.append(found)
        if mark:
            marks[camera] = mark
    sections.sort(key=lambda section: section[0][1])
    return tuple(match for section in sections for match, _ in section), marks


def _tracklets(search: SearchAfter, query: NDArray[np.float32], top_k: int, where: Filter, cursor: Cursor) -> Page:
    """Read the ranking until it has ``top_k`` tracklets that no earlier page has shown, and the first tracklet of the
    next page."""
    rank, position = cursor.marks[""]
    found: dict[str, list[Match]] = {}
    ask, after, more = DEEPER * top_k, None, True
    while more and after is None:
        deeper = search(query, ask, where, position)
        for match, at in deeper:
            tracklet = tracklet_digest(match.record)
            if tracklet not in cursor.shown:
                if tracklet not in found and len(found) == top_k:
                    shown = cursor.shown | found.keys()
                    after = str(Cursor(cursor.bond, {"": Mark(rank + top_k, position)}, shown))
                    break
                crops = found.setdefault(tracklet, [])
                crops.append(replace(match, rank=len(crops) + 1))
            position = at
        more = len(deeper) == ask
        ask *= DEEPER
    best = tuple(replace(crops[0], rank=rank + number) for number, crops in enumerate(found.values(), start=1))
    return Page(best, tuple(map(tuple, found.values())), after)


def tracklet_digest(record: Record) -> str:
    """A text that is the same for all crops of a tracklet.

    Names of tracklets are unique only within a dataset, so the source is part of it. The source of a crop that was
    enrolled singly is its file, not its dataset, so its folder is used.
    """
    source = record.source
    if source and source == record.image:
        source = str(PurePosixPath(source).parent)
    words = (record.tracklet, record.camera, source)
    return digest(b"".join(len(word).to_bytes(8, "little") + word for word in map(str.encode, words)))
