"""Exact search: products with all rows choose the candidates, and differences give their distances."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.intp]
"""Row numbers in a snapshot. They ascend in the order of enrolment."""
Found = tuple[Positions, NDArray[np.float64]]
"""Rows, nearest first, and their Euclidean distances."""

SCORES = 1 << 24
"""Number of products that are in memory at a time: 64 MB."""
ROUNDING = 2.0**-10
"""Largest error when two products are compared instead of distances. Half precision changes each value by up to 2^-11
of itself, so the squared length of a stored row by up to 2^-10, and a product by half of that; two products are
compared. The callers add the rounding of both float32 products of D terms, up to D * 2^-24 each (Higham, 3.1)."""


def nearest(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int, among: Positions | None = None
) -> Iterator[Found]:
    """For each of ``queries`` (B, D), the ``k`` nearest rows (all, if there are fewer), nearest first.

    ``vectors`` are (N, D) float32, of unit length up to the error of half precision. ``among`` limits the rows. Of
    equal distances, the earlier row comes first.
    """
    rows = np.arange(len(vectors)) if among is None else among
    # Copying a large part of the matrix costs more than multiplying all of it.
    copied = among is not None and len(among) * 4 < len(vectors)
    matrix = vectors[rows] if copied else vectors
    step = max(1, SCORES // max(1, len(matrix)))
    for at in range(0, len(queries), step):
        block = queries[at : at + step]
        # For a single query, BLAS needs half the time for the product of a matrix and a vector.
        products = (matrix @ block[0])[None] if len(block) == 1 else block @ matrix.T  # (b, N)
        for query, scores in zip(block, products, strict=True):
            chosen = scores if copied or among is None else scores[among]
            yield closest(vectors, query, _leading(rows, chosen, k, vectors.shape[1]), k)


def following(
    vectors: NDArray[np.float32],
    query: NDArray[np.float32],
    k: int,
    distance: float,
    tie: int,
    among: Positions | None = None,
) -> Found:
    """As :func:`nearest`, for one ``query`` (D,), among the rows after a place in the ranking: those farther than
    ``distance``, and those at ``distance`` from row ``tie`` on."""
    rows = np.arange(len(vectors)) if among is None else among
    copied = len(rows) * 4 < len(vectors)
    scores = vectors[rows] @ query if copied else (vectors @ query)[rows]
    # The product of a row at this distance, and the largest error of a product.
    cut, slack = 1 - distance**2 / 2, (ROUNDING + vectors.shape[1] * 2.0**-23) / 2
    rest = scores <= cut + slack
    rows, scores = rows[rest], scores[rest]
    # At most so many more rows can turn out to lie before the place when their distances are computed.
    enough = k + int(np.count_nonzero(scores >= cut - slack))
    near, distances = closest(vectors, query, _leading(rows, scores, enough, vectors.shape[1]), enough)
    behind = (distances > distance) | ((distances == distance) & (near >= tie))
    return near[behind][:k], distances[behind][:k]


def _leading(rows: Positions, scores: NDArray[np.float32], k: int, width: int) -> Positions:
    """Those ``rows`` whose products allow them to be among the ``k`` nearest. Their distances must decide."""
    if len(rows) <= k:
        return rows
    worst = np.partition(scores, len(rows) - k)[len(rows) - k]
    return rows[scores >= worst - ROUNDING - width * 2.0**-23]


def closest(vectors: NDArray[np.float32], query: NDArray[np.float32], rows: Positions, k: int) -> Found:
    """The ``k`` of the ascending ``rows`` that are nearest to ``query``. Distances are computed from differences, so
    that an equal row is at 0."""
    wide = query.astype(np.float64)
    blocks = [rows[at : at + 4096] for at in range(0, len(rows), 4096)]
    parts = [np.sqrt(np.square(vectors[block] - wide).sum(axis=1)) for block in blocks]
    distances = np.concatenate(parts) if parts else np.empty(0)
    order = np.lexsort((rows, distances))[:k]
    return rows[order], distances[order]
