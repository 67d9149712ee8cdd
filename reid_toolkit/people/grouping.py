"""Groups descriptors into people: merging by the neighbours that records share. Needs no label.

The method is that of training (``method/neighbours.py``, ``method.merging.merge_neighbours``): records are similar if
they have the same neighbours in their own and in other cameras, and the two groups whose merge costs least by
dispersion-based clustering are merged, again and again, until that cost exceeds a limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.method.merging import merge_neighbours
from reid_toolkit.method.neighbours import camera_aware_similarity
from reid_toolkit.people.reach import AROUND, Farthest, Reach, estimate_reach, place_within, surroundings

STRICT, USUAL, LOOSE = 0.5, 0.8, 0.9
"""Merging stops when the cheapest merge costs more than this (0-1; docs/people.md says how they were chosen). The first
and the last give the lower and the upper end of counts."""
SURE_OWN, SURE_OTHER = 3, 8
"""Neighbours of a record in its own camera and in others, for the first, strict groups."""
TRADE_OFF = 0.1
"""λ of Eq. 5, as in training."""


@dataclass(frozen=True)
class Merge:
    """Two groups that were merged, or would be merged next."""

    first: int
    """A record of one group: its smallest index."""
    second: int
    """A record of the other group."""
    cost: float
    """0-1. Small for groups that surely show one person."""


@dataclass(frozen=True)
class Grouping:
    """Groups of records, (N,) int64 each, numbered from 0."""

    labels: NDArray[np.int64]
    strict: NDArray[np.int64]
    loose: NDArray[np.int64]
    merges: tuple[Merge, ...]
    """In order, up to the loose groups."""


def group(
    descriptors: NDArray[np.float32],
    cameras: Sequence[str],
    *,
    start: NDArray[np.int64] | None = None,
    cannot_link: NDArray[np.int64] | None = None,
    marks: NDArray[np.int64] | None = None,
    reach: Reach | None = None,
    farthest: Farthest | None = None,
    limit: float = LOOSE,
) -> Grouping:
    """Group records that show the same person.

    Args:
        descriptors: (N, D), unit rows, without their cameras' bias if that is known.
        cameras: N names.
        start: (N,) integers, equal for records that belong together in any case. None if nothing is known.
        cannot_link: (M, 2) pairs of records of different people. No group contains such a pair.
        marks: (N,) integers, equal for records of one known person, -1 for others. No group contains two known people.
        reach: which records may be neighbours. None to estimate it from these records: once from all, then again with
            the strict groups that the first estimate gives.
        farthest: the largest distances of neighbours from a calibration, which are then not estimated.
        limit: the cost at which merging stops. Levels above it are not reached.
    """
    count = len(descriptors)
    start = np.arange(count) if start is None else after(start, ())
    cannot_link = np.empty((0, 2), np.int64) if cannot_link is None else cannot_link
    if not may_merge(start, cannot_link, marks):
        return Grouping(start, start, start, ())
    if reach is None:
        reach = reach_by_sure_groups(descriptors, cameras, start, cannot_link, marks, farthest)
    similarity = camera_aware_similarity(
        descriptors, cameras, within=reach.own, across=reach.other, farthest=reach.farthest, surely=reach.surely
    )
    merging = merge_neighbours(
        similarity, start, until=limit, trade_off=TRADE_OFF, cannot_link=cannot_link, marks=marks
    )
    merges = tuple(Merge(int(a), int(b), float(cost)) for a, b, cost in merging.history)
    usual, strict, loose = (after(start, merges[: until(merges, cost)]) for cost in (USUAL, STRICT, LOOSE))
    return Grouping(usual, strict, loose, merges)


def reach_by_sure_groups(
    descriptors: NDArray[np.float32],
    cameras: Sequence[str],
    start: NDArray[np.int64],
    cannot_link: NDArray[np.int64],
    marks: NDArray[np.int64] | None,
    farthest: Farthest | None,
) -> Reach:
    """Estimate which records may be neighbours, from strict groups; in a large gallery, from those of a part of it."""
    # Few neighbours are enough for groups that are sure, and cost little.
    reach = estimate_reach(descriptors, cameras, farthest, numbers=(SURE_OWN, SURE_OTHER))
    rows, middle = surroundings(descriptors, cameras, reach.farthest)
    place = np.full(len(descriptors), -1)
    place[rows] = np.arange(len(rows))
    linked = place[cannot_link]
    some, names = descriptors[rows], [cameras[row] for row in rows.tolist()]
    sure = group(
        some, names, start=start[rows], cannot_link=linked[(linked >= 0).all(axis=1)],
        marks=None if marks is None else marks[rows], reach=reach, limit=STRICT,
    ).strict  # fmt: skip
    whole = np.isin(sure, sure[place[middle]])
    if len(rows) < len(descriptors):
        whole &= place_within(sure) < sum(AROUND)  # somebody with thousands of records counts as anybody else
    names = [name for name, kept in zip(names, whole.tolist(), strict=True) if kept]
    return estimate_reach(some[whole], names, farthest, groups=sure[whole])


def may_merge(start: NDArray[np.int64], cannot_link: NDArray[np.int64], marks: NDArray[np.int64] | None = None) -> bool:
    """Whether any two of the groups ``start`` are allowed to merge."""
    count = len(np.unique(start))
    pairs = np.unique(np.sort(start[cannot_link], axis=1), axis=0) if len(cannot_link) else np.empty((0, 2), np.int64)
    if marks is None:
        return len(pairs) < count * (count - 1) // 2
    marked = np.full(len(start), -1)
    np.maximum.at(marked, start, marks)
    known = int((marked >= 0).sum())
    open_pairs = (marked[pairs] < 0).any(axis=1).sum()  # the others are pairs of two known people
    return int(open_pairs) < count * (count - 1) // 2 - known * (known - 1) // 2


def until(merges: Sequence[Merge], limit: float) -> int:
    """How many merges are made if merging stops at ``limit``. The merges before are the same for every limit."""
    return next((place for place, merge in enumerate(merges) if merge.cost > limit), len(merges))


def after(start: NDArray[np.int64], merges: Sequence[Merge]) -> NDArray[np.int64]:
    """The groups (N,) after these merges of the groups ``start``, numbered from 0 by their first record."""
    parent = np.arange(len(start))
    _, first, start = np.unique(start, return_index=True, return_inverse=True)
    for merge in merges:
        parent[merge.second] = merge.first
    for place in range(len(parent)):  # a parent has a smaller index, so it is already final
        parent[place] = parent[parent[place]]
    return np.unique(parent[first[start]], return_inverse=True)[1]
