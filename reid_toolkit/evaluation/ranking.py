"""CMC and mAP from distances, by the protocol of Market-1501. Uses only numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.errors import InputError

JUNK = "-1"
"""Identity of junk boxes, which are dropped. "0" is a distractor: it stays in the gallery as a wrong answer."""

BLOCK = 1 << 24
"""Distances sorted at a time. It limits memory to some hundred MiB for any number of queries."""


@dataclass(frozen=True)
class Ranking:
    """The scores of a ranking. Fractions 0-1."""

    cmc: NDArray[np.float64]
    """cmc[k - 1] is rank-k: the share of queries with a right answer among the first k matches."""
    mean_ap: float
    """Mean over queries of the average precision."""
    average_precisions: NDArray[np.float64]
    """(Q,), NaN for queries without a right answer in the gallery."""
    queries: int
    """Queries that count: they have at least one right answer."""

    def rank(self, k: int) -> float:
        """Return rank-k for k from 1. If k exceeds the gallery's size, return the last value."""
        return float(self.cmc[min(k, len(self.cmc)) - 1])


def rank(
    distances: ArrayLike,
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    query_cameras: ArrayLike,
    gallery_cameras: ArrayLike,
) -> Ranking:
    """Rank a gallery for each query and score the result.

    For each query, gallery entries with the same identity and the same camera are dropped, and so is junk (identity
    -1). Distractors (identity 0) stay as wrong answers. The average precision is the mean of the precision at the rank
    of each right answer, without the trapezoid rule. Ties keep the gallery's order. Queries that have no right answer
    left do not count.

    Args:
        distances: (Q, G), smaller is nearer.
        query_ids, gallery_ids: (Q,) and (G,), numbers or strings.
        query_cameras, gallery_cameras: (Q,) and (G,), numbers or strings.

    Raises:
        InputError: shapes do not match, a distance is NaN, or no query has a right answer.
    """
    distances = np.asarray(distances)
    query_names, gallery_names = as_names(query_ids), as_names(gallery_ids)
    query_places, gallery_places = as_names(query_cameras), as_names(gallery_cameras)
    queries, size = len(query_names), len(gallery_names)
    if distances.shape != (queries, size) or queries != len(query_places) or size != len(gallery_places):
        raise InputError(
            f"expected distances of shape ({queries}, {size}) and as many cameras, got {distances.shape}, "
            f"{len(query_places)} query and {len(gallery_places)} gallery cameras"
        )
    if not queries or not size:
        raise InputError(f"nothing to rank: {queries} queries, {size} gallery entries")
    if np.isnan(distances).any():
        raise InputError("distances hold NaN: expected numbers")

    query_codes, gallery_codes = as_codes(query_names, gallery_names)
    query_camera_codes, gallery_camera_codes = as_codes(query_places, gallery_places)
    nobody = np.isin(query_names, ("0", JUNK))[:, None]
    junk = gallery_names == JUNK
    hits_at = np.zeros(size)
    precisions = np.full(queries, np.nan)
    step = max(1, BLOCK // size)
    for first in range(0, queries, step):
        part = slice(first, first + step)
        order = np.argsort(distances[part], axis=1, kind="stable")  # (q, G)
        same = (gallery_codes[order] == query_codes[part, None]) & ~nobody[part]
        kept = ~junk[order] & ~(same & (gallery_camera_codes[order] == query_camera_codes[part, None]))
        right = same & kept
        position = np.cumsum(kept, axis=1)  # rank of an entry among those kept, from 1
        hits = np.cumsum(right, axis=1)
        total = hits[:, -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            precisions[part] = np.where(right, hits / position, 0).sum(axis=1) / total
        scored = np.flatnonzero(total)
        best = position[scored, np.argmax(right[scored], axis=1)]
        np.add.at(hits_at, best - 1, 1)
    counted = int(hits_at.sum())
    if not counted:
        raise InputError(
            "no query has a right answer: expected at least one identity seen by two cameras; "
            "are there identities, and more than one camera?"
        )
    return Ranking(np.cumsum(hits_at) / counted, float(np.nanmean(precisions)), precisions, counted)


def as_names(values: ArrayLike) -> NDArray[np.str_]:
    """Return identities or cameras as (N,) strings. Whole floats, which Matlab files hold, become integers first."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"expected identities and cameras of shape (N,), got {array.shape}")
    if array.dtype.kind == "f" and np.array_equal(array, np.trunc(array)):
        array = array.astype(np.int64)
    return array.astype(str)


def as_codes(a: NDArray[np.str_], b: NDArray[np.str_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Replace each name by a number, the same for equal names: indexing long strings G x Q times would fill the
    memory."""
    codes = np.unique(np.concatenate([a, b]), return_inverse=True)[1].astype(np.int32)
    return codes[: len(a)], codes[len(a) :]
