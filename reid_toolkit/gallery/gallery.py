"""Descriptors and records in, matches out."""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.gallery.checks import check_times, unit_rows
from reid_toolkit.gallery.index import EF, Index, OnProgress
from reid_toolkit.gallery.snapshot import Mask, Positions, Snapshot, distances_to, nearest
from reid_toolkit.gallery.store import Store, key_of
from reid_toolkit.records import Match, Record

EXACT_BELOW = 100_000
"""Rows up to which every search is exact. At 100,000 x 512 that takes 6 ms on two cores, less than embedding
the query does; an index would take minutes to build and now and then miss somebody."""
FEW = 0.1
"""Share of rows passing a filter below which search is exact: there the graph is slower."""


@dataclass(frozen=True, slots=True)
class Info:
    """What a gallery holds."""

    path: Path
    count: int
    dimension: int | None
    """None as long as nothing was added."""
    model: str | None
    """Fingerprint of the model its descriptors come from; None when it was never told."""
    model_file: str | None
    cameras: dict[str, int]
    """Records of each camera."""
    sources: dict[str, int]
    first: float | None
    """Earliest start, seconds."""
    last: float | None
    """Latest end, seconds."""
    bytes: int
    """Size of all its files."""


class Gallery:
    """A folder of enrolled descriptors. Threads may share one; processes each open their own.

        with Gallery.open("gallery", dimension=512) as gallery:
            gallery.add(vectors, records)
            matches = gallery.search(vector, top_k=10, cameras={"entrance"})

    Searches see what other processes have added. One writes at a time; a second waits, then gives up by name.
    """

    def __init__(self, store: Store, exact_below: int) -> None:
        self._store = store
        self._exact_below = exact_below
        self._lock = threading.RLock()
        self._expected: dict[str, str] = {}  # "dimension" and "model", as far as given
        self._snapshot = Snapshot(0)
        self._index: Index | None = None

    @classmethod
    def open(
        cls,
        path: str | Path,
        dimension: int | None = None,
        model: str | None = None,
        create: bool = True,
        *,
        exact_below: int = EXACT_BELOW,
    ) -> "Gallery":
        """Open the gallery at ``path``, or make it when there is none and ``create``.

        dimension: width of the descriptors; model: fingerprint of the model they come from. An empty gallery
        takes over what is given, any other compares it. From ``exact_below`` rows on, search uses an index.
        Raises :class:`GalleryError` when they differ, or when the gallery is damaged, locked, or not one.
        """
        gallery = cls(Store(Path(path), create), exact_below)
        try:
            gallery.expect(dimension, model)
        except BaseException:
            gallery.close()
            raise
        return gallery

    def close(self) -> None:
        """Close the files; what was added is stored already. The gallery cannot be used afterwards."""
        with self._lock:
            self._store.close()

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        with self._lock, self._store.reading():
            return self._store.count()

    def expect(self, dimension: int | None = None, model: str | None = None) -> None:
        """Hold the gallery to this width and model from now on; an empty one takes them over.

        Raises :class:`GalleryError` when it holds descriptors of others.
        """
        given = {"dimension": None if dimension is None else str(dimension), "model": model}
        with self._lock:
            wanted = self._expected | {key: value for key, value in given.items() if value is not None}
            with self._store.reading():
                same = all(self._store.meta(key) == value for key, value in wanted.items())
            if not same:
                with self._store.writing():
                    self._bind(wanted)
            self._expected = wanted

    def _bind(self, wanted: dict[str, str]) -> None:
        """Within ``writing``, so that two processes cannot bind one empty gallery to two models."""
        empty = self._store.count() == 0
        for key, value in wanted.items():
            # What this gallery was opened for stands, even while it is empty.
            held = self._expected.get(key, value) if empty else self._store.meta(key)
            if held != value:
                what = {"dimension": "width", "model": "model"}[key]
                raise GalleryError(
                    f"{self._store.folder}: holds descriptors of {what} {held or 'unknown'}, got {what} "
                    f"{value}: use the model it was enrolled with, or another gallery"
                )
            self._store.set_meta(key, value)

    def add(self, vectors: ArrayLike, records: Sequence[Record]) -> None:
        """Store descriptors (N, D) float32, L2-normalised to 1e-3, with a record each.

        All or nothing; on the disk when this returns. A record with the tracklet, camera and source of one
        that is already there replaces it. Raises :class:`InputError` for another shape or length, NaN, or
        times in disorder, :class:`GalleryError` for another width.
        """
        matrix = unit_rows(vectors, "descriptors")
        if len(matrix) != len(records):
            raise InputError(f"{len(matrix)} descriptors for {len(records)} records: expected one each")
        for record in records:
            check_times(record)
        if not len(records):
            return
        with self._lock, self._store.writing():
            self._bind(self._expected | {"dimension": str(matrix.shape[1])})
            self._store.insert(matrix, records)

    def search(
        self,
        vector: ArrayLike,
        top_k: int = 10,
        cameras: Collection[str] | None = None,
        since: float | None = None,
        until: float | None = None,
        exclude: Collection[Record] = (),
    ) -> list[Match]:
        """The ``top_k`` records nearest to ``vector`` (D,) float32 L2-normalised, nearest first.

        Only records of ``cameras`` whose time, from start to end, overlaps [since, until] (seconds; a record
        without times then never matches); none with the tracklet, camera and source of one in ``exclude``.
        Fewer when fewer pass; of equal distances the earlier enrolled comes first.
        Raises :class:`InputError` for another shape or NaN, :class:`GalleryError` when nothing is enrolled.
        """
        if isinstance(cameras, str):
            raise InputError(f"cameras is the text {cameras!r}: expected a collection of names")
        if top_k < 1:
            raise InputError(f"top_k is {top_k}: expected 1 or more")
        flat = np.asarray(vector)
        if flat.ndim != 1:
            raise InputError(f"query has shape {flat.shape}: expected one descriptor, (D,)")
        query = unit_rows(flat[None], "query")[0]
        names = None if cameras is None else frozenset(cameras)
        with self._lock, self._store.reading():
            snapshot = self._synced()
            if len(query) != snapshot.dimension:
                raise InputError(f"query has width {len(query)}: expected {snapshot.dimension}, as enrolled")
            without = list(self._store.ids_of(map(key_of, exclude)).values())
            mask = snapshot.allowed(names, since, until, without)
            rows, distances = self._nearest(snapshot, query, top_k, mask)
            records = self._store.records(snapshot.ids[rows])
        found = zip(distances.tolist(), records, strict=True)
        return [Match(rank, distance, record) for rank, (distance, record) in enumerate(found, start=1)]

    def _synced(self) -> Snapshot:
        dimension = int(self._store.meta("dimension") or 0)
        if dimension != self._snapshot.dimension:
            self._snapshot, self._index = Snapshot(dimension), None
        self._snapshot.sync(self._store)
        if not self._snapshot.count:
            raise GalleryError(f"{self._store.folder}: the gallery is empty: enroll something first")
        return self._snapshot

    def _nearest(
        self, snapshot: Snapshot, query: NDArray[np.float32], k: int, mask: Mask | None
    ) -> tuple[Positions, NDArray[np.float64]]:
        among = None if mask is None else np.flatnonzero(mask)
        passing = snapshot.count if among is None else len(among)
        # Past EF the graph walks so far that the product is as quick.
        if snapshot.count < self._exact_below or passing < FEW * snapshot.count or k > EF:
            return nearest(snapshot.vectors, query, k, among)
        # More than k, so that of rows at one distance the earlier enrolled are among them.
        reach = min(2 * k + 16, passing)
        ids = self._indexed(snapshot).query(query, reach, None if among is None else snapshot.ids[among])
        if not len(ids):
            return nearest(snapshot.vectors, query, k, among)
        # Distances and ties are those of the record, whatever the index says.
        rows = np.sort(np.searchsorted(snapshot.ids, ids))
        distances = distances_to(snapshot.vectors, query, rows)
        order = np.lexsort((rows, distances))[:k]
        return rows[order], distances[order]

    def _indexed(self, snapshot: Snapshot, on_progress: OnProgress | None = None) -> Index:
        if self._index is None:
            self._index = Index(self._store.folder, self._store.meta("id") or "", snapshot.dimension)
        self._index.sync(snapshot.ids, snapshot.vectors, on_progress)
        return self._index

    def build_index(self, on_progress: OnProgress | None = None) -> None:
        """Make the index ready if the gallery is large enough for one; else the first search does it."""
        with self._lock, self._store.reading():
            if self._store.count() >= self._exact_below:
                self._indexed(self._synced(), on_progress)

    def enrolled(self, records: Sequence[Record]) -> list[bool]:
        """For each record, whether one with its tracklet, camera and source is there."""
        keys = [key_of(record) for record in records]
        with self._lock, self._store.reading():
            found = self._store.ids_of(keys)
        return [key in found for key in keys]

    def matching(self, tracklet: str | None = None, camera: str | None = None, source: str | None = None) -> int:
        """How many records :meth:`forget` would delete."""
        with self._lock, self._store.reading():
            return self._store.matching(tracklet, camera, source)

    def forget(self, tracklet: str | None = None, camera: str | None = None, source: str | None = None) -> int:
        """Delete the records that match all that is given, their descriptors' bytes in every file too.

        A source stands for itself and for all files below it. Returns how many records there were.
        """
        with self._lock:
            with self._store.writing():
                gone = self._store.delete(tracklet, camera, source)
            (self._index or Index(self._store.folder, "", 0)).forget()
            self._store.compact()
        return gone

    def remember_model_file(self, path: Path) -> None:
        """Keep where the model lies, so that a search need not be told."""
        with self._lock, self._store.writing():
            self._store.set_meta("model_file", str(path))

    @property
    def model_file(self) -> Path | None:
        """What :meth:`remember_model_file` was told last."""
        with self._lock, self._store.reading():
            held = self._store.meta("model_file")
        return Path(held) if held else None

    def info(self) -> Info:
        """Counts, model and size; reads an index of the file, not the descriptors."""
        with self._lock, self._store.reading():
            store = self._store
            dimension = store.meta("dimension")
            return Info(
                path=store.folder,
                count=store.count(),
                dimension=int(dimension) if dimension else None,
                model=store.meta("model"),
                model_file=store.meta("model_file"),
                cameras=store.tally("camera"),
                sources=store.tally("source"),
                first=store.span()[0],
                last=store.span()[1],
                bytes=sum(file.stat().st_size for file in store.folder.iterdir() if file.is_file()),
            )
