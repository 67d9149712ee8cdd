"""Finds tracklets that cannot be one person, because one camera sees both at the same time. Needs no labels."""

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.errors import InputError

MAX_PAIRS = 50_000_000
"""800 MB of pairs. In real footage each tracklet has a few pairs; this many means that the times are wrong."""


def cannot_link_pairs(
    camera: ArrayLike, start: ArrayLike, end: ArrayLike, max_pairs: int = MAX_PAIRS
) -> NDArray[np.int64]:
    """Return the pairs (i, j), i < j, of tracklets of one camera whose times overlap; (M, 2) int64, sorted.

    A person is in one place at a time, so two tracklets of one camera at the same moment are two people. One moment is
    enough: if one tracklet ends in the frame in which another starts, that frame shows both. (This trusts the tracker
    not to follow one person twice at the same time.)

    Args:
        camera: (N,) names or numbers.
        start: (N,) seconds of the first crop; NaN where unknown, which makes no pair.
        end: (N,) seconds of the last crop, at or after ``start``.
        max_pairs: the most pairs to return.

    Tracklets are sorted by start, and a binary search finds the last one that overlaps each: O(N log N + M).
    Raises :class:`InputError` for lengths that differ, an end before its start, and more than ``max_pairs`` pairs.
    """
    starts, ends = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    _, cameras = np.unique(np.asarray(camera), return_inverse=True)
    if not (starts.ndim == 1 and starts.shape == ends.shape == cameras.shape):
        raise InputError(
            f"cannot-link: camera, start and end have shapes {cameras.shape}, {starts.shape}, {ends.shape}: "
            "expected one value each for every tracklet"
        )
    if (ends < starts).any():
        wrong = int((ends < starts).argmax())
        raise InputError(
            f"cannot-link: tracklet {wrong} ends at {ends[wrong]} s, before it starts at {starts[wrong]} s"
        )
    timed = np.flatnonzero(~(np.isnan(starts) | np.isnan(ends)))
    order = timed[np.lexsort((timed, starts[timed], cameras[timed]))]
    stop = np.empty(len(order), dtype=np.int64)
    bounds = np.searchsorted(cameras[order], np.arange(cameras.max(initial=-1) + 2))
    for left, right in pairwise(bounds):
        inside = order[left:right]
        stop[left:right] = left + np.searchsorted(starts[inside], ends[inside], side="right")
    partners = stop - np.arange(len(order)) - 1
    total = int(partners.sum())
    if total > max_pairs:
        raise InputError(
            f"cannot-link: {total} pairs of tracklets overlap in time, more than {max_pairs}: expected a few "
            f"for each of {len(order)} tracklets; check their times, or train without the constraints"
        )
    first = np.repeat(np.arange(len(order)), partners)
    second = np.arange(total) - np.repeat(np.cumsum(partners) - partners, partners) + first + 1
    pairs = np.sort(np.stack([order[first], order[second]], axis=1), axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
