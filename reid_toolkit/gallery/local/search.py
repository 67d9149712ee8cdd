"""Exact search until it hurts, then the index: both kept in step with the record, for many searches at once."""

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
"""Searches of a process that are exact before it reads the index: at any size reading it takes as long as these,
so a process that asks once is answered at once, and one that asks on loses no more than it would have anyway.
Not in a thread of its own: hnswlib holds Python's lock while it reads, so the others would wait all the same."""
TAKE_IN = 64
"""Rows that are new to a loaded index and are taken in before one search: about 50 ms. Others are searched exactly."""
EXTEND_ROWS = 200
"""Rows added to an index while searches wait: about 0.2 s."""
SAVE_GROWTH = 1.1
"""Adding a few rows again costs less than writing all of them."""


class Searcher:
    """The snapshot, the index, and the files they are kept in. Threads may share it."""

    def __init__(self, exact_below: int, *, plain: bool = False) -> None:
        """plain: compare descriptors as they are, whatever camera statistics there are."""
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
        """What ``version_in_use`` answered last, and to what question."""

    @property
    def size(self) -> tuple[int, int]:
        """How many rows there are to search among, and their width; as of one moment, also while another thread reads
        them anew."""
        with self._lock.reading():
            return self._snapshot.held, self._snapshot.dimension

    @property
    def damage(self) -> dict[int, str]:
        """Records that cannot be used, by id, and why; under 0 when some are missing altogether."""
        with self._lock.reading():
            missing = {0: f"{self._snapshot.missing} records are missing"} if self._snapshot.missing > 0 else {}
            return self._snapshot.damage | missing

    def why_nothing(self) -> str:
        """Why there is no row to search among."""
        with self._lock.reading():
            lost = len(self._snapshot.damage) + self._snapshot.missing
        if lost:
            return f"all {lost} records are damaged: see `reid gallery check`; put back a copy, or enroll them again"
        return "the gallery is empty: enroll something first"

    def version_in_use(self, store: RecordTable, now: tuple[int, ...] | None = None) -> int:
        """The version of the camera statistics that the next search compares by; within ``store.reading()``, whose
        ``store.version()`` is ``now`` where that is known.

        The newest; but an index that was built by an older one keeps to that, and answers as before, until there is
        another index.
        """
        newest = self._version_of(now or store.version()).statistics
        held = self._snapshot.version.statistics
        if newest == held:
            return held
        # Asked before each search while a newer version waits, so an answer is remembered until the files change.
        seen = newest, held, self._identity, store.meta("index"), index_files.changed(store.folder)
        if self._decided[0] != seen:
            about = self._usable(store)
            self._decided = seen, about.statistics if about else newest
        return self._decided[1]

    def _version_of(self, now: tuple[int, ...]) -> Version:
        version = Version(*now)
        return version._replace(statistics=0) if self._plain else version

    def _usable(self, store: RecordTable) -> index_files.IndexManifest | None:
        """The files of an index, where they are of the statistics in use here, or of newer ones."""
        if store.count() < self._exact_below:
            return None
        about = manifest_of(store)
        newest = self._version_of(store.version()).statistics
        # By older statistics than these rows nobody goes on here: they may be forgotten.
        oldest = 0 if self._identity.gallery == "" else self._snapshot.version.statistics
        if about is None or not oldest <= about.statistics <= newest or not store.has_statistics(about.statistics):
            return None
        return about if index_files.complete(store.folder, about) else None

    def sync(self, store: RecordTable, now: tuple[int, ...], searches: int = 0) -> None:
        """Take over all changes of the record, whose ``store.version()`` is ``now``, before ``searches`` searches;
        within the same ``store.reading()``."""
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
            # Bytes were erased, so nothing older may be kept; or this is the first time.
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
            # Half of a change is worse than reading it all again.
            self._forget_rows()
            raise
        if changed and self._index is not None:
            self._index.mark_deleted(np.flatnonzero(~self._snapshot.live))

    def _forget_rows(self) -> None:
        self._snapshot, self._index, self._identity = Snapshot(0), None, index_files.Identity("", None, 0)

    def _load_rows(self, store: RecordTable) -> None:
        """Begin with the rows in the files of an index, or with none."""
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
        """Read the index, and the rows again when somebody has saved new files since."""
        now = self._usable(store)
        if now is not None and now != self._manifest:
            self._load_rows(store)
            self._sync_rows(store)
        self._searches = 0  # if there is none, somebody may have made one when as many have gone by again
        if self._manifest is None or below_promise(self._manifest.index["recall_at_10"]):
            return
        self._index = index_files.load_graph(store.folder, self._manifest, self._snapshot.vectors)
        if self._index is None:
            index_files.remove(store.folder, self._manifest)
            self._manifest = None
        if self._index is not None:
            self._index.mark_deleted(np.flatnonzero(~self._snapshot.live))

    def _extend(self, limit: int) -> int:
        """Cover up to ``limit`` more rows; how many are left."""
        assert self._index is not None
        start = self._index.rows
        end = min(start + limit, self._snapshot.count)
        if end > start:
            self._index.add(self._snapshot.vectors[start:end])
            self._index.mark_deleted(start + np.flatnonzero(~self._snapshot.live[start:end]))
        return self._snapshot.count - end

    def exclude_records(self, ids: Collection[int]) -> None:
        """Never answer with these again: their records were found damaged when they were to be answered."""
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
        """For each of ``queries`` (B, D) from ``cameras``, ids and distances of the ``k`` nearest that pass, nearest
        first."""
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
        """As :meth:`find` for one ``query`` (D,) of ``camera``, exactly, of what is behind ``after`` in the ranking."""
        with self._lock.reading():
            compared = self._snapshot.compared_queries(query[None], [camera])[0]
            rows, distances = nearest_after(self._snapshot, compared, k, where, without, past, after)
            return self._snapshot.ids[rows], distances

    def build(self, reader: RecordTable, writer: RecordTable, locks: "Locks", on_progress: OnProgress | None) -> None:
        """Make or renew the index and its files, where that is due. Searches go on meanwhile, exactly."""
        with self._building:
            with locks.reader, reader.reading():
                if reader.count() < max(1, self._exact_below) or not self._due(reader):
                    return
                self.sync(reader, reader.version())
                newest = self._version_of(reader.version()).statistics
                with self._lock.writing():
                    if self._snapshot.version.statistics != newest:
                        # From here on this process answers by the newest statistics: exactly, until it has an index.
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
        # A dead row is still walked through: at 80% of them a query takes four times as long.
        return 2 * dead > store.count() or store.count() + dead > SAVE_GROWTH * about.count

    def _begin(self, on_progress: OnProgress | None) -> Index | None:
        """A new index; None when bytes were erased meanwhile, which must not come back in it."""
        with self._lock.writing():
            # The rows move up, so the files that are there no longer fit them.
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
        """A cache: without room for it on the disk, search is as right as before."""
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
        """Within ``writer.writing()``: nobody erases bytes while we are the writer."""
        # Another process may have built an index by newer statistics meanwhile, or fitted some, so that those
        # of this one are forgotten.
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
            # Its files say so, and are not made again before the gallery has grown.
            self._index = None


def below_promise(recall: float | None) -> bool:
    """Whether an index finds so few of the ten nearest that exact search has to answer."""
    return recall is not None and recall < RECALL


class Locks(NamedTuple):
    """One for each connection: SQLite's are used by one thread at a time."""

    reader: threading.Lock
    writer: threading.Lock


def identity_of(store: RecordTable) -> index_files.Identity:
    """What a file of this gallery must name, within ``store.reading()``."""
    return index_files.Identity(store.meta("id") or "", store.meta("model"), store.number("dimension"))


def manifest_of(store: RecordTable) -> index_files.IndexManifest | None:
    """The description of the index's files, if they are of this gallery as it is now; within ``store.reading()``."""
    about = index_files.read_manifest(store.folder)
    return about if about and index_files.fits(about, identity_of(store), store.meta("index")) else None
