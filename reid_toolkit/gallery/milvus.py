"""A gallery that Milvus keeps: the answers of the embedded one, past one machine."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.gallery.checks import check_records, checked_queries
from reid_toolkit.gallery.criteria import Filter, Which
from reid_toolkit.gallery.cursor import Position
from reid_toolkit.gallery.fingerprints import key_digest
from reid_toolkit.gallery.milvus_about import MODEL, MODEL_FILE, About
from reid_toolkit.gallery.milvus_address import parse_address
from reid_toolkit.gallery.milvus_collection import EF, EF_CONSTRUCTION, IDS, Collection, M
from reid_toolkit.gallery.milvus_filter import among, chosen, expression
from reid_toolkit.gallery.milvus_report import Tally, report_on, tally
from reid_toolkit.gallery.milvus_rows import ALL, SCALARS, encode, is_whole, record_of, vectors_of
from reid_toolkit.gallery.milvus_search import following, nearest
from reid_toolkit.gallery.precision import stored_rows
from reid_toolkit.gallery.protocol import Batch, GalleryStore, Info, OnProgress
from reid_toolkit.gallery.report import Report
from reid_toolkit.gallery.searcher import EXACT_BELOW
from reid_toolkit.records import Match, Record

Found = TypeVar("Found")


class MilvusGallery(About, GalleryStore):
    """A :class:`GalleryStore` in one collection of Milvus. Threads may share one; any number of processes write.

    ``add`` returns when Milvus has it in its log, in parts of 16 MB of which each is whole or not there: after an
    error, add all of it again. Searches wait until they see every write that was acknowledged before them.
    """

    def __init__(self, collection: Collection, exact_below: int) -> None:
        super().__init__(collection)
        self._exact_below = exact_below

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
        """Open the gallery at an address, or make it when there is none and ``create``: now, or as soon as
        ``dimension`` is known.

        Raises :class:`InputError` for an address of neither form, :class:`GalleryError` when the server is away, the
        collection is of another program, of another metric, width or model, or not there.
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
        """Store descriptors (N, D) float, L2-normalised to 1e-3, with a record each; rounded to half precision.

        A record with the tracklet, camera and source of one that is there replaces it.
        """
        matrix = stored_rows(vectors, "descriptors")
        check_records(records, len(matrix))
        if not len(records):
            return
        self._bind(self._expected | {"width": matrix.shape[1]})
        # Nanoseconds, so that what is enrolled later comes later, whoever enrolls it.
        self._collection.upsert(encode(matrix, records, time.time_ns()))

    def search_batch(
        self, vectors: ArrayLike, top_k: int = 10, where: Filter | None = None, *, name: str = ""
    ) -> list[list[Match]]:
        """As :meth:`search`, for each row of ``vectors`` (B, D), which is quicker than one by one.

        There is no audit log here that would call it ``name``.
        """
        return self._ask(vectors, top_k, where, lambda queries, expr: nearest(self._collection, queries, top_k, expr))

    def _behind(
        self, query: NDArray[np.float32], top_k: int, where: Filter, after: Position | None
    ) -> list[tuple[Match, Position]]:
        # Milvus is asked for all that come before them too, up to what it gives in one answer; past that, all is read.
        return self._ask(
            query[None], top_k, where,
            lambda queries, expr: following(self._collection, queries[0], top_k, expr, after),
        )  # fmt: skip

    def _ask(
        self,
        vectors: ArrayLike,
        top_k: int,
        where: Filter | None,
        find: Callable[[NDArray[np.float32], str], list[Found]],
    ) -> list[Found]:
        where = where or Filter()
        queries = checked_queries(vectors, top_k, where)
        found: list[Found] = []
        if self._is_there():
            if queries.shape[1] != self._dimension:
                raise InputError(f"query has width {queries.shape[1]}: expected {self._dimension}, as enrolled")
            kept = self.retention
            found = find(queries, expression(where, None if kept is None else time.time() - kept))
        if not any(found) and not len(self):
            raise GalleryError(f"{self._where}: the gallery is empty: enroll something first")
        return found

    @property
    def identity(self) -> str:
        """The server and the collection."""
        return f"{self._collection.address.uri}/{self._collection.address.name}"

    def enrolled(self, records: Sequence[Record]) -> list[bool]:
        """For each record, whether one with its tracklet, camera and source is there."""
        ids = [key_digest(record) for record in records]
        found = self._collection.find(ids) if self._is_there() else set()
        return [digest in found for digest in ids]

    def records(self) -> Iterator[Batch]:
        """All whole records and their descriptors, (B, D) float32, in no set order."""
        for rows in self._collection.pages(ALL) if self._is_there() else ():
            whole = [row for row in rows if is_whole(row)]
            if whole:
                yield [record_of(row) for row in whole], vectors_of(whole)

    def listed(self, which: Which) -> Iterator[Record]:
        """The records that match, in no set order, without their descriptors."""
        for rows in self._collection.pages(SCALARS, chosen(which)) if self._is_there() else ():
            yield from map(record_of, rows)

    def count_of(self, which: Which) -> int:
        """How many records match."""
        return self._collection.count(chosen(which)) if self._is_there() else 0

    def delete_those(self, which: Which) -> int:
        """Delete the records that match; how many there were."""
        count = self.count_of(which)
        if count:
            self._collection.delete(chosen(which))
        return count

    def discard(self, records: Sequence[Record]) -> int:
        """Delete the records with the tracklet, camera and source of one of these; how many there were."""
        ids = sorted(self._collection.find([key_digest(record) for record in records])) if self._is_there() else []
        for at in range(0, len(ids), IDS):
            self._collection.delete(among(ids[at : at + IDS]))
        return len(ids)

    def compact(self, on_progress: OnProgress | None = None) -> None:
        """:meth:`expire`, and have Milvus rewrite what is stored without what was deleted or replaced.

        Milvus removes the old files later, as its ``dataCoord.gc`` says.
        """
        self.expire()
        if self._is_there():
            self._collection.compact()

    def check(self, on_progress: OnProgress | None = None) -> Report:
        """Read everything, and say which records are damaged."""
        if not self._is_there():
            return Report(0, 0, (), 0, (), "none")
        return report_on(self._collection, "whole" if self._indexed() else "none", on_progress)

    @property
    def damage(self) -> dict[int, str]:
        """Nothing: searches do not read checksums here; :meth:`check` does."""
        return {}

    def build_index(self, on_progress: OnProgress | None = None) -> None:
        """Have Milvus make an HNSW index, once the gallery is as large as an embedded one that has one.

        Searches fail while it is made.
        """
        if (
            self._is_there()
            and not self._collection.address.lite
            and not self._indexed()
            and len(self) >= self._exact_below
        ):
            self._collection.make_index("HNSW")

    def _indexed(self) -> bool:
        return self._is_there() and self._collection.index().get("index_type") == "HNSW"

    def info(self) -> Info:
        """Counts, model and index. Reads the names and times of all records, as Milvus does not count by them."""
        index = self._collection.index() if self._indexed() else None
        kept = self.retention
        return Info(
            path=self._where,
            dimension=self._dimension,
            model=self._properties.get(MODEL),
            model_file=self._properties.get(MODEL_FILE),
            bytes=None,
            index=index and {"rows": int(index["indexed_rows"]), "ef": EF, "m": M, "ef_construction": EF_CONSTRUCTION},
            retention=kept,
            past=self.matching(before=time.time() - kept) if kept else 0,
            audit=None,
            **asdict(tally(self._collection) if self._is_there() else Tally()),
        )
