"""What a gallery refuses before it stores or compares anything."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.records import Record

UNIT_TOLERANCE = 1e-3
"""How far a descriptor's length may be from 1: half precision stays within it, no normalisation does not."""


def unit_rows(vectors: ArrayLike, what: str) -> NDArray[np.float32]:
    """``vectors`` (N, D) as float32 rows of length 1, or :class:`InputError` when they are not nearly so."""
    matrix = np.asarray(vectors)
    if matrix.ndim != 2 or not matrix.shape[1] or matrix.dtype.kind != "f":
        raise InputError(f"{what}: expected an (N, D) float array, got {matrix.dtype} of shape {matrix.shape}")
    lengths = np.linalg.norm(matrix.astype(np.float64), axis=1)
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE))
    if len(bad):
        row, length = int(bad[0]), lengths[bad[0]]
        got = f"length {length:.4g}" if math.isfinite(length) else "NaN or infinity in it"
        raise InputError(f"{what}: row {row} has {got}: expected finite, L2-normalised descriptors")
    # To the last bit, so that nearest by product and nearest by distance are the same.
    return (matrix / lengths[:, None]).astype(np.float32)


def check_times(record: Record) -> None:
    """Raise :class:`InputError` unless the record has a start and an end in order, or neither."""
    times = [time for time in (record.start, record.end) if time is not None]
    if len(times) == 1 or not all(map(math.isfinite, times)) or times != sorted(times):
        raise InputError(
            f"tracklet {record.tracklet!r}: from {record.start} to {record.end}: expected a start and an end "
            "in seconds, in this order, or neither"
        )
