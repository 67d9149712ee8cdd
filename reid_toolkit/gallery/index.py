"""The HNSW graph over a large gallery, by hnswlib, which checks nothing of what it reads and little of what it is
given: another width, NaN, damaged files crash it or make it lie. So all that comes here has been checked before,
and nothing is changed here while a search runs (:class:`ReadWriteLock`).
"""

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.gallery.exact import Positions, nearest
from reid_toolkit.gallery.protocol import OnProgress

M = 16
EF_CONSTRUCTION = 200
EF = 256
"""hnswlib's default of 10 loses people: at 200k x 512, 64 finds .972 of the ten best and 256 finds .998."""
EF_LARGEST = 2048
RECALL = 0.99
"""Of the ten best, in a sample: below it ``ef`` is doubled."""
SAMPLE = 200
ADD_ROWS = 2000
"""Rows added between two reports of progress: about a second."""


class Index:
    """Answers with row numbers of a snapshot, of which it covers the first ``rows``."""

    def __init__(self, dimension: int, room: int) -> None:
        self._dimension = dimension
        self.rows = 0
        self.ef = EF
        self.recall: float | None = None
        """Of the ten best, as :meth:`measure` found it."""
        self._buried = np.zeros(0, bool)
        self._graph = self._new()
        self._graph.init_index(max_elements=room, M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)

    @classmethod
    def load(cls, path: Path, dimension: int, rows: int, ef: int, recall: float | None) -> "Index":
        """A graph of ``rows`` rows that :meth:`save` wrote, in a file whose checksum was found right."""
        index = cls.__new__(cls)
        index._dimension, index.rows, index.ef, index.recall = dimension, rows, ef, recall
        index._buried = np.zeros(0, bool)
        index._graph = index._new()
        index._graph.load_index(str(path), max_elements=rows + rows // 10 + 1)
        return index

    def _new(self) -> Any:
        import hnswlib

        return hnswlib.Index(space="l2", dim=self._dimension)

    def add(self, vectors: NDArray[np.float32], on_progress: OnProgress | None = None) -> None:
        """Cover the next rows too."""
        if self.rows + len(vectors) > self._graph.max_elements:
            self._graph.resize_index((self.rows + len(vectors)) * 11 // 10 + 1)
        for at in range(0, len(vectors), ADD_ROWS):
            part = vectors[at : at + ADD_ROWS]
            self._graph.add_items(part, np.arange(self.rows, self.rows + len(part)))
            self.rows += len(part)
            if on_progress:
                on_progress(at + len(part), len(vectors))

    def bury(self, rows: Positions) -> None:
        """Never answer with these of the covered rows again; they are still walked through."""
        rows = rows[rows < self.rows]
        if len(self._buried) < self.rows:
            self._buried = np.append(self._buried, np.zeros(self.rows * 11 // 10 - len(self._buried) + 1, bool))
        for row in rows[~self._buried[rows]]:
            with contextlib.suppress(RuntimeError):  # in a graph that was read they may be marked already
                self._graph.mark_deleted(row)
        self._buried[rows] = True

    def query(self, queries: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None = None) -> NDArray | None:
        """About the ``k`` nearest rows to each of ``queries``, (B, k), of those in ``mask``; None if it finds fewer."""
        self._graph.set_ef(max(self.ef, k))
        # Called for every row that comes near: of what Python has, bytes answer fastest.
        accepts = None if mask is None else mask.tobytes().__getitem__
        # The filter needs Python's lock, and one query gains nothing from more threads.
        threads = 1 if mask is not None or len(queries) == 1 else -1
        try:
            labels, _ = self._graph.knn_query(queries, k=k, num_threads=threads, filter=accepts)
        except RuntimeError:  # "Cannot return the results in a contiguous 2D array"
            return None
        found: NDArray = labels.astype(np.intp)
        return found

    def measure(self, vectors: NDArray[np.float32], live: Positions) -> None:
        """Set ``recall`` by a sample of the covered rows, against exact search, and raise ``ef`` where it is low."""
        sample = vectors[live[np.linspace(0, len(live) - 1, min(SAMPLE, len(live))).astype(np.intp)]]
        k = min(10, len(live))
        among = None if len(live) == self.rows else live
        truth = [set(rows.tolist()) for rows, _ in nearest(vectors[: self.rows], sample, k, among)]
        while True:
            found = self.query(sample, k)
            hits = (
                [0]
                if found is None
                else [len(best & set(row.tolist())) for best, row in zip(truth, found, strict=True)]
            )
            self.recall = sum(hits) / (k * len(truth))
            if self.recall >= RECALL or self.ef >= EF_LARGEST:
                return
            self.ef *= 2

    def save(self, path: Path) -> None:
        """Raises :class:`OSError` when there is no room, where hnswlib returns as if all were well."""
        self._graph.save_index(str(path))
        if path.stat().st_size != self._graph.index_file_size():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
