"""A gallery that Milvus keeps: the answers of the embedded one, past one machine."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.gallery.checks import check_records, checked_queries, one_row
from reid_toolkit.gallery.criteria import Filter
from reid_toolkit.gallery.cursor import Position
from reid_toolkit.gallery.fingerprints import key_digest
from reid_toolkit.gallery.milvus_address import parse_address
from reid_toolkit.gallery.milvus_collection import EF, EF_CONSTRUCTION, IDS, METRIC, Collection, M
from reid_toolkit.gallery.milvus_filter import among, chosen, expression
from reid_toolkit.gallery.milvus_report import Tally, report_on, tally
from reid_toolkit.gallery.milvus_rows import ALL, encode, is_whole, record_of, vectors_of
from reid_toolkit.gallery.milvus_search import following, nearest
from reid_toolkit.gallery.precision import stored_rows
from reid_toolkit.gallery.protocol import Batch, GalleryStore, Info, OnProgress
from reid_toolkit.gallery.report import Report
from reid_toolkit.gallery.searcher import EXACT_BELOW
from reid_toolkit.records import Match, Record

FORMAT, MODEL, MODEL_FILE = "reid.gallery", "reid.model", "reid.model_file"
"""Properties of the collection: what it is ("1"), the fingerprint of its model, and where that lies."""


class MilvusGallery(GalleryStore):
    """A :class:`GalleryStore` in one collection of Milvus. Threads may share one; any number of processes write.

    ``add`` returns when Milvus has it in its log, in parts of 16 MB of which each is whole or not there: after an
    error, add all of it again. Searches wait until they see every write that was acknowledged before them.
    """

    def __init__(self, collection: Collection, exact_below: int) -> None:
        self._collection = collection
        self._where = collection.address.text
        self._exact_below = exact_below
        self._expected: dict[str, str | int] = {}  # "width" and "model", as far as given
        self._dimension: int | None = None
        self._properties: dict[str, str] = {FORMAT: "1"}
        self._made = False

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

    def _is_there(self) -> bool:
        """Whether there is a collection, which another process may have made meanwhile."""
        if not self._made and self._collection.exists():
            self._look()
            if not self._collection.index():
                # A process that was killed between two indexes left none.
                self._collection.make_index("FLAT")
            self._collection.load()
            self._made = True
        return self._made

    def _look(self) -> None:
        """Read what the collection says about itself."""
        self._dimension, self._properties = self._collection.describe()
        if self._dimension is None or self._properties.get(FORMAT) != "1":
            raise GalleryError(f"{self._where}: a collection of another program: choose another name")
        metric = self._collection.index().get("metric_type", METRIC)
        if metric != METRIC:
            raise GalleryError(f"{self._where}: made for the metric {metric!r}: expected {METRIC!r}; enroll anew")

    def close(self) -> None:
        """Close the connection. The gallery cannot be used afterwards."""
        self._collection.close()

    def __len__(self) -> int:
        return self._collection.count() if self._is_there() else 0

    def expect(self, dimension: int | None = None, model: str | None = None) -> None:
        """Hold the gallery to this width and model from now on; an empty one takes them over."""
        given = {what: value for what, value in (("width", dimension), ("model", model)) if value is not None}
        self._bind(self._expected | given)
        self._expected |= given

    def _bind(self, wanted: dict[str, str | int]) -> None:
        if self._is_there():
            self._look()
        held = {"width": self._dimension, "model": self._properties.get(MODEL)}
        others = [what for what, value in wanted.items() if held[what] != value]
        if not others:
            return
        # What this gallery was opened for stands, even while it is empty.
        stands = held if len(self) else self._expected
        for what in others:
            if stands.get(what, wanted[what]) != wanted[what]:
                raise GalleryError(
                    f"{self._where}: holds descriptors of {what} {stands[what] or 'unknown'}, got {what} "
                    f"{wanted[what]}: use the model it was enrolled with, or another gallery"
                )
        if self._made and "width" in others:
            self._collection.drop()
            self._made = False
        if "width" in others:
            self._dimension = int(wanted["width"])
        if "model" in wanted:
            self._properties[MODEL] = str(wanted["model"])
        self._keep()

    def _keep(self) -> None:
        """Put down in Milvus what is known about the gallery, which is made once its width is known."""
        if self._is_there():
            self._collection.set_properties(self._properties)
        elif self._dimension:
            self._collection.create(self._dimension, self._properties)
            self._made = True

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

    def search_batch(self, vectors: ArrayLike, top_k: int = 10, where: Filter | None = None) -> list[list[Match]]:
        """As :meth:`search`, for each row of ``vectors`` (B, D), which is quicker than one by one."""
        where = where or Filter()
        queries = self._checked(vectors, top_k, where)
        answers = nearest(self._collection, queries, top_k, expression(where)) if self._is_there() else []
        self._refuse_empty(answers)
        return answers

    def search_after(
        self, vector: ArrayLike, top_k: int = 10, where: Filter | None = None, after: Position | None = None
    ) -> list[tuple[Match, Position]]:
        """The ``top_k`` records nearest to ``vector`` (D,) of those behind ``after``, and where each stands.

        Milvus is asked for all that come before them too, up to what it gives in one answer; past that, all is read.
        """
        where = where or Filter()
        queries = self._checked(one_row(vector), top_k, where)
        found = following(self._collection, queries[0], top_k, expression(where), after) if self._is_there() else []
        self._refuse_empty(found)
        return found

    def _checked(self, vectors: ArrayLike, top_k: int, where: Filter) -> NDArray[np.float32]:
        queries = checked_queries(vectors, top_k, where)
        if self._is_there() and queries.shape[1] != self._dimension:
            raise InputError(f"query has width {queries.shape[1]}: expected {self._dimension}, as enrolled")
        return queries

    def _refuse_empty(self, found: Sequence) -> None:
        if not any(found) and not len(self):
            raise GalleryError(f"{self._where}: the gallery is empty: enroll something first")

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

    def matching(self, tracklet: str | None = None, camera: str | None = None, source: str | None = None) -> int:
        """How many records :meth:`delete` and :meth:`forget` would delete."""
        expr = chosen(tracklet, camera, source)
        return self._collection.count(expr) if self._is_there() else 0

    def delete(self, tracklet: str | None = None, camera: str | None = None, source: str | None = None) -> int:
        """Delete the records that match all that is given; how many there were."""
        count = self.matching(tracklet, camera, source)
        if count:
            self._collection.delete(chosen(tracklet, camera, source))
        return count

    def discard(self, records: Sequence[Record]) -> int:
        """Delete the records with the tracklet, camera and source of one of these; how many there were."""
        ids = sorted(self._collection.find([key_digest(record) for record in records])) if self._is_there() else []
        for at in range(0, len(ids), IDS):
            self._collection.delete(among(ids[at : at + IDS]))
        return len(ids)

    def forget(
        self,
        tracklet: str | None = None,
        camera: str | None = None,
        source: str | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> int:
        """:meth:`delete`, then :meth:`compact`. Milvus removes the old files later, as its ``dataCoord.gc`` says."""
        gone = self.delete(tracklet, camera, source)
        if gone:
            self.compact(on_progress)
        return gone

    def compact(self, on_progress: OnProgress | None = None) -> None:
        """Have Milvus rewrite what is stored without what was deleted or replaced."""
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

    def remember_model_file(self, path: Path) -> None:
        """Keep where the model lies, so that a search need not be told."""
        self._is_there()  # reads what else is known
        self._properties[MODEL_FILE] = str(path)
        self._keep()

    @property
    def model_file(self) -> Path | None:
        """What :meth:`remember_model_file` was told last."""
        held = self._properties.get(MODEL_FILE)
        return Path(held) if held else None

    def info(self) -> Info:
        """Counts, model and index. Reads the names and times of all records, as Milvus does not count by them."""
        index = self._collection.index() if self._indexed() else None
        return Info(
            path=self._where,
            dimension=self._dimension,
            model=self._properties.get(MODEL),
            model_file=self._properties.get(MODEL_FILE),
            bytes=None,
            index=index and {"rows": int(index["indexed_rows"]), "ef": EF, "m": M, "ef_construction": EF_CONSTRUCTION},
            **asdict(tally(self._collection) if self._is_there() else Tally()),
        )
