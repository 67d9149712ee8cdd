"""The HNSW index over a large gallery: a cache, which may be deleted at any time.

hnswlib checks nothing it reads and little of what it is given: damaged files, another width and NaN crash it
or make it lie. So a file is only loaded when its sidecar fits it and the gallery, and arrays come checked.
"""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.files import atomic_path

INDEX_NAME = "index.hnsw"
SIDECAR_NAME = "index.json"
M = 16
EF_CONSTRUCTION = 200
EF = 256
"""hnswlib's default of 10 loses people: at 200k x 512, 64 finds .972 of the ten best and 256 finds .998."""
ADD_ROWS = 2000
"""Rows added between two reports of progress: about a second."""

Ids = NDArray[np.int64]
OnProgress = Callable[[int, int | None], None]


class Index:
    """Answers with record ids. ``name`` is the gallery's own id: ids mean nothing in another gallery."""

    def __init__(self, folder: Path, name: str, dimension: int) -> None:
        self._folder = folder
        self._name = name
        self._dimension = dimension
        self._clear()

    def _clear(self) -> None:
        self._graph: Any = None
        self._known: Ids = np.empty(0, np.int64)  # all ids in the graph, ascending
        self._dead: Ids = np.empty(0, np.int64)  # those of them that are marked deleted
        self._synced: tuple[int, int] | None = None
        self._saved = 0  # how many ids the file knows

    def sync(self, ids: Ids, vectors: NDArray[np.float32], on_progress: OnProgress | None = None) -> None:
        """Hold exactly ``ids`` (N,), ascending, with ``vectors`` (N, D): load, build, or bring up to date."""
        newest = (len(ids), int(ids[-1]))  # ids only grow, so these two tell any two states apart
        if newest == self._synced:
            return
        if self._graph is None:
            self._load()
        gone = np.setdiff1d(self._known, ids, assume_unique=True)
        # A dead row is still walked through: at 80% of them a query takes four times as long.
        if self._graph is None or 2 * len(gone) > len(ids):
            self._begin(len(ids))
        else:
            for number in np.setdiff1d(gone, self._dead, assume_unique=True):
                with contextlib.suppress(RuntimeError):  # marked before the file was saved
                    self._graph.mark_deleted(number)
            self._dead = gone
        self._add(ids, vectors, on_progress)
        self._synced = newest
        # Adding a few rows again costs less than writing all of them.
        if len(self._known) > 1.1 * self._saved:
            with contextlib.suppress(OSError):  # a cache: without room for it, search is as right as before
                self._save()

    def query(self, vector: NDArray[np.float32], k: int, allowed: Ids | None = None) -> Ids:
        """Ids of about the ``k`` nearest rows, of those in ``allowed`` if given; none when it finds fewer."""
        self._graph.set_ef(max(EF, 2 * k))
        accepts = None
        if allowed is not None:
            flags = np.zeros(int(self._known[-1]) + 1, np.bool_)
            flags[allowed] = True
            accepts = flags.tobytes().__getitem__  # called for every row it passes: bytes answer fastest
        try:
            # One thread: the filter needs Python's lock, and one query gains nothing from more.
            labels, _ = self._graph.knn_query(vector[None], k=k, num_threads=1, filter=accepts)
        except RuntimeError:  # "Cannot return the results in a contiguous 2D array": it found fewer than k
            return np.empty(0, np.int64)
        found: Ids = labels[0].astype(np.int64)
        return found

    def forget(self) -> None:
        """Delete the files, since they hold the descriptors of deleted rows too."""
        # What a killed save left behind too.
        for path in (*self._folder.glob("index.*"), *self._folder.glob(".index.*.partial.*")):
            path.unlink(missing_ok=True)
        self._clear()

    def _begin(self, room: int) -> None:
        import hnswlib

        self._clear()
        self._graph = hnswlib.Index(space="l2", dim=self._dimension)
        self._graph.init_index(max_elements=room, M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)

    def _add(self, ids: Ids, vectors: NDArray[np.float32], on_progress: OnProgress | None) -> None:
        new = np.flatnonzero(~np.isin(ids, self._known, assume_unique=True))
        total = len(self._known) + len(new)
        if total > self._graph.max_elements:
            self._graph.resize_index(total * 3 // 2)
        for at in range(0, len(new), ADD_ROWS):
            rows = new[at : at + ADD_ROWS]
            self._graph.add_items(vectors[rows], ids[rows])
            # New ids are above all known ones, since ids only grow; so this stays ascending.
            self._known = np.concatenate([self._known, ids[rows]])
            if on_progress:
                on_progress(at + len(rows), len(new))

    def _save(self) -> None:
        """Graph first, sidecar last: a graph that its sidecar does not fit is not loaded."""
        with atomic_path(self._folder / INDEX_NAME) as temporary:
            temporary.touch(mode=0o600)
            self._graph.save_index(str(temporary))
            # save_index returns normally on a full disk, and a short file would crash the one who loads it.
            if temporary.stat().st_size != self._graph.index_file_size():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(temporary))
            sidecar = self._sidecar(temporary) | {"count": len(self._known)}
        with atomic_path(self._folder / SIDECAR_NAME) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps(sidecar))
        self._saved = len(self._known)

    def _load(self) -> None:
        """Take the files over if they are whole and of this gallery; else leave the graph to be built."""
        path = self._folder / INDEX_NAME
        try:
            sidecar = json.loads((self._folder / SIDECAR_NAME).read_bytes())
            count = sidecar.pop("count")
            if sidecar != self._sidecar(path):
                return
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        import hnswlib

        self._graph = hnswlib.Index(space="l2", dim=self._dimension)
        self._graph.load_index(str(path), max_elements=count + count // 10)
        self._known = np.sort(np.array(self._graph.get_ids_list(), np.int64))
        self._saved = count

    def _sidecar(self, path: Path) -> dict[str, str | int]:
        """What must be the same for a graph file to be this gallery's, and whole."""
        with open(path, "rb") as handle:
            checksum = hashlib.file_digest(handle, "blake2b").hexdigest()
        return {"gallery": self._name, "dimension": self._dimension, "checksum": checksum}
