"""Searching a gallery in a folder: exactly while it is small, then with an index. Both follow the database."""

import contextlib
import threading
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.gallery.cursor import Position
from reid_toolkit.gallery.local import index_files
from reid_toolkit.gallery.local.hnsw import RECALL, Index
from reid_toolkit.gallery.local.locks import ReadWriteLock
from reid_toolkit.gallery.local.nearest import nearest_after, nearest_passing
from reid_toolkit.gallery.local.record_table import ExpiryCutoff, RecordTable
from reid_toolkit.gallery.local.snapshot import Snapshot, Version
from reid_toolkit.gallery.types import Filter, OnProgress

LOAD_AFTER = 50
"""A process answers so many searches exactly before it reads the index. At any size, reading the index takes about as
long as these searches. So a process with a single search is answered at once, and a process with many searches at most
doubles its first cost. The index is not read in another thread, because hnswlib holds Python's global lock while it
reads, so all threads would wait anyway."""
TAKE_IN = 64
"""So many new rows are added to a loaded index before a search: about 50 ms. Further new rows are searched exactly."""
EXTEND_ROWS = 200
"""So many rows are added to an index at a time, while searches wait: about 0.2 s."""
SAVE_GROWTH = 1.1
"""The index is saved again when the gallery has grown by this factor. To add a few rows again costs less than to write
all of them."""


class Searcher:
    """The snapshot, the index and their files. Threads may share it."""

    def __init__(self, exact_below: int, *, plain: bool = False) -> None:
        """plain: never use camera statistics."""
        self._exact_below = exact_below
        self._plain = plain
        self._lock = ReadWriteLock()
        self._building = threading.Lock()
        self._identity = index_files.Identity("", None, 0)
        self._snapshot = Snapshot(0)
        self._index: Index | None = None
        self._manifest: index_files.IndexManifest | None = None
        self._searches = 0
        self._reopened = 0
        self._decided: tuple[object, int] = (None, 0)
        """The last input and output of ``version_in_use``."""

    @property
    def size(self) -> tuple[int, int]:
        """The number of rows that can be found, and their width. Both are of the same moment, even if another thread
        reads the rows again."""
        with self._lock.reading():
            return self._snapshot.held, self._snapshot.dimension

    @property
    def damage(self) -> dict[int, str]:
        """Damaged records: id -> reason. Id 0 says how many records are missing."""
        with self._lock.reading():
            missing = {0: f"{self._snapshot.missing} records are missing"} if self._snapshot.missing > 0 else {}
            return self._snapshot.damage | missing

    def why_nothing(self) -> str:
        """Why no row can be found."""
        with self._lock.reading():
            lost = len(self._snapshot.damage) + self._snapshot.missing
        if lost:
            return f"all {lost} records are damaged: see `reid gallery check`: restore a copy, or enroll them again"
        return "the gallery is empty: enroll people first, with `reid enroll`"

    def version_in_use(self, store: RecordTable, now: tuple[int, ...] | None = None) -> int:
        """The version of the camera statistics that the next search uses. Within ``store.reading()``. ``now`` is
        ``store.version()``, if it is known.

        It is the newest version, unless an index was built with an older one: the index uses that until a new index is
        built.
        """
        newest = self._version_of(now or store.version()).statistics
        held = self._snapshot.version.statistics
        if newest == held:
            return held
        # While a newer version waits, this is needed before each search, so it is remembered until the files change.
        seen = newest, held, self._identity, store.meta("index"), index_files.changed(store.folder)
        if self._decided[0] != seen:
            about = self._usable(store)
            self._decided = seen, about.statistics if about else newest
        return self._decided[1]

    def _version_of(self, now: tuple[int, ...]) -> Version:
        version = Version(*now)
        return version._replace(statistics=0) if self._plain else version

    def _usable(self, store: RecordTable) -> index_files.IndexManifest | None:
        """The index files, if they hold the statistics in use here or newer ones. Else None."""
        if store.count() < self._exact_below:
            return None
        about = manifest_of(store)
        newest = self._version_of(store.version()).statistics
        # Statistics older than those of these rows are not used again, because they may be deleted.
        oldest = 0 if self._identity.gallery == "" else self._snapshot.version.statistics
        if about is None or not oldest <= about.statistics <= newest or not store.has_statistics(about.statistics):
            return None
        return about if index_files.complete(store.folder, about) else None

    def sync(self, store: RecordTable, now: tuple[int, ...], searches: int = 0) -> None:
        """Take over all changes of the database before ``searches`` searches. Within ``store.reading()``, in which
        ``store.version()`` is ``now``."""
        self._searches += searches
        version = self._version_of(now)._replace(statistics=self.version_in_use(store, now))
        anew = store.reopened != self._reopened
        if version == self._snapshot.version and not (anew or self._wants_index() or self._search_after()):
            return
        with self._lock.writing():
            if anew:
                self._forget_rows()
                self._reopened = store.reopened
            self._follow(store, version)
            if self._wants_index():
                self._load_index(store)
            if self._search_after():
                self._extend(TAKE_IN)

    def _wants_index(self) -> bool:
        if self._index is not None or self._snapshot.held < self._exact_below or self._building.locked():
            return False
        return self._searches > LOAD_AFTER

    def _search_after(self) -> bool:
        return self._index is not None and self._index.rows < self._snapshot.count

    def _follow(self, store: RecordTable, version: Version) -> None:
        identity = identity_of(store)
        if identity != self._identity or version.epoch != self._snapshot.version.epoch:
            # Bytes were erased, so no older rows may be kept; or these are the first rows.
            self._identity = index_files.Identity("", None, 0)
            self._load_rows(store)
            self._identity = identity
        elif version.statistics != self._snapshot.version.statistics:
            self._load_rows(store)
        self._sync_rows(store)

    def _sync_rows(self, store: RecordTable) -> None:
        try:
            changed = self._snapshot.sync(store)
        except BaseException:
            # The snapshot may hold a part of a change, so read everything again.
            self._forget_rows()
            raise
        if changed and self._index is not None:
            self._index.mark_deleted(np.flatnonzero(~self._snapshot.live))
        # Without an index nothing refers to rows by their places. A process that runs for months with a retention would
        # otherwise keep every row that it has ever seen.
        free = self._index is None and self._manifest is None and not self._building.locked()
        if free and 2 * self._snapshot.dead > self._snapshot.held:
            self._snapshot.drop_dead()

    def _forget_rows(self) -> None:
        self._snapshot, self._index, self._identity = Snapshot(0), None, index_files.Identity("", None, 0)

    def _load_rows(self, store: RecordTable) -> None:
        """Begin with the rows of the index files, or without rows."""
        about = self._usable(store)
        self._index = self._manifest = None
        rows = index_files.load_rows(store.folder, about) if about else None
        if about and rows is None:
            index_files.remove(store.folder, about)
            about = None
        newest = self._version_of(store.version()).statistics
        self._begin_rows(store, about.statistics if about else newest, rows)
        self._manifest = about

    def _begin_rows(self, store: RecordTable, number: int, rows: Snapshot | None = None) -> None:
        rows = rows or Snapshot(identity_of(store).dimension, number)
        rows.statistics = store.statistics(number)
        self._snapshot = rows

    def _load_index(self, store: RecordTable) -> None:
        """Read the index, and also the rows if new files have been saved since."""
        now = self._usable(store)
        if now is not None and now != self._manifest:
            self._load_rows(store)
            self._sync_rows(store)
        self._searches = 0  # if there is no index now, look again after so many searches
        if self._manifest is None or below_promise(self._manifest.index["recall_at_10"]):
            return
        self._index = index_files.load_graph(store.folder, self._manifest, self._snapshot.vectors)
        if self._index is None:
            index_files.remove(store.folder, self._manifest)
            self._manifest = None
        if self._index is not None:
            self._index.mark_deleted(np.flatnonzero(~self._snapshot.live))

    def _extend(self, limit: int) -> int:
        """Add up to ``limit`` rows to the index. Gives the number of rows that are still missing in it."""
        assert self._index is not None
        start = self._index.rows
        end = min(start + limit, self._snapshot.count)
        if end > start:
            self._index.add(self._snapshot.vectors[start:end])
            self._index.mark_deleted(start + np.flatnonzero(~self._snapshot.live[start:end]))
        return self._snapshot.count - end

    def exclude_records(self, ids: Collection[int]) -> None:
        """Never find these ids again, because their records turned out to be damaged."""
        with self._lock.writing():
            rows = np.flatnonzero(np.isin(self._snapshot.ids, list(ids)))
            self._snapshot.exclude_records(rows)
            if self._index is not None:
                self._index.mark_deleted(rows)

    def find(
        self,
        queries: NDArray[np.float32],
        cameras: Sequence[str | None],
        k: int,
        where: Filter,
        without: Collection[int],
        past: ExpiryCutoff | None,
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """For each of ``queries`` (B, D) from ``cameras``, ids and distances of the ``k`` nearest records that pass,
        nearest first."""
        with self._lock.reading():
            compared = self._snapshot.compared_queries(queries, cameras)
            found = nearest_passing(self._snapshot, self._index, compared, k, where, without, past)
            return [(self._snapshot.ids[rows], distances) for rows, distances in found]

    def find_after(
        self,
        query: NDArray[np.float32],
        camera: str | None,
        k: int,
        where: Filter,
        without: Collection[int],
        past: ExpiryCutoff | None,
        after: Position | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Like :meth:`find`, for one ``query`` (D,) from ``camera`` and exactly: the records after ``after`` in the
        ranking."""
        with self._lock.reading():
            compared = self._snapshot.compared_queries(query[None], [camera])[0]
            rows, distances = nearest_after(self._snapshot, compared, k, where, without, past, after)
            return self._snapshot.ids[rows], distances

    def count(self, where: Filter, without: Collection[int], past: ExpiryCutoff | None) -> dict[str, int]:
        """How many rows of each camera pass."""
        with self._lock.reading():
            return self._snapshot.by_camera(where, without, past)

    def build(self, reader: RecordTable, writer: RecordTable, locks: "Locks", on_progress: OnProgress | None) -> None:
        """Build or update the index and its files, if that is due. Meanwhile searches continue, exactly."""
        with self._building:
            with locks.reader, reader.reading():
                if reader.count() < max(1, self._exact_below) or not self._due(reader):
                    return
                self.sync(reader, reader.version())
                newest = self._version_of(reader.version()).statistics
                with self._lock.writing():
                    if self._snapshot.version.statistics != newest:
                        # From now on this process uses the newest statistics, and searches exactly until the index is
                        # built.
                        self._index = self._manifest = None
                        self._begin_rows(reader, newest)
                        self._sync_rows(reader)
                    elif self._index is None:
                        self._load_index(reader)
            if self._index is None or 2 * self._snapshot.dead > self._snapshot.held:
                index = self._begin(on_progress)
            else:
                index = self._catch_up(self._index, on_progress)
            if index is not None:
                self._save(index, writer, locks)

    def _due(self, store: RecordTable) -> bool:
        about = manifest_of(store)
        if about is None or not index_files.complete(store.folder, about):
            return True
        if about.statistics != store.number("statistics"):
            return True
        dead = about.dead_after(store.number("removed"))
        # Searches still pass through deleted rows: if 80% of the rows are deleted, a query takes four times as long.
        return 2 * dead > store.count() or store.count() + dead > SAVE_GROWTH * about.count

    def _begin(self, on_progress: OnProgress | None) -> Index | None:
        """Build a new index. None if bytes were erased meanwhile, because they must not come back in it."""
        with self._lock.writing():
            # The rows move up, so the existing files no longer match them.
            self._index = self._manifest = None
            self._snapshot.drop_dead()
            snapshot, vectors = self._snapshot, self._snapshot.vectors
        index = Index(snapshot.dimension, len(vectors) * 11 // 10 + 1)
        index.add(vectors, on_progress)
        with self._lock.writing():
            if self._snapshot is not snapshot:
                return None
            index.mark_deleted(np.flatnonzero(~snapshot.live))
            self._index = index
        return index

    def _catch_up(self, index: Index, on_progress: OnProgress | None) -> Index | None:
        start = index.rows
        left = 1
        while left:
            with self._lock.writing():
                if self._index is not index:
                    return None
                left = self._extend(EXTEND_ROWS)
            if on_progress:
                on_progress(index.rows - start, index.rows - start + left)
        return index

    def _save(self, index: Index, writer: RecordTable, locks: "Locks") -> None:
        """Write the index files. Errors such as a full disk are ignored, because searches are correct without files."""
        folder = writer.folder
        with contextlib.suppress(OSError):
            with self._lock.reading():
                if self._index is not index:
                    return
                rows = np.flatnonzero(self._snapshot.live[: index.rows])
                index.measure(self._snapshot.vectors, rows)
                about = index_files.save(folder, self._identity, self._snapshot, index)
            try:
                with locks.writer, writer.writing():
                    self._publish(writer, about)
            except BaseException:
                index_files.remove(folder, about)
                raise

    def _publish(self, writer: RecordTable, about: index_files.IndexManifest) -> None:
        """Make the saved files known. Within ``writer.writing()``, so that no other process erases bytes meanwhile."""
        # Another process may have built an index with newer statistics meanwhile, or have fitted new statistics and
        # deleted those of this index.
        there = manifest_of(writer)
        older = there is not None and there.statistics > about.statistics
        if writer.number("epoch") != about.version[0] or older or not writer.has_statistics(about.statistics):
            index_files.remove(writer.folder, about)
            return
        index_files.publish(writer.folder, about)
        writer.set_meta("index", about.token)
        writer.drop_statistics({about.statistics})
        self._manifest = about
        if below_promise(about.index["recall_at_10"]):
            # The manifest holds the low recall, so the index is not built again before the gallery has grown.
            self._index = None


def below_promise(recall: float | None) -> bool:
    """Whether an index finds too few of the ten nearest, so that searches must be exact."""
    return recall is not None and recall < RECALL


class Locks(NamedTuple):
    """A lock for each connection, because only one thread at a time may use an SQLite connection."""

    reader: threading.Lock
    writer: threading.Lock


def identity_of(store: RecordTable) -> index_files.Identity:
    """The identity that index files of this gallery must have. Within ``store.reading()``."""
    return index_files.Identity(store.meta("id") or "", store.meta("model"), store.number("dimension"))


def manifest_of(store: RecordTable) -> index_files.IndexManifest | None:
    """The manifest of the index files, if they belong to this gallery as it is now. Within ``store.reading()``."""
    about = index_files.read_manifest(store.folder)
    return about if about and index_files.fits(about, identity_of(store), store.meta("index")) else None
