"""What every gallery does, wherever it is kept: one protocol, and one set of behaviour tests run on each."""

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
from reid_toolkit.gallery.types import Batch, Comparison, Filter, Info, OnProgress, Report, Selection
from reid_toolkit.gallery.validation import checked_queries, one_row
from reid_toolkit.records import Match, Record


class GalleryStore(Protocol):
    """Descriptors in, matches out. ``Gallery.open`` and ``open_gallery`` return one.

    The methods raise :class:`InputError` for arguments that cannot be right, and :class:`GalleryError` for a
    gallery that cannot do it: of another model or width, empty, damaged, or not reached. What follows from other
    methods is written here, once for every kind.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and connections. What was added is stored already."""

    def __len__(self) -> int:
        """How many records there are."""

    @property
    def block_list(self) -> BlockList:
        """Who was forgotten, and must not come back."""

    def expect(self, dimension: int | None = None, model: str | None = None) -> None:
        """Hold the gallery to this width and model from now on; an empty one takes them over."""

    def add(self, vectors: ArrayLike, records: Sequence[Record]) -> None:
        """Store descriptors (N, D) float, L2-normalised to 1e-3, with a record each; durable when this returns.

        A record with the tracklet, camera and source of one that is there replaces it.
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
        """The ``top_k`` records nearest to ``vector`` (D,) float L2-normalised, nearest first.

        query_camera: the camera that ``vector`` is from; None where it is not known. camera_statistics: compare
        descriptors freed of their camera's bias, where the gallery has statistics for it (see :meth:`statistics`).

        Only those that pass all filters, which are those of :class:`Filter`, and are not past the gallery's
        retention. Fewer when fewer pass; of equal distances the earlier enrolled comes first. An audit log, where
        the gallery keeps one, calls the query ``name``.
        Raises :class:`InputError` for another shape, width or length, NaN, or a filter that cannot be right,
        :class:`GalleryError` when nothing is enrolled, :class:`AuditError` when an audit log cannot be written.
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
    ) -> list[list[Match]]:
        """As :meth:`search`, for each row of ``vectors`` (B, D), whose cameras are ``query_cameras``, B of them."""

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
        """The ``top_k`` records nearest to ``vector`` (D,) of those behind ``after`` in the ranking, and where each
        stands in it; ranks count from 1. Exact, so that no match is between two pages, unless Milvus has an index.
        """
        where, how = where or Filter(), Comparison([query_camera], camera_statistics)
        queries = checked_queries(one_row(vector), top_k, where)
        found = self._search_after(queries[0], top_k, where, after, how)
        self._log(name, queries, top_k, where, how, [len(found)])
        return found

    def _search_after(
        self, query: NDArray[np.float32], top_k: int, where: Filter, after: Position | None, how: Comparison
    ) -> list[tuple[Match, Position]]:
        """:meth:`search_after` for a checked query (D,), as a part of a search."""

    def _log(
        self,
        name: str,
        queries: NDArray[np.float32],
        top_k: int,
        where: Filter,
        how: Comparison,
        found: Sequence[int],
    ) -> None:
        """Put searches for ``queries`` (B, D), and how much each found, into the audit log, if there is one."""

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
        """The next ``top_k`` matches of ``vector`` (D,) float L2-normalised behind the cursor ``after``, or the first.

        group: None for records as they are; "tracklet" for one match a tracklet, its nearest record, where crops are
        enrolled each; "camera" for the ``top_k`` of each camera. With the cursors of all pages, everything that
        passes is shown: what is there all along once, whatever is added or deleted between two pages.
        Raises what :meth:`search` does, and :class:`InputError` for a cursor that is none, or was made with another
        descriptor (to the last bit), gallery, filter, grouping or camera statistics; ``top_k`` may change.
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
        """The camera statistics that searches use; None where the gallery has none.

        After a refresh an index may still answer by the version before, until it is built anew.
        """

    def statistics_version(self, how: Comparison) -> int:
        """The version of the statistics by which a search compares; 0 where it uses none."""

    def refresh_statistics(self, on_progress: OnProgress | None = None, *, if_due: bool = False) -> bool:
        """Fit camera statistics to all records, as a new version; whether that was done.

        if_due: only where some camera has twice the records of the last fit, or half (``gallery/statistics.py``).
        A process that is killed leaves the version before. Reads everything twice; a large gallery's index keeps
        answering by the old version until :meth:`build_index`.
        """

    @property
    def identity(self) -> str:
        """Tells this gallery from all others, for as long as it is there."""

    @property
    def damage(self) -> dict[int, str]:
        """Records that searches so far had to leave out, by a number, and why; empty where an engine sees to that."""

    def enrolled(self, records: Sequence[Record]) -> list[bool]:
        """For each record, whether one with its tracklet, camera and source is there."""

    def records(self) -> Iterator[Batch]:
        """Everything that is there and whole, each record once, in no set order; as of when it was begun."""

    def listed(self, which: Selection) -> Iterator[Record]:
        """The whole records that match, in no set order, without their descriptors."""

    def matching(
        self,
        tracklet: str | None = None,
        camera: str | None = None,
        source: str | None = None,
        *,
        before: float | None = None,
        keep_undated: bool = False,
    ) -> int:
        """How many records :meth:`delete` and :meth:`forget` would delete; raises :class:`InputError` as they do."""
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
        """Delete the records that match all that is given, see :class:`Selection`; how many there were.

        Quick. Their bytes may stay for a while, until :meth:`compact`. Raises :class:`InputError` when nothing is
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
        """:meth:`delete`, then :meth:`compact`: the descriptors' bytes are gone. How many records there were.

        Those of what was deleted before, too: run it again after an interruption. Raises :class:`InputError` when
        nothing is given.
        """
        gone = self.delete(tracklet, camera, source, before=before, keep_undated=keep_undated)
        if gone or self.leftover():
            self.compact(on_progress)
        return gone

    def leftover(self) -> bool:
        """Whether files may still hold bytes of deleted records, which :meth:`compact` removes. Of an engine that
        removes them by itself, later, False."""
        return False

    def count_of(self, which: Selection) -> int:
        """:meth:`matching` of criteria in one."""

    def delete_selected(self, which: Selection) -> int:
        """:meth:`delete` by criteria in one."""

    def delete_records(self, records: Sequence[Record]) -> int:
        """:meth:`delete` of just the records with the tracklet, camera and source of one of these."""

    @property
    def retention(self) -> float | None:
        """Seconds after which a record is not shown any more; None for ever."""

    def keep_for(self, seconds: float | None) -> None:
        """Set the gallery's retention; None for ever. Deletes nothing: :meth:`expire` does.

        A record is past it when it was seen last, or enrolled, longer ago; see :attr:`Selection.before`.
        """

    def expire(self) -> int:
        """:meth:`delete` what is past the retention; how many records that were. Quick where there is nothing."""
        if self.retention is None:
            return 0
        before = time.time() - self.retention
        return self.delete(before=before) if self.matching(before=before) else 0

    def compact(self, on_progress: OnProgress | None = None) -> None:
        """:meth:`expire`, and rewrite what is stored without what was deleted or replaced."""

    def build_index(self, on_progress: OnProgress | None = None) -> None:
        """Make searching as quick as it gets, if the gallery is large enough for that to matter."""

    def check(self, on_progress: OnProgress | None = None) -> Report:
        """Read everything, and say what is damaged, record by record."""

    def remember_model_file(self, path: Path) -> None:
        """Keep where the model lies, so that a search need not be told."""

    @property
    def model_file(self) -> Path | None:
        """What :meth:`remember_model_file` was told last."""

    def info(self) -> Info:
        """Counts, model and size."""
