"""The protocol that every kind of gallery follows. The same behaviour tests run on each kind."""

import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.camera_statistics import CameraStatistics
from reid_toolkit.gallery.block_list import BlockList
from reid_toolkit.gallery.cursor import Position
from reid_toolkit.gallery.pages import Grouping, Page, page_of
from reid_toolkit.gallery.people_table import PeopleTable
from reid_toolkit.gallery.types import Batch, Comparison, Filter, Info, OnProgress, Report, Selection, Stored
from reid_toolkit.gallery.validation import checked_queries, one_row
from reid_toolkit.records import Match, Record


class GalleryStore(Protocol):
    """A gallery, which stores descriptors and finds the nearest. ``Gallery.open`` and ``open_gallery`` return one.

    All methods raise :class:`InputError` for wrong arguments, and :class:`GalleryError` if the gallery is of another
    model or width, empty, damaged or unreachable. Methods that need only other methods are written here, for every
    kind.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close files and connections. Records are stored when they are added, so nothing is lost."""

    def __len__(self) -> int:
        """The number of records."""

    @property
    def block_list(self) -> BlockList:
        """The list of forgotten records, which must not come back."""

    @property
    def people(self) -> PeopleTable:
        """Which records show the same person, what people are called, and the corrections by users."""

    def expect(self, dimension: int | None = None, model: str | None = None) -> None:
        """Require this width and model from now on. An empty gallery takes them over. Raises :class:`GalleryError` if
        the gallery holds descriptors of another width or model."""

    def add(self, vectors: ArrayLike, records: Sequence[Record]) -> None:
        """Store descriptors (N, D) float, L2-normalised to within 1e-3, each with a record. Durable when this returns.

        A record with the same tracklet, camera and source as a stored record replaces it.
        """

    def search(
        self,
        vector: ArrayLike,
        top_k: int = 10,
        cameras: Collection[str] | None = None,
        since: float | None = None,
        until: float | None = None,
        *,
        sources: Collection[str] | None = None,
        tags: Collection[str] = (),
        exclude: Collection[Record] = (),
        query_camera: str | None = None,
        camera_statistics: bool = True,
        name: str = "",
    ) -> list[Match]:
        """Find the ``top_k`` records nearest to ``vector`` (D,) float, L2-normalised. The nearest comes first.

        Only records that pass all filters and are not past the gallery's retention are found, so there may be fewer
        than ``top_k``. Of equal distances, the record that was enrolled first comes first.

        Args:
            vector: the query's descriptor.
            top_k: how many records to find.
            cameras, since, until, sources, tags, exclude: see :class:`Filter`.
            query_camera: the camera of the query, None if unknown.
            camera_statistics: remove each camera's bias before comparing, if the gallery has :meth:`statistics`.
            name: what the audit log calls the query, if the gallery keeps one.

        Raises:
            InputError: a wrong shape, width or length, NaN, or a wrong filter.
            GalleryError: nothing is enrolled.
            AuditError: the audit log cannot be written.
        """
        where = Filter(cameras, since, until, sources, tags, exclude)
        cameras_of = [query_camera]
        return self.search_batch(
            one_row(vector), top_k, where, query_cameras=cameras_of, camera_statistics=camera_statistics, name=name
        )[0]

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
        """:meth:`search` for each row of ``vectors`` (B, D). ``query_cameras`` are the B cameras of the queries.

        ``logged``: write a line into the audit log for each search, if the log is on. With False, the caller must
        account for the searches there itself (:meth:`PeopleTable.note`).
        """

    def search_after(
        self,
        vector: ArrayLike,
        top_k: int = 10,
        where: Filter | None = None,
        after: Position | None = None,
        *,
        query_camera: str | None = None,
        camera_statistics: bool = True,
        name: str = "",
    ) -> list[tuple[Match, Position]]:
        """The ``top_k`` records that follow the position ``after`` in the ranking for ``vector`` (D,), each with its
        own position. Ranks count from 1.

        The search is exact, so that no match is lost between two pages, except in Milvus with an index.
        """
        where, how = where or Filter(), Comparison([query_camera], camera_statistics)
        queries = checked_queries(one_row(vector), top_k, where)
        found = self._search_after(queries[0], top_k, where, after, how)
        self._log(name, queries, top_k, where, how, [len(found)])
        return found

    def _search_after(
        self, query: NDArray[np.float32], top_k: int, where: Filter, after: Position | None, how: Comparison
    ) -> list[tuple[Match, Position]]:
        """:meth:`search_after` for a checked query (D,), without the audit log."""

    def _log(
        self,
        name: str,
        queries: NDArray[np.float32],
        top_k: int,
        where: Filter,
        how: Comparison,
        found: Sequence[int],
    ) -> None:
        """Write searches for ``queries`` (B, D) and the number of records found into the audit log, if there is one."""

    def search_page(
        self,
        vector: ArrayLike,
        top_k: int = 10,
        where: Filter | None = None,
        *,
        group: Grouping | None = None,
        after: str | None = None,
        query_camera: str | None = None,
        camera_statistics: bool = True,
        name: str = "",
    ) -> Page:
        """A page with ``top_k`` matches of ``vector`` (D,) float, L2-normalised: those after the cursor ``after``, or
        the first.

        ``group`` is None for single records; "tracklet" for one match per tracklet (its nearest record), if crops were
        enrolled singly; "camera" for the ``top_k`` records of each camera. All pages together show every record that
        passes the filters. A record that is there all the time is shown exactly once, even if others are added or
        deleted between two pages.

        Raises what :meth:`search` raises, and :class:`InputError` for a malformed cursor, or a cursor of another
        descriptor (to the last bit), gallery, filter, grouping or camera statistics. ``top_k`` may change.
        """
        where, how = where or Filter(), Comparison([query_camera], camera_statistics)
        queries = checked_queries(one_row(vector), top_k, where)

        def search(
            query: NDArray[np.float32], k: int, among: Filter, behind: Position | None
        ) -> list[tuple[Match, Position]]:
            return self._search_after(query, k, among, behind, how)

        page = page_of(self, search, queries, top_k, where, group, after, how)
        self._log(name, queries, top_k, where, how, [len(page.matches)])
        return page

    def statistics(self) -> CameraStatistics | None:
        """The camera statistics that searches use. None if there are none.

        After a refresh, an index uses the version before until it is built again.
        """

    def statistics_version(self, how: Comparison) -> int:
        """The version of the camera statistics that a search uses. 0 for none."""

    def refresh_statistics(self, on_progress: OnProgress | None = None, *, if_due: bool = False) -> bool:
        """Fit camera statistics to all records, as a new version. True if there is a new version.

        With ``if_due``, fit only if a camera's records have doubled or halved since the last fit
        (``gallery/statistics.py``). Reads all records twice. If the process is killed, the old version stays. The index
        of a large gallery uses the old version until :meth:`build_index`.
        """

    @property
    def identity(self) -> str:
        """A text that identifies this gallery for as long as it exists."""

    @property
    def damage(self) -> dict[int, str]:
        """Damaged records that searches have left out so far: number -> reason. Empty if the engine handles damage."""

    def enrolled(self, records: Sequence[Record]) -> list[bool]:
        """For each record, whether a record with its tracklet, camera and source is stored."""

    def held(self, digests: Collection[str]) -> dict[str, Stored]:
        """The undamaged records whose keys have these digests (:func:`gallery.digests.key_digest`), by digest. Records
        past the retention are not shown, as in searches."""

    def count_passing(self, where: Filter) -> dict[str, int]:
        """How many records of each camera pass a filter and are not past the gallery's retention, by camera."""

    def records(self) -> Iterator[Batch]:
        """Yield all undamaged records once, in any order, as of the moment when the reading began."""

    def listed(self, which: Selection) -> Iterator[Record]:
        """Yield the undamaged records that match, in any order, without their descriptors."""

    def keys(self, which: Selection) -> Iterator[Record]:
        """Yield source, tracklet and camera, and nothing else, of the records that match, in any order. Damaged records
        are among them, and records past the retention."""

    def matching(
        self,
        tracklet: str | None = None,
        camera: str | None = None,
        source: str | None = None,
        *,
        before: float | None = None,
        keep_undated: bool = False,
    ) -> int:
        """How many records :meth:`delete` and :meth:`forget` would delete. Raises :class:`InputError` as they do."""
        return self.count_of(Selection(tracklet, camera, source, before, keep_undated))

    def delete(
        self,
        tracklet: str | None = None,
        camera: str | None = None,
        source: str | None = None,
        *,
        before: float | None = None,
        keep_undated: bool = False,
    ) -> int:
        """Delete the records that match all given criteria (:class:`Selection`). Gives the number of deleted records.

        Quick, but their bytes may stay in the files until :meth:`compact`. Raises :class:`InputError` if nothing is
        given.
        """
        return self.delete_selected(Selection(tracklet, camera, source, before, keep_undated))

    def forget(
        self,
        tracklet: str | None = None,
        camera: str | None = None,
        source: str | None = None,
        *,
        before: float | None = None,
        keep_undated: bool = False,
        on_progress: OnProgress | None = None,
    ) -> int:
        """:meth:`delete`, then :meth:`compact`, which erases the descriptors' bytes. Gives the number of deleted
        records.

        The bytes of records that were deleted before are erased too, so run it again after an interruption. Raises
        :class:`InputError` if nothing is given.
        """
        gone = self.delete(tracklet, camera, source, before=before, keep_undated=keep_undated)
        if gone or self.leftover():
            self.compact(on_progress)
        return gone

    def leftover(self) -> bool:
        """Whether files may still hold bytes of deleted records, which :meth:`compact` erases. False if the engine
        erases them later by itself."""
        return False

    def count_of(self, which: Selection) -> int:
        """:meth:`matching` for a :class:`Selection`."""

    def delete_selected(self, which: Selection) -> int:
        """:meth:`delete` for a :class:`Selection`."""

    def delete_records(self, records: Sequence[Record]) -> int:
        """:meth:`delete` the records that have the tracklet, camera and source of one of these ``records``."""

    @property
    def retention(self) -> float | None:
        """Seconds after which a record is hidden from searches. None for never."""

    def keep_for(self, seconds: float | None) -> None:
        """Set the gallery's retention in seconds, None for no limit. This deletes nothing: :meth:`expire` does.

        A record is past the retention if it was last seen, or enrolled, longer ago; see :attr:`Selection.before`.
        """

    def expire(self) -> int:
        """Delete the records past the retention. Gives their number. Quick if there are none."""
        if self.retention is None:
            return 0
        which = Selection(before=time.time() - self.retention)
        return self.delete_expired(which) if self.count_of(which) else 0

    def delete_expired(self, which: Selection) -> int:
        """:meth:`delete_selected` for :meth:`expire`."""
        return self.delete_selected(which)

    def expire_records(self, records: Sequence[Record]) -> int:
        """:meth:`delete_records` that are past a retention. Nothing need be compacted then, so it suits regular work in
        large galleries. Their bytes leave the files as after :meth:`expire`."""
        return self.delete_records(records)

    def compact(self, on_progress: OnProgress | None = None) -> None:
        """:meth:`expire`, then rewrite the files without deleted and replaced records."""

    def build_index(self, on_progress: OnProgress | None = None) -> None:
        """Build or update the index that makes searches quick, if the gallery is large enough to need one."""

    def check(self, on_progress: OnProgress | None = None) -> Report:
        """Read everything, and report what is damaged, record by record."""

    def remember_model_file(self, path: Path) -> None:
        """Store the path of the model file, so that searches find it."""

    @property
    def model_file(self) -> Path | None:
        """The path that :meth:`remember_model_file` stored. None if there is none."""

    def remember_copy(self, text: str) -> None:
        """Store what :func:`gallery.transfer.copy` has made of this gallery."""

    @property
    def copied(self) -> str:
        """The text that :meth:`remember_copy` stored. Empty if there is none."""

    def info(self) -> Info:
        """What the gallery holds: counts, model and size."""
