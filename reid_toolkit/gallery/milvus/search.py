"""The k nearest records in Milvus, in the same order as in a gallery in a folder. Milvus gives candidates, and their
descriptors decide."""

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.gallery.cursor import Position
from reid_toolkit.gallery.exact import closest
from reid_toolkit.gallery.milvus.collection import WINDOW, Collection
from reid_toolkit.gallery.milvus.rows import SCALARS, Row, record_of, vectors_of
from reid_toolkit.records import Match

FIELDS = (*SCALARS, "vector", "place")
ANSWER_BYTES = 16 << 20
"""Bytes of descriptors in an answer."""
BEFORE_ALL = Position(-1.0, 0)
Placed = tuple[Row, Position]
ROUNDING = 1e-4
"""Largest error of a squared distance of unit vectors in single precision, with a margin."""


def nearest(collection: Collection, queries: NDArray[np.float32], k: int, expr: str) -> list[list[Match]]:
    """For each of ``queries`` (B, D), the ``k`` nearest records that pass ``expr``, nearest first.

    Of equal distances, the record that was enrolled first comes first.
    """
    # More than k, so that among rows at equal distances the first enrolled are included.
    limit = min(2 * k + 16, WINDOW)
    step = max(1, ANSWER_BYTES // (4 * queries.shape[1] * limit))
    found: list[list[Match]] = []
    for at in range(0, len(queries), step):
        block = queries[at : at + step]
        for query, rows in zip(block, collection.search(block, limit, expr, FIELDS), strict=True):
            found.append([match for match, _ in _settle(collection, query, k, expr, rows, limit, BEFORE_ALL)])
    return found


def following(
    collection: Collection, query: NDArray[np.float32], k: int, expr: str, after: Position | None
) -> list[tuple[Match, Position]]:
    """The ``k`` records nearest to ``query`` (D,) that pass ``expr`` and come after the position ``after``."""
    limit = min(2 * k + 16, WINDOW)
    rows = collection.search(query[None], limit, expr, FIELDS)[0]
    return _settle(collection, query, k, expr, rows, limit, after or BEFORE_ALL)


def _settle(
    collection: Collection,
    query: NDArray[np.float32],
    k: int,
    expr: str,
    rows: list[Row],
    limit: int,
    after: Position,
) -> list[tuple[Match, Position]]:
    """The nearest of the rows that Milvus found. Milvus is asked for more rows until no nearer row can be missing."""
    while True:
        best = _best(query, rows, k, after)
        if _enough(rows, best, k, limit) or (len(rows) < limit and len(rows) == collection.count(expr)):
            return _matches(best)
        if limit == WINDOW or len(rows) < limit:
            # An approximate index gives up early, and no answer is longer than the window, so read all rows.
            return _scan(collection, query, k, expr, after)
        limit = min(4 * limit, WINDOW)
        rows = collection.search(query[None], limit, expr, FIELDS)[0]


def _enough(rows: list[Row], best: list[Placed], k: int, limit: int) -> bool:
    """Whether the last of ``best`` is nearer than any row that was not found can be."""
    return len(rows) == limit and len(best) == k and rows[-1]["distance"] > best[-1][1].distance ** 2 + ROUNDING


def _scan(
    collection: Collection, query: NDArray[np.float32], k: int, expr: str, after: Position
) -> list[tuple[Match, Position]]:
    best: list[Placed] = []
    for rows in collection.pages(FIELDS, expr):
        best = _best(query, [row for row, _ in best] + rows, k, after)
    return _matches(best)


def _best(query: NDArray[np.float32], rows: list[Row], k: int, after: Position) -> list[Placed]:
    """The ``k`` nearest of ``rows`` that come after the position ``after``."""
    if not rows:
        return []
    ordered = sorted(rows, key=lambda row: (row["place"], row["id"]))
    positions, distances = closest(vectors_of(ordered), query, np.arange(len(ordered)), len(ordered))
    ranked = (
        (ordered[at], Position(distance, ordered[at]["place"], ordered[at]["id"]))
        for at, distance in zip(positions.tolist(), distances.tolist(), strict=True)
    )
    return list(islice((placed for placed in ranked if placed[1] > after), k))


def _matches(best: list[Placed]) -> list[tuple[Match, Position]]:
    return [(Match(rank, at.distance, record_of(row)), at) for rank, (row, at) in enumerate(best, start=1)]
