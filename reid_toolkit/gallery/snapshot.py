"""The searchable columns of the record in memory, kept in step with the file, and exact search over them."""

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery.store import Row, Store

COLUMNS = np.dtype([("id", np.int64), ("camera", np.int32), ("start", np.float64), ("end", np.float64)])

Mask = NDArray[np.bool_]
Positions = NDArray[np.intp]
"""Row numbers in a snapshot, which ascend in the order of enrolment."""


class Snapshot:
    """Row i is ``vectors[i]`` and ``columns[i]``; rows ascend by id."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.count = 0
        self._vectors = np.empty((0, dimension), np.float32)
        self._columns = np.empty(0, COLUMNS)
        self._cameras: dict[str, int] = {}
        self._version = (0, 0)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(N, D) float32, unit length."""
        return self._vectors[: self.count]

    @property
    def ids(self) -> NDArray[np.int64]:
        """(N,) int64, ascending."""
        ids: NDArray[np.int64] = self._columns["id"][: self.count]
        return ids

    def sync(self, store: Store) -> None:
        """Take over what this or another process has changed since; within ``store.reading()``."""
        version = store.version()
        if version == self._version:
            return
        try:
            if version[1] != self._version[1]:
                self._drop_all_but(store.live_ids())
            for rows in store.rows_after(int(self.ids[-1]) if self.count else 0):
                self._append(rows, store)
        except BaseException:
            self.count, self._version = 0, (0, 0)  # half of a change is worse than reading it all again
            raise
        self._version = version

    def _drop_all_but(self, live: NDArray[np.int64]) -> None:
        keep = np.isin(self.ids, live, assume_unique=True)
        kept = int(keep.sum())
        self._vectors[:kept] = self.vectors[keep]
        self._columns[:kept] = self._columns[: self.count][keep]
        self.count = kept

    def _append(self, rows: list[Row], store: Store) -> None:
        for number, _, _, _, blob in rows:
            if len(blob) != 4 * self.dimension:
                raise GalleryError(
                    f"{store.path}: damaged: record {number} holds {len(blob)} bytes, expected a descriptor "
                    f"of {self.dimension} float32; put back a copy of the gallery"
                )
        vectors = np.frombuffer(b"".join(row[4] for row in rows), np.float32).reshape(len(rows), -1)
        end = self.count + len(rows)
        if end > len(self._vectors):
            # By a half more each time, so that a gallery that grows row by row is copied O(log N) times.
            room = max(end, len(self._vectors) * 3 // 2)
            self._vectors = _enlarged(self.vectors, room)
            self._columns = _enlarged(self._columns[: self.count], room)
        self._vectors[self.count : end] = vectors
        nan = float("nan")
        self._columns[self.count : end] = [
            (number, self._camera(camera), nan if start is None else start, nan if stop is None else stop)
            for number, camera, start, stop, _ in rows
        ]
        self.count = end

    def _camera(self, name: str) -> int:
        return self._cameras.setdefault(name, len(self._cameras))

    def allowed(
        self, cameras: frozenset[str] | None, since: float | None, until: float | None, without: list[int]
    ) -> Mask | None:
        """Which rows pass the filters, (N,) bool; None when nothing is filtered."""
        if cameras is None and since is None and until is None and not without:
            return None
        columns = self._columns[: self.count]
        mask = np.ones(self.count, bool)
        if cameras is not None:
            codes = [self._cameras[name] for name in cameras if name in self._cameras]
            mask &= np.isin(columns["camera"], codes)
        # Comparisons with NaN are false: a record without times passes no time filter.
        if since is not None:
            mask &= columns["end"] >= since
        if until is not None:
            mask &= columns["start"] <= until
        if without:
            mask &= np.isin(columns["id"], without, invert=True)
        return mask


def nearest(
    vectors: NDArray[np.float32], query: NDArray[np.float32], k: int, among: Positions | None = None
) -> tuple[Positions, NDArray[np.float64]]:
    """The ``k`` rows nearest to ``query`` (all, if there are fewer), nearest first, and their distances.

    vectors (N, D), query (D,) float32 of unit length; ``among`` limits the rows. Ties go to the earlier row.
    """
    if among is None:
        scores, rows = vectors @ query, np.arange(len(vectors))  # (N, D) @ (D,) -> (N,)
    elif len(among) * 4 < len(vectors):
        scores, rows = vectors[among] @ query, among
    else:
        # Copying a large part of the matrix costs more than multiplying all of it.
        scores, rows = (vectors @ query)[among], among
    if len(rows) > k:
        # A float32 product of D terms is off by up to D * 2^-24 either way (Higham, 3.1); keep all that may
        # be among the k best, and let the float64 distances decide.
        margin = 2 * vectors.shape[1] * 2.0**-24
        rows = rows[scores >= np.partition(scores, len(scores) - k)[len(scores) - k] - margin]
    distances = distances_to(vectors, query, rows)
    order = np.lexsort((rows, distances))[:k]
    return rows[order], distances[order]


def distances_to(vectors: NDArray[np.float32], query: NDArray[np.float32], rows: Positions) -> NDArray[np.float64]:
    """Euclidean distances of ``vectors[rows]`` to ``query``, by differences: a row equal to it is at 0."""
    wide = query.astype(np.float64)
    blocks = [rows[at : at + 4096] for at in range(0, len(rows), 4096)]
    parts = [np.sqrt(np.square(vectors[block] - wide).sum(axis=1)) for block in blocks]
    return np.concatenate(parts) if parts else np.empty(0)


def _enlarged(array: NDArray, room: int) -> NDArray:
    larger = np.empty((room, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
