"""Which records cannot show one person, by their times, and which belong together in any case."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.method.constraints import cannot_link_pairs
from reid_toolkit.people.origins import dataset_of, is_dated, is_single_crop, recording_of
from reid_toolkit.records import Record
from reid_toolkit.times import UNIX_TIMES, is_unix_time

LeastTimes = Mapping[tuple[str, str], float]
"""The least seconds that anybody needs between two cameras; the names of a pair are sorted."""
CropsOf = tuple[str, str, str]
"""Camera, tracklet and dataset, which single crops of one tracklet have in common."""


def seen_at_once(records: Sequence[Record]) -> NDArray[np.int64]:
    """Pairs (M, 2) of records that one camera saw at the same moment, so that they show two people.

    Only records of one dataset are compared. If the same footage was enrolled from two datasets, one person has two
    records at the same moment. Records without Unix times are compared within their recording, if that is known.
    """
    clocks = [dataset_of(record) if is_dated(record) else recording_of(record) or None for record in records]
    places = [f"{record.camera}\0{clock}" for record, clock in zip(records, clocks, strict=True)]
    start, end = times_of(records)
    start[np.array([clock is None for clock in clocks], bool)] = np.nan
    return cannot_link_pairs(places, start, end) if records else np.empty((0, 2), np.int64)


def impossible_moves(records: Sequence[Record], least: LeastTimes) -> NDArray[np.int64]:
    """Pairs (M, 2) of records in two cameras with less time between them than anybody needs.

    Records without Unix times are left out, because the clocks of two recordings cannot be compared.
    """
    start, end = times_of(records)
    start[~((start >= UNIX_TIMES[0]) & (end <= UNIX_TIMES[1]))] = np.nan
    camera = np.array([record.camera for record in records])
    found = [np.empty((0, 2), np.int64)]
    for (one, other), seconds in least.items():
        rows = np.flatnonzero(np.isin(camera, (one, other)))
        # Two records are too near in time if they overlap after each has been made longer by the least time.
        pairs = rows[cannot_link_pairs(["pair"] * len(rows), start[rows], end[rows] + seconds)]
        first, second = pairs.T
        between = np.maximum(start[first], start[second]) - np.minimum(end[first], end[second])
        found.append(pairs[(camera[first] != camera[second]) & (between < seconds)])
    return np.unique(np.concatenate(found), axis=0)


def too_soon(record: Record, camera: str, start: float, end: float, least: LeastTimes) -> bool:
    """Whether nobody can have been both in a record and before ``camera`` from ``start`` to ``end``.

    False if one of the times is no Unix time, because the clocks of two recordings cannot be compared.
    """
    seconds = least.get((min(record.camera, camera), max(record.camera, camera)))
    if seconds is None or record.camera == camera or record.start is None or record.end is None:
        return False
    if not (is_dated(record) and is_unix_time(start) and is_unix_time(end)):
        return False
    return max(record.start, start) - min(record.end, end) < seconds


def times_of(records: Sequence[Record]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Starts and ends (N,) in seconds, NaN where unknown."""
    unknown = float("nan")
    both = [
        (unknown, unknown) if record.start is None or record.end is None else (record.start, record.end)
        for record in records
    ]
    start, end = np.array(both, np.float64).reshape(-1, 2).T
    return start.copy(), end.copy()


def together(records: Sequence[Record], links: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Number (N,) the groups of records that belong together: linked by ``links``, or crops of one tracklet that were
    enrolled singly."""
    first: dict[CropsOf, int] = {}
    crops = ((row, tracklet_of_crop(record)) for row, record in enumerate(records))
    ties = [(first.setdefault(tracklet, row), row) for row, tracklet in crops if tracklet is not None]
    return linked(len(records), [*links, *ties])


def tracklet_of_crop(record: Record) -> CropsOf | None:
    """The tracklet of a crop that was enrolled singly. None for a record of a whole tracklet."""
    return (record.camera, record.tracklet, dataset_of(record)) if is_single_crop(record) else None


def linked(count: int, links: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Give the records that ``links`` tie the number of the first of them, (count,)."""
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for pair in links:
        a, b = sorted(map(root, pair))
        parent[b] = a
    return np.array([root(row) for row in range(count)], np.int64)
