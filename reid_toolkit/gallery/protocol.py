"""What every gallery does, wherever it is kept: one protocol, and one set of behaviour tests run on each."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.records import Match, Record

if TYPE_CHECKING:
    from reid_toolkit.gallery.report import Report

OnProgress = Callable[[int, int | None], None]
"""Called with (done, total); total is None when it cannot be known."""
Batch = tuple[list[Record], NDArray[np.float32]]
"""Records and their descriptors, (B, D) float32."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records a search looks among: those that pass all that is given here."""

    cameras: Collection[str] | None = None
    """Seen by one of these; None for all."""
    since: float | None = None
    """Seconds. The record's time, from start to end, overlaps [since, until]; one without times never does."""
    until: float | None = None
    sources: Collection[str] | None = None
    """From one of these. A source stands for itself and for everything below it, as a folder for its files."""
    tags: Collection[str] = ()
    """Carrying every one of these."""
    exclude: Collection[Record] = ()
    """Not of the tracklet, camera and source of one of these."""


class Position(NamedTuple):
    """A place in the ranking of all records for one query. Positions compare as the ranking goes, and adding or
    deleting a record moves no other's."""

    distance: float
    """Euclidean, 0-2."""
    place: int
    """The number under which it was enrolled: of equal distances the earlier enrolled comes first."""
    digest: str = ""
    """Of its key, where records may share a ``place``."""


Grouping = Literal["tracklet", "camera"]
"""One answer a tracklet, or the best of each camera."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some matches of a ranking, and how to get those that follow."""

    matches: tuple[Match, ...]
    """Nearest first, ranks going on from the page before. Grouped by camera: one camera after the other, that of the
    nearest match first, and ranks count within the camera."""
    crops: tuple[tuple[Match, ...], ...] | None
    """Grouped by tracklet: for each match, it and the other records of its tracklet that are nearer than any of the
    tracklets that follow this page, nearest first and ranked among themselves; else None."""
    after: str | None
    """The cursor of the next page; None when everything that passes was shown."""


@dataclass(frozen=True, slots=True)
class Info:
    """What a gallery holds."""

    path: str
    """The folder, or the address."""
    count: int
    dimension: int | None
    """None as long as nothing was added."""
    model: str | None
    """Fingerprint of the model its descriptors come from; None when it was never told."""
    model_file: str | None
    cameras: dict[str, int]
    """Records of each camera."""
    sources: dict[str, int]
    tags: dict[str, int]
    first: float | None
    """Earliest start, seconds."""
    last: float | None
    """Latest end, seconds."""
    bytes: int | None
    """Size of all its files; None where they are out of sight."""
    index: dict[str, Any] | None
    """The index: how many records it covers, its settings, and the recall that was checked when it was built;
    None where search is exact."""


class GalleryStore(Protocol):
    """Descriptors in, matches out. ``Gallery.open`` and ``open_gallery`` return one.

    The methods raise :class:`InputError` for arguments that cannot be right, and :class:`GalleryError` for a
    gallery that cannot do it: of another model or width, empty, damaged, or not reached.
    """

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None:
        """Let go of files and connections. What was added is stored already."""

    def __len__(self) -> int:
        """How many records there are."""

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
    ) -> list[Match]:
        """The ``top_k`` records nearest to ``vector`` (D,) that pass the filters, nearest first."""

    def search_batch(self, vectors: ArrayLike, top_k: int = 10, where: Filter | None = None) -> list[list[Match]]:
        """As :meth:`search`, for each row of ``vectors`` (B, D)."""

    def search_after(
        self, vector: ArrayLike, top_k: int = 10, where: Filter | None = None, after: Position | None = None
    ) -> list[tuple[Match, Position]]:
        """The ``top_k`` records nearest to ``vector`` (D,) of those behind ``after`` in the ranking, and where each
        stands in it; ranks count from 1. Exact, so that no match is between two pages, unless Milvus has an index.
        """

    def search_page(
        self,
        vector: ArrayLike,
        top_k: int = 10,
        where: Filter | None = None,
        *,
        group: Grouping | None = None,
        after: str | None = None,
    ) -> Page:
        """The next ``top_k`` matches behind the cursor ``after``: of records; of tracklets, each shown by its nearest
        record; or of each camera."""

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

    def matching(self, tracklet: str | None = None, camera: str | None = None, source: str | None = None) -> int:
        """How many records :meth:`delete` and :meth:`forget` would delete."""

    def delete(self, tracklet: str | None = None, camera: str | None = None, source: str | None = None) -> int:
        """Delete the records that match all that is given; how many there were. Their bytes may stay for a while.

        A source stands for itself and for everything below it.
        """

    def discard(self, records: Sequence[Record]) -> int:
        """:meth:`delete` of just the records with the tracklet, camera and source of one of these."""

    def forget(
        self,
        tracklet: str | None = None,
        camera: str | None = None,
        source: str | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> int:
        """:meth:`delete`, then :meth:`compact`: the descriptors' bytes are gone. How many records there were."""

    def compact(self, on_progress: OnProgress | None = None) -> None:
        """Rewrite what is stored without what was deleted or replaced."""

    def build_index(self, on_progress: OnProgress | None = None) -> None:
        """Make searching as quick as it gets, if the gallery is large enough for that to matter."""

    def check(self, on_progress: OnProgress | None = None) -> "Report":
        """Read everything, and say what is damaged, record by record."""

    def remember_model_file(self, path: Path) -> None:
        """Keep where the model lies, so that a search need not be told."""

    @property
    def model_file(self) -> Path | None:
        """What :meth:`remember_model_file` was told last."""

    def info(self) -> Info:
        """Counts, model and size."""
