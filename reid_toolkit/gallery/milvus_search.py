"""The best k of Milvus, exactly as the embedded gallery orders them: Milvus proposes, the descriptors decide."""

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.gallery.exact import closest
from reid_toolkit.gallery.milvus_collection import WINDOW, Collection
from reid_toolkit.gallery.milvus_rows import SCALARS, Row, record_of, vectors_of
from reid_toolkit.records import Match

FIELDS = (*SCALARS, "vector", "place")
ANSWER_BYTES = 16 << 20
"""Of descriptors in one answer."""
ROUNDING = 1e-4
"""How far a squared distance of unit vectors in single precision may be off, with room."""


def nearest(collection: Collection, queries: NDArray[np.float32], k: int, expr: str) -> list[list[Match]]:
    """For each of ``queries`` (B, D), the ``k`` records nearest to it that pass ``expr``, nearest first.

    Of equal distances the earlier enrolled comes first.
    """
    # More than k, so that of rows at one distance the earlier enrolled are among them.
    limit = min(2 * k + 16, WINDOW)
    step = max(1, ANSWER_BYTES // (4 * queries.shape[1] * limit))
    found: list[list[Match]] = []
    for at in range(0, len(queries), step):
        block = queries[at : at + step]
        for query, rows in zip(block, collection.search(block, limit, expr, FIELDS), strict=True):
            found.append(_settle(collection, query, k, expr, rows, limit))
    return found


def _settle(
    collection: Collection, query: NDArray[np.float32], k: int, expr: str, rows: list[Row], limit: int
) -> list[Match]:
    """The best of what Milvus found, which is asked for more until that must be right."""
    while not _enough(rows, k, limit):
        if len(rows) < limit and len(rows) == collection.count(expr):
            break
        if limit == WINDOW or len(rows) < limit:
            # An approximate index gives up early, and no answer is longer than the window.
            return _scan(collection, query, k, expr)
        limit = min(4 * limit, WINDOW)
        rows = collection.search(query[None], limit, expr, FIELDS)[0]
    return _matches(_best(query, rows, k))


def _enough(rows: list[Row], k: int, limit: int) -> bool:
    """Whether the k-th is nearer than anything that was not found can be."""
    return len(rows) == limit > k and rows[-1]["distance"] > rows[k - 1]["distance"] + ROUNDING


def _scan(collection: Collection, query: NDArray[np.float32], k: int, expr: str) -> list[Match]:
    best: list[Row] = []
    for rows in collection.pages(FIELDS, expr):
        best = [row for row, _ in _best(query, best + rows, k)]
    return _matches(_best(query, best, k))


def _best(query: NDArray[np.float32], rows: list[Row], k: int) -> list[tuple[Row, float]]:
    if not rows:
        return []
    ordered = sorted(rows, key=lambda row: (row["place"], row["id"]))
    positions, distances = closest(vectors_of(ordered), query, np.arange(len(ordered)), k)
    return [(ordered[at], distance) for at, distance in zip(positions.tolist(), distances.tolist(), strict=True)]


def _matches(best: list[tuple[Row, float]]) -> list[Match]:
    return [Match(rank, distance, record_of(row)) for rank, (row, distance) in enumerate(best, start=1)]
