"""A gallery in a folder. SQLite holds the records, and the rows that searches use follow the database."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.camera_statistics import CameraStatistics
from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery import validation
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.block_list import BlockList
from reid_toolkit.gallery.cursor import Position
from reid_toolkit.gallery.local import audit, deleting, index_files
from reid_toolkit.gallery.local.block_list import FolderBlockList
from reid_toolkit.gallery.local.check import info_of, leftover, report_on
from reid_toolkit.gallery.local.lookup import Lookup, count_passing
from reid_toolkit.gallery.local.people_table import FolderPeopleTable
from reid_toolkit.gallery.local.query import Find, answer, log
from reid_toolkit.gallery.local.record_table import RecordTable, key_of
from reid_toolkit.gallery.local.search import Locks, Searcher
from reid_toolkit.gallery.local.statistics import refresh
from reid_toolkit.gallery.people_table import PeopleTable
from reid_toolkit.gallery.types import (
    EXACT_BELOW,
    Batch,
    Comparison,
    Filter,
    Info,
    OnProgress,
    Report,
    Selection,
    Stored,
)
from reid_toolkit.records import Match, Record

WAIT = 10.0
"""Default seconds for which a write waits for another process's write."""


class Gallery(GalleryStore):
    """A folder of enrolled descriptors. Threads may share an object; each process opens its own.

        with Gallery.open("gallery", dimension=512) as gallery:
            gallery.add(vectors, records)
            matches = gallery.search(vector, top_k=10, cameras={"entrance"})

    Searches see what other processes have added, and run at the same time as other searches and a write. One process
    writes at a time; others wait, and raise an error after ``wait`` seconds. Descriptors are (N, D) or (D,) float of
    length 1 to within 1e-3, and are read as float32. Times are seconds, and distances are Euclidean, 0-2.

    Every method raises :class:`GalleryError` if the file is damaged or deleted, the disk is full, or another process
    writes for longer than ``wait``. Other errors are documented at each method.
    """

    def __init__(self, path: Path, create: bool, exact_below: int, wait: float) -> None:
        self._writer = RecordTable(path, create, wait)
        try:
            self._reader = self._writer.again()
        except BaseException:
            self._writer.close()
            raise
        self._locks = Locks(Lock(), Lock())
        self._expected: dict[str, str] = {}  # "dimension" and "model", as far as given
        self._searcher = Searcher(exact_below)
        self._plain = Searcher(exact_below, plain=True)
        """For searches without camera statistics in a gallery that has them. Empty until there is such a search."""
        self._lookup = Lookup()
        self._audited = False
        """Whether a search has seen that the audit log is on. Never reset, because threads could undo each other's."""

    @classmethod
    def open(
        cls,
        path: str | Path,
        dimension: int | None = None,
        model: str | None = None,
        create: bool = True,
        *,
        exact_below: int = EXACT_BELOW,
        wait: float = WAIT,
    ) -> "Gallery":
        """Open the gallery at ``path``. With ``create``, create it if there is none.

        dimension: width of the descriptors. model: fingerprint of the model that makes them. An empty gallery takes
        them over; another must have the same. From ``exact_below`` rows on, searches use an index. wait: seconds for
        which a write waits for another process's write. Raises :class:`GalleryError` if the gallery has another width
        or model, is damaged or locked, or is not a gallery.
        """
        gallery = cls(Path(path), create, exact_below, wait)
        try:
            gallery.expect(dimension, model)
        except BaseException:
            gallery.close()
            raise
        return gallery

    def close(self) -> None:
        """Close the files. The gallery cannot be used afterwards. Records are stored when they are added."""
        with self._locks.reader:
            self._reader.close()
        with self._locks.writer:
            self._writer.close()

    def __len__(self) -> int:
        with self._locks.reader, self._reader.reading():
            return self._reader.count()

    def expect(self, dimension: int | None = None, model: str | None = None) -> None:
        """Require this width and model from now on. An empty gallery takes them over. Raises :class:`GalleryError` if
        it holds descriptors of another width or model."""
        given = {"dimension": None if dimension is None else str(dimension), "model": model}
        wanted = self._expected | {key: value for key, value in given.items() if value is not None}
        with self._locks.reader, self._reader.reading():
            same = all(self._reader.meta(key) == value for key, value in wanted.items())
        if not same:
            with self._locks.writer, self._writer.writing_if_allowed():
                self._bind(wanted)
        self._expected = wanted

    def _bind(self, wanted: dict[str, str]) -> None:
        """Within ``writing``, so that two processes cannot bind the same empty gallery to two models."""
        empty = self._writer.count() == 0
        for key, value in wanted.items():
            # The width and model that this gallery was opened with stay, even while it is empty.
            held = self._expected.get(key, value) if empty else self._writer.meta(key)
            if held != value:
                what = {"dimension": "width", "model": "model"}[key]
                raise GalleryError(validation.of_another(str(self._writer.folder), what, held, value))
            if self._writer.meta(key) != value:
                self._writer.set_meta(key, value)
                if self._writer.number("statistics"):
                    self._writer.put_statistics(None, {})  # the stored statistics are of another model or width
                    self._writer.drop_statistics(())

    def add(self, vectors: ArrayLike, records: Sequence[Record]) -> None:
        """Store descriptors (N, D) float, L2-normalised to within 1e-3, each with a record, in half precision.

        All or nothing, and on the disk when this returns. A record with the same tracklet, camera and source as a
        stored record replaces it. Raises :class:`InputError` for a wrong shape or length, NaN, wrong times or tags, and
        :class:`GalleryError` for another width.
        """
        matrix = validation.stored_rows(vectors, "descriptors")
        validation.check_records(records, len(matrix))
        if not len(records):
            return
        with self._locks.writer, self._writer.writing():
            self._bind(self._expected | {"dimension": str(matrix.shape[1])})
            self._writer.insert(matrix, records)

    def search_batch(
        self,
        vectors: ArrayLike,
        top_k: int = 10,
        where: Filter | None = None,
        *,
        query_cameras: Sequence[str | None] | None = None,
        camera_statistics: bool = True,
        name: str = "",
        logged: bool = True,
    ) -> list[list[Match]]:
        """:meth:`search` for each row of ``vectors`` (B, D) float: B lists. Quicker than B searches; same errors."""
        where = where or Filter()
        queries = validation.checked_queries(vectors, top_k, where)
        how = Comparison(validation.checked_cameras(query_cameras, len(queries)), camera_statistics)
        searcher = self._searcher_for(how)
        answers = self._answer(
            searcher, queries, where,
            lambda without, past: searcher.find(queries, how.query_cameras, top_k, where, without, past),
        )  # fmt: skip
        if logged:
            self._log(name, queries, top_k, where, how, [len(row) for row in answers])
        return [[match for _, match in row] for row in answers]

    def _search_after(
        self, query: NDArray[np.float32], top_k: int, where: Filter, after: Position | None, how: Comparison
    ) -> list[tuple[Match, Position]]:
        searcher, (camera,) = self._searcher_for(how), how.query_cameras
        (found,) = self._answer(
            searcher, query[None], where,
            lambda without, past: [searcher.find_after(query, camera, top_k, where, without, past, after)],
            by_index=False,
        )  # fmt: skip
        return [(match, Position(match.distance, number)) for number, match in found]

    def _searcher_for(self, how: Comparison) -> Searcher:
        if how.camera_statistics:
            return self._searcher
        with self._locks.reader, self._reader.reading():
            never_fitted = not self._reader.number("statistics")
        # Without statistics the same searcher serves both, so that descriptors are in memory only once.
        return self._searcher if never_fitted else self._plain

    def _answer(
        self, searcher: Searcher, queries: NDArray[np.float32], where: Filter, find: Find, *, by_index: bool = True
    ) -> list[list[tuple[int, Match]]]:
        lock = self._locks.reader
        answers, audited = answer(self._reader, lock, searcher, queries, where, find, by_index=by_index)
        self._audited = self._audited or audited
        return answers

    def _log(
        self, name: str, queries: NDArray[np.float32], top_k: int, where: Filter, how: Comparison, found: Sequence[int]
    ) -> None:
        if self._audited:
            version = self.statistics_version(how)
            log(self._writer, self._locks, audit.searches(name, queries, top_k, where, how, version, found))

    def statistics(self) -> CameraStatistics | None:
        """The camera statistics that searches use. None if there are none. Raises :class:`GalleryError` if they are
        damaged."""
        with self._locks.reader, self._reader.reading():
            return self._reader.statistics(self._searcher.version_in_use(self._reader))

    def statistics_version(self, how: Comparison) -> int:
        """The version of the camera statistics that a search uses. 0 for none."""
        if not how.camera_statistics:
            return 0
        with self._locks.reader, self._reader.reading():
            version = self._searcher.version_in_use(self._reader)
            return version if self._reader.holds_statistics(version) else 0

    def refresh_statistics(self, on_progress: OnProgress | None = None, *, if_due: bool = False) -> bool:
        """Fit camera statistics to all undamaged records, in one transaction. True if there is a new version.

        With ``if_due``, only if it is worth its cost, see ``gallery/statistics.py``. Nothing changes if there were none
        and there are too few records.
        """
        return refresh(self._reader, self._writer, self._locks, on_progress, if_due=if_due)

    @property
    def identity(self) -> str:
        """The gallery's id, which stays if its folder is moved. A copy by ``reid gallery copy`` has another id."""
        return self._meta("id") or ""

    @property
    def damage(self) -> dict[int, str]:
        """Damaged records that searches have left out so far: number -> reason. See :meth:`check`."""
        return self._searcher.damage | self._plain.damage

    def build_index(self, on_progress: OnProgress | None = None) -> None:
        """Build or update the index, if the gallery is large enough and it is due. Others may search meanwhile.

        Without an index every search is exact, and slow in a large gallery.
        """
        self._searcher.build(self._reader, self._writer, self._locks, on_progress)

    def enrolled(self, records: Sequence[Record]) -> list[bool]:
        """For each record, whether an undamaged record with its tracklet, camera and source is stored."""
        keys = [key_of(record) for record in records]
        with self._locks.reader, self._reader.reading():
            found = self._reader.ids_of(keys)
        return [key in found for key in keys]

    def held(self, digests: Collection[str]) -> dict[str, Stored]:
        """The undamaged records whose keys have these digests, by digest."""
        with self._locks.reader, self._reader.reading():
            return self._lookup.held(self._reader, digests)

    def count_passing(self, where: Filter) -> dict[str, int]:
        """How many records of each camera pass a filter."""
        return count_passing(self._reader, self._locks.reader, self._searcher, where)

    def records(self) -> Iterator[Batch]:
        """Yield all undamaged records and descriptors (B, D) float32, by enrolment, as of when the reading began."""
        log(self._writer, self._locks, [{"action": "read all"}])
        with closing(self._reader.again()) as store, store.reading():
            yield from store.batches()

    def listed(self, which: Selection) -> Iterator[Record]:
        """Yield the undamaged records that match, without descriptors, as of when the reading began."""
        with closing(self._reader.again()) as store, store.reading():
            yield from store.listed(which)

    def keys(self, which: Selection) -> Iterator[Record]:
        """Yield source, tracklet and camera of the records that match, also of damaged ones."""
        with closing(self._reader.again()) as store, store.reading():
            for source, tracklet, camera in store.keys(which).values():
                yield Record(tracklet, camera, source=source)

    def count_of(self, which: Selection) -> int:
        """The number of records that match."""
        with self._locks.reader, self._reader.reading():
            return self._reader.matching(which)

    def delete_selected(self, which: Selection) -> int:
        """Delete the records that match. Gives their number. Quick: their bytes stay in files until :meth:`compact`."""
        return deleting.delete(self._writer, self._locks, which)

    def delete_records(self, records: Sequence[Record]) -> int:
        """Delete the records that have the tracklet, camera and source of one of these. Gives their number."""
        return deleting.remove(self._writer, self._locks, records)

    @property
    def block_list(self) -> BlockList:
        """The list of forgotten records, which must not come back."""
        return FolderBlockList(self._reader, self._writer, self._locks)

    @property
    def people(self) -> PeopleTable:
        """Which records show the same person, and what people are called."""
        return FolderPeopleTable(self._reader, self._writer, self._locks)

    @property
    def retention(self) -> float | None:
        """Seconds after which a record is hidden from searches. None for never."""
        with self._locks.reader, self._reader.reading():
            return self._reader.retention()

    def keep_for(self, seconds: float | None) -> None:
        """Set the retention in seconds, None for no limit. This deletes nothing: :meth:`expire` does."""
        validation.check_seconds(seconds)
        with self._locks.writer, self._writer.writing():
            self._writer.set_meta("retention", "" if seconds is None else repr(float(seconds)))
            self._writer.log({"action": "retention", "seconds": seconds})

    def delete_expired(self, which: Selection) -> int:
        """Delete the records that match. Gives their number. Quick: their bytes leave the database, but until
        :meth:`compact` they stay in the index files, and also in the log if another process is reading."""
        return deleting.delete(self._writer, self._locks, which, for_good=False)

    def expire_records(self, records: Sequence[Record]) -> int:
        """:meth:`delete_expired` the records that have the tracklet, camera and source of one of these."""
        return deleting.remove(self._writer, self._locks, records, for_good=False)

    def switch_audit(self, on: bool) -> None:
        """Switch the audit log of searches, deletions and full readings on or off. It is never shortened. Raises
        :class:`AuditError` if there is a log that does not match the database. That log is not changed."""
        with self._locks.writer, self._writer.writing():
            self._writer.switch_log(on)

    def audit_log(self) -> list[audit.Event]:
        """The events of the audit log so far, oldest first."""
        with self._locks.reader, self._reader.reading():
            return audit.read(self._reader.folder, self._reader.audit_head())

    def compact(self, on_progress: OnProgress | None = None) -> None:
        """:meth:`expire`, then rewrite all files without deleted and replaced records, which erases their bytes. The
        index is built again.

        Raises :class:`GalleryError` if another process reads for too long, so that the bytes stay in the log.
        """
        self.expire()
        with self._locks.writer:
            with self._writer.writing():
                self._writer.begin_epoch()
                self._writer.drop_statistics(())
                self._writer.log({"action": "compact"})
            index_files.clear(self._writer.folder)
            self._writer.shrink()
            fitted = self._writer.number("statistics") > 0
        if fitted:
            # The old means contain forgotten people. If there never were statistics, none are made.
            self.refresh_statistics(if_due=True)
        self.build_index(on_progress)

    def leftover(self) -> bool:
        """Whether files may hold bytes of deleted records, which :meth:`compact` erases."""
        with self._locks.reader, self._reader.reading():
            return leftover(self._reader)

    def check(self, on_progress: OnProgress | None = None) -> Report:
        """Read everything, and report what is damaged, record by record and file by file."""
        with self._locks.reader, self._reader.reading():
            return report_on(self._reader, on_progress)

    def remember_model_file(self, path: Path) -> None:
        """Store the path of the model file, so that searches find it."""
        with self._locks.writer, self._writer.writing():
            self._writer.set_meta("model_file", str(path))

    @property
    def model_file(self) -> Path | None:
        """The path that :meth:`remember_model_file` stored. None if there is none."""
        held = self._meta("model_file")
        return Path(held) if held else None

    def remember_copy(self, text: str) -> None:
        """Store what a copy has made of this gallery."""
        with self._locks.writer, self._writer.writing():
            self._writer.set_meta("copied", text)

    @property
    def copied(self) -> str:
        """The text that :meth:`remember_copy` stored. Empty if there is none."""
        return self._meta("copied") or ""

    def _meta(self, key: str) -> str | None:
        with self._locks.reader, self._reader.reading():
            return self._reader.meta(key)

    def info(self) -> Info:
        """Counts, model and size. Reads the indexes of the file, not the descriptors."""
        with self._locks.reader, self._reader.reading():
            return info_of(self._reader, self._searcher.version_in_use(self._reader))
