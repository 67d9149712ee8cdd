"""Checks of arguments, before a gallery stores or compares anything."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.gallery.types import Filter
from reid_toolkit.records import Record

UNIT_TOLERANCE = 1e-3
"""How far a descriptor's length may be from 1. Normalised descriptors stay within it even in half precision."""


def unit_rows(vectors: ArrayLike, what: str) -> NDArray[np.float32]:
    """``vectors`` (N, D) float as float32 rows of length 1. Raises :class:`InputError` if lengths are not near 1."""
    matrix = np.asarray(vectors)
    if matrix.ndim != 2 or not matrix.shape[1] or matrix.dtype.kind != "f":
        raise InputError(f"{what}: expected an (N, D) float array, got {matrix.dtype} of shape {matrix.shape}")
    lengths = np.linalg.norm(matrix.astype(np.float64), axis=1)
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE))
    if len(bad):
        row, length = int(bad[0]), lengths[bad[0]]
        got = f"length {length:.4g}" if math.isfinite(length) else "NaN or infinity in it"
        raise InputError(f"{what}: row {row} has {got}: expected finite, L2-normalised descriptors")
    # Normalised as exactly as float32 allows, so that products and distances give the same order.
    return (matrix / lengths[:, None]).astype(np.float32)


def stored_rows(vectors: ArrayLike, what: str) -> NDArray[np.float32]:
    """:func:`unit_rows`, rounded to half precision, which galleries store.

    Rows that are already in half precision, as read from another gallery, do not change in any bit. So copies are
    equal.
    """
    rows = unit_rows(vectors, what)
    given = np.asarray(vectors, np.float32)
    halves = given.astype(np.float16).astype(np.float32)
    kept = (halves == given).all(axis=1)
    return np.where(kept[:, None], halves, rows.astype(np.float16).astype(np.float32))


def one_row(vector: ArrayLike) -> NDArray:
    """A query (D,) as a batch (1, D). Raises :class:`InputError` for another shape."""
    flat = np.asarray(vector)
    if flat.ndim != 1:
        raise InputError(f"query has shape {flat.shape}: expected one descriptor, (D,)")
    return flat[None]


def checked_queries(vectors: ArrayLike, top_k: int, where: Filter) -> NDArray[np.float32]:
    """The queries of a search as :func:`unit_rows`. Raises :class:`InputError` for wrong queries, a wrong filter, or
    ``top_k`` under 1."""
    if top_k < 1:
        raise InputError(f"top_k is {top_k}: expected 1 or more")
    check_filter(where)
    return unit_rows(vectors, "query")


def checked_cameras(cameras: Sequence[str | None] | None, queries: int) -> Sequence[str | None]:
    """The camera of each query, None if unknown. Raises :class:`InputError` for a wrong number of cameras."""
    if cameras is None:
        return [None] * queries
    if isinstance(cameras, str) or len(cameras) != queries:
        raise InputError(f"query_cameras is {cameras!r}: expected {queries} names, one per query, or None")
    return cameras


def check_records(records: Sequence[Record], descriptors: int) -> None:
    """Raise :class:`InputError` unless there is one record per descriptor, and each passes :func:`check_record`."""
    if descriptors != len(records):
        raise InputError(f"{descriptors} descriptors for {len(records)} records: expected one record per descriptor")
    for record in records:
        check_record(record)


def check_record(record: Record) -> None:
    """Raise :class:`InputError` unless a record has a start and an end in this order, or neither, and tags that are
    words."""
    times = [time for time in (record.start, record.end) if time is not None]
    if len(times) == 1 or not all(map(math.isfinite, times)) or times != sorted(times):
        raise InputError(
            f"tracklet {record.tracklet!r}: from {record.start} to {record.end}: expected a start and an end "
            "in seconds, in this order, or neither"
        )
    if isinstance(record.tags, str) or not all(isinstance(tag, str) and tag for tag in record.tags):
        raise InputError(f"tracklet {record.tracklet!r}: tags {record.tags!r}: expected a tuple of words")


def check_filter(where: Filter) -> None:
    """Raise :class:`InputError` for a string in place of a collection of strings, and for times that are NaN."""
    for name in ("cameras", "sources", "tags"):
        if isinstance(getattr(where, name), str):
            raise InputError(f"{name} is the string {getattr(where, name)!r}: expected a collection of names")
    for name in ("since", "until"):
        time = getattr(where, name)
        if time is not None and math.isnan(time):
            raise InputError(f"{name} is {time}: expected seconds")


def check_seconds(seconds: float | None) -> None:
    """Raise :class:`InputError` for a retention that is not a positive, finite number of seconds."""
    if seconds is not None and not 0 < seconds < math.inf:
        raise InputError(f"retention of {seconds} seconds: expected more than 0, or None for ever")


def of_another(where: str, what: str, held: object, got: object) -> str:
    """The message that a gallery holds descriptors of another width or model."""
    return (
        f"{where}: holds descriptors of {what} {held or 'unknown'}, got {what} {got}: use the model that the gallery "
        "was enrolled with, or another gallery"
    )
