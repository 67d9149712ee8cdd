"""The k nearest rows of a snapshot: through the graph if that is quicker, else exactly. Changes neither of them."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.gallery.cursor import Position
from reid_toolkit.gallery.exact import Found, Positions, closest, following, nearest
from reid_toolkit.gallery.local.hnsw import Index
from reid_toolkit.gallery.local.record_table import ExpiryCutoff
from reid_toolkit.gallery.local.snapshot import Mask, Snapshot
from reid_toolkit.gallery.types import Filter

EXACT_ROWS = 15_000
"""Exact search takes 0.2 us per row that passes a filter. The graph asks the filter in Python for each row on its way,
which takes 3 ms divided by the share that passes. So of N rows, exact search is quicker if up to sqrt(15,000 N)
pass."""
MANY_QUERIES, PRODUCT_GAIN = 8, 10
"""With at least MANY_QUERIES queries for the same filter, exact search is a product of matrices, and PRODUCT_GAIN times
as quick per row."""


def nearest_passing(
    snapshot: Snapshot,
    index: Index | None,
    queries: NDArray[np.float32],
    k: int,
    where: Filter,
    without: Collection[int],
    past: ExpiryCutoff | None,
) -> list[Found]:
    """For each of ``queries`` (B, D), rows and distances of the ``k`` nearest rows that pass, nearest first.

    ``without`` are ids that do not pass, and ``past`` is the cutoff of the retention. ``index`` covers the first rows
    of ``snapshot``.
    """
    mask = snapshot.passing(where, without, past)
    passing = snapshot.held if mask is None else int(np.count_nonzero(mask))
    if index is not None and not _quicker_exact(snapshot, index, passing, mask is not None, len(queries), k):
        found = _through_graph(snapshot, index, queries, k, mask, passing)
        if found is not None:
            return found
    return list(nearest(snapshot.vectors, queries, k, _rows(snapshot, mask)))


def nearest_after(
    snapshot: Snapshot,
    query: NDArray[np.float32],
    k: int,
    where: Filter,
    without: Collection[int],
    past: ExpiryCutoff | None,
    after: Position | None,
) -> Found:
    """Like :func:`nearest_passing`, for one ``query`` (D,) and exactly: the rows after the position ``after``, or from
    the beginning if it is None."""
    rows = _rows(snapshot, snapshot.passing(where, without, past))
    if after is None:
        return next(nearest(snapshot.vectors, query[None], k, rows))
    tie = int(np.searchsorted(snapshot.ids, after.place, side="right"))
    return following(snapshot.vectors, query, k, after.distance, tie, rows)


def _rows(snapshot: Snapshot, mask: Mask | None) -> Positions | None:
    """The rows that pass. None if all rows pass."""
    if mask is None and not snapshot.dead:
        return None
    return np.flatnonzero(snapshot.live if mask is None else mask)


def _quicker_exact(snapshot: Snapshot, index: Index, passing: int, filtered: bool, queries: int, k: int) -> bool:
    # If k is larger than ef, the graph visits so many rows that exact search is as quick.
    if not passing or k > index.ef:
        return True
    rows = EXACT_ROWS * (PRODUCT_GAIN if queries >= MANY_QUERIES else 1)
    return filtered and passing**2 < rows * snapshot.count


def _through_graph(
    snapshot: Snapshot, index: Index, queries: NDArray[np.float32], k: int, mask: Mask | None, passing: int
) -> list[Found] | None:
    """Candidates from the graph. Distances and the order of ties are computed from the descriptors. None if the graph
    finds too few."""
    passes = snapshot.live if mask is None else mask
    tail = index.rows + np.flatnonzero(passes[index.rows :])
    covered = passing - len(tail)
    # More than k, so that among rows at equal distances the first enrolled are included.
    reach = min(2 * k + 16, covered)
    proposed = [tail[:0]] * len(queries)
    if reach:
        answer = index.query(queries, reach, mask)
        if answer is None:
            return None
        proposed = answer
    waiting: list[Positions] = [tail[:0]] * len(queries)
    if len(tail):
        waiting = [rows for rows, _ in nearest(snapshot.vectors, queries, k, tail)]
    return [
        closest(snapshot.vectors, query, np.sort(np.concatenate([near, new])), k)
        for query, near, new in zip(queries, proposed, waiting, strict=True)
    ]
