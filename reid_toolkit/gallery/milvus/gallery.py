"""A gallery in Milvus, for more records than one machine can hold. Its answers are those of a gallery in a folder."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Collection as Several
from dataclasses import asdict
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.gallery.block_list import BlockList
from reid_toolkit.gallery.cursor import Position
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.milvus.address import parse_address
from reid_toolkit.gallery.milvus.block_list import MilvusBlockList
from reid_toolkit.gallery.milvus.check import Tally, report_on, tally
from reid_toolkit.gallery.milvus.collection import EF, EF_CONSTRUCTION, Collection, M
from reid_toolkit.gallery.milvus.compared import STATE, Compared, states
from reid_toolkit.gallery.milvus.filters import chosen, expression, is_hidden
from reid_toolkit.gallery.milvus.people_table import MilvusPeopleTable
from reid_toolkit.gallery.milvus.properties import LAST, MODEL, MODEL_FILE
from reid_toolkit.gallery.milvus.rows import ALL, SCALARS, encode, is_whole, record_of, vectors_of
from reid_toolkit.gallery.milvus.search import following, nearest
from reid_toolkit.gallery.milvus.statistics import Statistics
from reid_toolkit.gallery.statistics import about_statistics
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
from reid_toolkit.gallery.validation import check_records, checked_cameras, checked_queries, stored_rows
from reid_toolkit.records import Match, Record

Found = TypeVar("Found")
Find = Callable[[Collection, NDArray[np.float32], str], list[Found]]
"""Searches a collection for queries (B, D), among the rows that pass an expression."""


class MilvusGallery(Statistics):
    """A :class:`GalleryStore` in a collection of Milvus. Threads may share it, and any number of processes may write.

    ``add`` returns when the records are in Milvus's log. It writes in parts of 16 MB, each completely or not at all:
    after an error, add all records again. Searches see every write that was acknowledged before them.
    """

    @classmethod
    def open(
        cls,
        where: str,
        dimension: int | None = None,
        model: str | None = None,
        create: bool = True,
        *,
        exact_below: int = EXACT_BELOW,
    ) -> "MilvusGallery":
        """Open the gallery at an address. With ``create``, create it if there is none: now, or as soon as ``dimension``
        is known.

        Raises :class:`InputError` for a malformed address, and :class:`GalleryError` if the server cannot be reached,
        or the collection is of another program, metric, width or model, or does not exist.
        """
        gallery = cls(Collection(parse_address(where)), exact_below)
        try:
            if not gallery._is_there() and not create:
                raise GalleryError(f"{where}: no gallery there: make one with `reid enroll`")
            gallery.expect(dimension, model)
        except BaseException:
            gallery.close()
            raise
        return gallery

    def close(self) -> None:
        """Close the connection. The gallery cannot be used afterwards."""
        self._collection.close()

    def add(self, vectors: ArrayLike, records: Sequence[Record]) -> None:
        """Store descriptors (N, D) float, L2-normalised to within 1e-3, each with a record. They are rounded to half
        precision.

        A record with the same tracklet, camera and source as a stored record replaces it.
        """
        matrix = stored_rows(vectors, "descriptors")
        check_records(records, len(matrix))
        if not len(records):
            return
        self._bind(self._expected | {"width": matrix.shape[1]})
        # Nanoseconds, so that later enrolments get higher places, whichever process enrolls.
        rows = encode(matrix, records, time.time_ns())
        ours = states(rows)

        def touched() -> list[str]:
            held = states(self._collection.look_up(list(ours), STATE))
            return [key for key in ours if held.get(key) != ours[key]]

        self._write(lambda collection, version: collection.upsert(version.rows(rows) if version else rows), touched)

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
        """:meth:`search` for each row of ``vectors`` (B, D), which is quicker than B searches.

        ``name`` and ``logged`` are not used, because a gallery in Milvus has no audit log.
        """
        where = where or Filter()
        queries = checked_queries(vectors, top_k, where)
        how = Comparison(checked_cameras(query_cameras, len(queries)), camera_statistics)
        return self._ask(
            queries, where, how, lambda collection, compared, expr: nearest(collection, compared, top_k, expr)
        )

    def _search_after(
        self, query: NDArray[np.float32], top_k: int, where: Filter, after: Position | None, how: Comparison
    ) -> list[tuple[Match, Position]]:
        # Milvus must also give all rows before ``after``, up to the limit of an answer. Beyond it, all rows are read.
        return self._ask(
            query[None], where, how,
            lambda collection, compared, expr: following(collection, compared[0], top_k, expr, after),
        )  # fmt: skip

    def _ask(self, queries: NDArray[np.float32], where: Filter, how: Comparison, find: Find[Found]) -> list[Found]:
        found: list[Found] = []
        while self._is_there():
            if how.camera_statistics:
                used = self._in_use()
            else:
                used = None
                self._now()
            if queries.shape[1] != self._dimension:
                raise InputError(
                    f"query has width {queries.shape[1]}: expected {self._dimension}, the width of this gallery"
                )
            kept = self._kept()
            expr = expression(where, None if kept is None else time.time() - kept)
            try:
                if used is None:
                    found = find(self._collection, queries, expr)
                else:
                    found = find(used.collection, used.statistics.apply(queries, how.query_cameras), expr)
                break
            except GalleryError:
                if used is None or not self._is_gone(used):
                    raise
        if not any(found) and not len(self):
            raise GalleryError(f"{self._where}: the gallery is empty: enroll people first, with `reid enroll`")
        return found

    @property
    def identity(self) -> str:
        """The server's URI and the collection's name."""
        return f"{self._collection.address.uri}/{self._collection.address.name}"

    def enrolled(self, records: Sequence[Record]) -> list[bool]:
        """For each record, whether a record with its tracklet, camera and source is stored."""
        ids = [key_digest(record) for record in records]
        found = set.intersection(*self._both(lambda collection: collection.find(ids))) if self._is_there() else set()
        return [digest in found for digest in ids]

    def held(self, digests: Several[str]) -> dict[str, Stored]:
        """The undamaged records whose keys have these digests, by digest. Not those past the retention."""
        rows = self._collection.look_up(list(digests), ALL) if digests and self._is_there() else []
        kept = self.retention
        since = None if kept is None else time.time() - kept
        whole = [row for row in rows if is_whole(row) and not is_hidden(row, since)]
        return {row["id"]: Stored(record_of(row), vectors_of([row])[0]) for row in whole}

    def count_passing(self, where: Filter) -> dict[str, int]:
        """How many records of each camera pass a filter. Reads the cameras of these records."""
        kept, counts = self._kept(), Counter[str]()
        expr = expression(where, None if kept is None else time.time() - kept)
        for rows in self._collection.pages(("camera",), expr) if self._is_there() else ():
            counts.update(row["camera"] for row in rows)
        return dict(sorted(counts.items()))

    def records(self) -> Iterator[Batch]:
        """Yield all undamaged records and their descriptors (B, D) float32, in any order."""
        for rows in self._collection.pages(ALL) if self._is_there() else ():
            whole = [row for row in rows if is_whole(row)]
            if whole:
                yield [record_of(row) for row in whole], vectors_of(whole)

    def listed(self, which: Selection) -> Iterator[Record]:
        """Yield the records that match, in any order, without their descriptors."""
        for rows in self._collection.pages(SCALARS, chosen(which)) if self._is_there() else ():
            yield from map(record_of, rows)

    def keys(self, which: Selection) -> Iterator[Record]:
        """Yield source, tracklet and camera of the records that match."""
        for rows in self._collection.pages(("source", "tracklet", "camera"), chosen(which)) if self._is_there() else ():
            yield from (Record(row["tracklet"], row["camera"], source=row["source"]) for row in rows)

    def count_of(self, which: Selection) -> int:
        """The number of records that match."""
        expr = chosen(which)
        return max(self._both(lambda collection: collection.count(expr))) if self._is_there() else 0

    def delete_selected(self, which: Selection) -> int:
        """Delete the records that match. Gives their number."""
        if not self._is_there():
            return 0
        count, expr = self.count_of(which), chosen(which)

        def ids() -> list[str]:
            return [row["id"] for page in self._collection.pages(("id",), expr) for row in page]

        with self.people.dropping(ids):
            self._write(lambda collection, _: collection.delete(expr), ids)
        return count

    def delete_records(self, records: Sequence[Record]) -> int:
        """Delete the records that have the tracklet, camera and source of one of these. Gives their number."""
        if not self._is_there():
            return 0
        ids = sorted({key_digest(record) for record in records})
        count = len(set.union(*self._both(lambda collection: collection.find(ids))))
        with self.people.dropping(lambda: ids):
            self._write(lambda collection, _: collection.delete_ids(ids), lambda: sorted(self._collection.find(ids)))
        return count

    def leftover(self) -> bool:
        """Whether a killed process may have left links between deleted records, which :meth:`compact` deletes. Milvus
        erases the records' bytes by itself."""
        return self.people.is_unfinished()

    def compact(self, on_progress: OnProgress | None = None) -> None:
        """:meth:`expire`, then let Milvus rewrite its files without deleted and replaced records.

        Milvus removes the old files later, as its setting ``dataCoord.gc`` says. Camera statistics are fitted again if
        that is due, because the old means contain deleted records.
        """
        self.expire()
        if not self._is_there():
            return
        self._mend()
        self._write(lambda collection, _: collection.compact(), list)
        self.people.compact()
        if self._properties.get(LAST):  # if there never were statistics, none are made
            self.refresh_statistics(if_due=True)

    def check(self, on_progress: OnProgress | None = None) -> Report:
        """Read everything, and report which records are damaged."""
        if not self._is_there():
            return Report(0, 0, (), 0, (), "none")
        used = self._find()
        if isinstance(used, Compared):
            statistics = "whole" if used.is_whole() else "damaged"
        else:
            statistics = "none" if used is None else "damaged"
        return report_on(self._collection, "whole" if self._indexed() else "none", statistics, on_progress)

    @property
    def block_list(self) -> BlockList:
        """The list of forgotten records, which must not come back."""
        return MilvusBlockList(self._collection)

    @property
    def people(self) -> MilvusPeopleTable:
        """Which records show the same person, what people are called, and the corrections by users."""
        return MilvusPeopleTable(self._collection, self._is_there)

    @property
    def damage(self) -> dict[int, str]:
        """Always empty, because searches do not verify checksums here. :meth:`check` does."""
        return {}

    def build_index(self, on_progress: OnProgress | None = None) -> None:
        """Let Milvus build an HNSW index, if the gallery is so large that a gallery in a folder would have an index.

        Searches fail while it is built. The index is in the collection that searches use: see ``compared.py``.
        """
        if not self._is_there():
            return
        self._mend()
        if not self._collection.address.lite and not self._indexed() and len(self) >= self._exact_below:
            self._searched().make_index("HNSW")

    def _indexed(self) -> bool:
        return self._is_there() and self._searched().index().get("index_type") == "HNSW"

    def info(self) -> Info:
        """Counts, model and index. Reads the names and times of all records, because Milvus cannot count by them."""
        index = self._searched().index() if self._indexed() else None
        kept, used = self.retention, self._find()
        held = used.statistics if isinstance(used, Compared) else None
        return Info(
            path=self._where,
            dimension=self._dimension,
            model=self._properties.get(MODEL),
            model_file=self._properties.get(MODEL_FILE),
            bytes=None,
            index=index and {"rows": int(index["indexed_rows"]), "ef": EF, "M": M, "ef_construction": EF_CONSTRUCTION},
            retention=kept,
            past=self.matching(before=time.time() - kept) if kept else 0,
            audit=None,
            statistics=about_statistics(held, held.version if held else 0),
            **asdict(tally(self._collection) if self._is_there() else Tally()),
        )
