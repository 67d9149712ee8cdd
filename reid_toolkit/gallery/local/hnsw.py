"""The HNSW graph of a large gallery, by hnswlib. hnswlib checks almost no input: a wrong width, NaN or a damaged file
crashes it or gives wrong results. So callers must check everything before, and must not change the graph while a search
runs (:class:`ReadWriteLock`).
"""

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.gallery.exact import Positions, nearest
from reid_toolkit.gallery.local.twins import Twins
from reid_toolkit.gallery.types import OnProgress

M = 16
EF_CONSTRUCTION = 200
EF = 256
"""hnswlib's default of 10 misses people: with 200k x 512, ef = 64 finds 0.972 of the ten nearest, and 256 finds
0.998."""
EF_LARGEST = 2048
RECALL = 0.99
"""The share of the ten nearest that must be found in a sample. Below it, ``ef`` is doubled."""
SAMPLE = 200
ROUNDING = 1e-5
"""Rounding error of a distance."""
ADD_ROWS = 2000
"""Number of rows added between two reports of progress: about a second."""


class Index:
    """Finds row numbers of a snapshot. It covers the snapshot's first ``rows`` rows.

    Rows that are equal in every bit share a node of the graph, under the number of the first of them.
    """

    def __init__(self, dimension: int, room: int) -> None:
        self._dimension = dimension
        self.rows = 0
        self.ef = EF
        self.recall: float | None = None
        """The share of the ten nearest that :meth:`measure` found."""
        self._forget_rows()
        self._graph = self._new()
        self._graph.init_index(max_elements=room, M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)

    @classmethod
    def load(cls, path: Path, vectors: NDArray[np.float32], ef: int, recall: float | None) -> "Index":
        """Read the graph of the rows ``vectors`` (N, D) that :meth:`save` wrote. The file's checksum must be checked
        before."""
        index = cls.__new__(cls)
        index._dimension, index.rows, index.ef, index.recall = vectors.shape[1], len(vectors), ef, recall
        index._forget_rows()
        index._graph = index._new()
        index._graph.load_index(str(path), max_elements=len(vectors) * 11 // 10 + 1)
        nodes = np.sort(np.array(index._graph.get_ids_list(), np.intp))
        stands = index._twins.stand_ins(vectors, 0)
        stands[nodes] = nodes  # a graph of an older version has a node for each row
        index._stand_behind(np.arange(len(vectors)), stands)
        index._nodes = len(nodes)
        return index

    def _forget_rows(self) -> None:
        self._twins = Twins(self._dimension)
        self._stands = np.empty(0, np.intp)
        """The node of each row."""
        self._search_after: dict[int, Positions] = {}
        """The rows of each node that has several, ascending."""
        self._buried = np.empty(0, bool)
        self._nodes = self._buried_nodes = 0

    def _stand_behind(self, rows: Positions, stands: Positions) -> None:
        """Store the nodes of the next rows."""
        self._stands = np.concatenate([self._stands, stands])
        self._buried = np.concatenate([self._buried, np.zeros(len(rows), bool)])
        others = rows != stands
        for node in np.unique(stands[others]).tolist():
            before = self._search_after.get(node, np.array([node], np.intp))
            self._search_after[node] = np.concatenate([before, rows[others & (stands == node)]])

    def _new(self) -> Any:
        import hnswlib

        return hnswlib.Index(space="l2", dim=self._dimension)

    def add(self, vectors: NDArray[np.float32], on_progress: OnProgress | None = None) -> None:
        """Add the next rows."""
        if self.rows + len(vectors) > self._graph.max_elements:
            self._graph.resize_index((self.rows + len(vectors)) * 11 // 10 + 1)
        for at in range(0, len(vectors), ADD_ROWS):
            part = vectors[at : at + ADD_ROWS]
            rows = np.arange(self.rows, self.rows + len(part))
            stands = self._twins.stand_ins(part, self.rows)
            self._compare(rows, stands, part)
            new = rows == stands
            if new.any():
                self._graph.add_items(part[new], rows[new])
            self._nodes += int(new.sum())
            self.rows += len(part)
            self._stand_behind(rows, stands)
            self._raise(stands[~new])
            if on_progress:
                on_progress(at + len(part), len(vectors))

    def mark_deleted(self, rows: Positions) -> None:
        """Never find these rows again. Searches still pass through their nodes."""
        rows = rows[rows < self.rows]
        new = rows[~self._buried[rows]]
        self._buried[new] = True
        for node in np.unique(self._stands[new]).tolist():
            if self._buried[self._search_after.get(node, node)].all():
                self._buried_nodes += 1
                with contextlib.suppress(RuntimeError):  # in a graph read from a file it may be marked already
                    self._graph.mark_deleted(node)

    def _raise(self, nodes: Positions) -> None:
        """Find nodes again although all their rows were deleted, because a new row is equal to these rows."""
        for node in np.unique(nodes).tolist():
            with contextlib.suppress(RuntimeError):  # not marked
                self._graph.unmark_deleted(node)
                self._buried_nodes -= 1

    def _compare(self, rows: Positions, stands: Positions, vectors: NDArray[np.float32]) -> None:
        """Compare rows with their probable twins. A row whose twin is another descriptor gets its own node."""
        for place in np.flatnonzero(stands != rows).tolist():
            stand = int(stands[place])
            try:
                twin = vectors[stand - rows[0]] if stand >= rows[0] else self._graph.get_items([stand])[0]
            except RuntimeError:  # adding the twin was interrupted
                twin = None
            if twin is None or not np.array_equal(vectors[place], twin):
                stands[place] = rows[place]

    def query(
        self, queries: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None = None
    ) -> list[Positions] | None:
        """About the ``k`` nearest rows in ``mask`` for each of ``queries`` (B, D): at least k, or all rows. None if it
        finds fewer. The nearest come first, except that equal rows come together.
        """
        nodes, there = mask, self._nodes - self._buried_nodes
        if self._search_after and mask is not None:
            nodes = np.zeros(len(mask), bool)
            nodes[self._stands[np.flatnonzero(mask[: self.rows])]] = True
            there = int(np.count_nonzero(nodes))
        labels = self._query_nodes(queries, min(k, there), nodes)
        if labels is None:
            return None
        return [self._rows_of(found, k, mask) for found in labels] if self._search_after else list(labels)

    def _rows_of(self, nodes: Positions, k: int, mask: NDArray[np.bool_] | None) -> Positions:
        """The rows of nodes that are in ``mask``, at most ``k`` rows per node."""
        found: list[int] = []
        for node in nodes.tolist():
            rows = self._search_after.get(node)
            if rows is None:
                found.append(node)
            else:
                passing = ~self._buried[rows] if mask is None else mask[rows]
                found += rows[passing][:k].tolist()
        return np.array(found, np.intp)

    def _query_nodes(
        self, queries: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None
    ) -> NDArray[np.intp] | None:
        """About the ``k`` nearest nodes for each of ``queries``, (B, k). None if it finds fewer."""
        if not k:
            return np.empty((len(queries), 0), np.intp)
        self._graph.set_ef(max(self.ef, k))
        # Called for every row on the way, so it must be quick: indexing bytes is the fastest way in Python.
        accepts = None if mask is None else mask.tobytes().__getitem__
        # The filter needs Python's global lock, and a single query gains nothing from more threads.
        threads = 1 if mask is not None or len(queries) == 1 else -1
        try:
            labels, _ = self._graph.knn_query(queries, k=k, num_threads=threads, filter=accepts)
        except RuntimeError:  # "Cannot return the results in a contiguous 2D array"
            return None
        found: NDArray[np.intp] = labels.astype(np.intp)
        return found

    def measure(self, vectors: NDArray[np.float32], live: Positions) -> None:
        """Measure ``recall`` on a sample of the covered rows, compared with exact search, and raise ``ef`` if it is
        low.

        Among rows at equal distances, each counts as right.
        """
        sample = vectors[live[np.linspace(0, len(live) - 1, min(SAMPLE, len(live))).astype(np.intp)]]
        k = min(10, len(live))
        among = None if len(live) == self.rows else live
        farthest = [distances[-1] for _, distances in nearest(vectors[: self.rows], sample, k, among)]
        while True:
            found = self.query(sample, k) or [live[:0]] * len(sample)
            hits = [
                min(k, int((np.linalg.norm(vectors[rows] - one, axis=1) <= limit + ROUNDING).sum()))
                for one, rows, limit in zip(sample, found, farthest, strict=True)
            ]
            self.recall = sum(hits) / (k * len(sample))
            if self.recall >= RECALL or self.ef >= EF_LARGEST:
                return
            self.ef *= 2

    def save(self, path: Path) -> None:
        """Write the graph. Raises :class:`OSError` if the disk is full, which hnswlib itself does not report."""
        self._graph.save_index(str(path))
        if path.stat().st_size != self._graph.index_file_size():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
