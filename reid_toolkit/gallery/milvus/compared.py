"""A version of camera statistics in Milvus: the statistics, and a copy of every record with the statistics applied.

Each is in another collection beside the gallery's own, whose records do not change. These collections are named by
:data:`NAME`. They have the schema of a gallery, and a property says that they are not galleries. The statistics cannot
be properties of a collection, because all properties together may have only 1.5 MB.
"""

import re
import time
from collections.abc import Callable, Sequence
from collections.abc import Collection as Container

import numpy as np

from reid_toolkit.camera_statistics import CameraStatistics, loads
from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.gallery.milvus.collection import IDS, NARROW, PAGE, Collection
from reid_toolkit.gallery.milvus.filters import among
from reid_toolkit.gallery.milvus.properties import COMPARED, FORMAT, OF, STATISTICS, number_of
from reid_toolkit.gallery.milvus.rows import ALL, SCALARS, Row, encode, is_whole, record_of, vectors_of
from reid_toolkit.gallery.types import OnProgress
from reid_toolkit.records import Record

NAME = "{gallery}__{kind}_{version}"
LONGEST_NAME = 255
"""Largest number of characters in a name in Milvus."""
PIECE = 48_000
"""Bytes of the statistics in a row. They are stored in the field of a record's thumbnail."""
PAUSES = (0.0, 1.0, 3.0)
"""Seconds to wait before records that seem to differ are read again."""
STATE = ("id", "checksum", "place")
"""The fields that :func:`states` needs."""
State = tuple[int, int]


class Compared:
    """A version of camera statistics. ``main`` is the gallery's own collection."""

    def __init__(self, main: Collection, version: str, statistics: CameraStatistics) -> None:
        self.version = version
        self.statistics = statistics
        self.collection = part_of(main, COMPARED, version)
        self._main = main

    @classmethod
    def open(cls, main: Collection, version: str, model: str | None, dimension: int | None) -> "Compared":
        """Open an existing version. Raises :class:`InputError` if it is missing, damaged, or of another model."""
        parts = [part_of(main, kind, version) for kind in (STATISTICS, COMPARED)]
        if not all(part.exists() for part in parts):
            raise InputError(f"camera statistics are damaged (version {version} is missing)")
        for part in parts:
            if not part.index():
                part.make_index("FLAT")  # a process was killed while it replaced the index
            part.load()
        rows = sorted((row for page in parts[0].pages(SCALARS) for row in page), key=lambda row: str(row["tracklet"]))
        try:
            content = b"".join(record_of(row).thumbnail for row in rows)
        except ValueError as error:  # not base64
            raise InputError(f"camera statistics are damaged ({error})") from None
        found = loads(content, model, dimension)
        if found.version != number_of(version):
            raise InputError(f"camera statistics are damaged (version {version} says it is version {found.version})")
        return cls(main, version, found)

    @classmethod
    def make(cls, main: Collection, version: str, statistics: CameraStatistics, index: str) -> "Compared":
        """Create both collections. The second is still empty, and has an index of the kind ``index``."""
        made = cls(main, version, statistics)
        kept = part_of(main, STATISTICS, version)
        about = {OF: main.address.name}
        content = statistics.dumps()
        pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)]
        vectors = np.zeros((len(pieces), statistics.dimension), np.float32)
        vectors[:, 0] = 1  # Milvus demands a vector in every row
        kept.create(statistics.dimension, {FORMAT: STATISTICS} | about)
        records = [Record(f"{number:09d}", "", thumbnail=piece) for number, piece in enumerate(pieces)]
        kept.upsert(encode(vectors, records, 0))
        made.collection.create(statistics.dimension, {FORMAT: COMPARED} | about, index)
        return made

    def exists(self) -> bool:
        """Whether the version still exists. A process that makes a newer version drops it."""
        return self.collection.exists()

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        """Rows of the gallery with the statistics applied to their descriptors, rounded to half precision as in a
        gallery in a folder."""
        if not rows:
            return []
        freed = self.statistics.apply(vectors_of(rows), [row["camera"] for row in rows])
        halves = freed.astype(np.float16).astype(np.float32)
        return [{**row, "vector": vector} for row, vector in zip(rows, halves, strict=True)]

    def write(self, rows: Sequence[Row]) -> None:
        """Write these rows of the gallery. They replace rows with the same id."""
        self.collection.upsert(self.rows(rows))

    def fill(self, on_progress: OnProgress | None = None) -> None:
        """Write all records of the gallery."""
        count, done = self._main.count(), 0
        for rows in self._main.pages(ALL):
            self.write(rows)
            done += len(rows)
            if on_progress:
                on_progress(done, count)

    def mend(self, on_part: Callable[[], None] | None = None) -> None:
        """Make the records equal to those of the gallery, even if other processes write to both meanwhile."""
        larger = max((self._main, self.collection), key=lambda collection: collection.count())
        for part in larger.parts(NARROW):
            self.bring(self._differing(part))
            if on_part:
                on_part()

    def bring(self, ids: Sequence[str]) -> None:
        """:meth:`mend` only the records with these digests."""
        for at in range(0, len(ids), IDS):
            wrong = list(ids[at : at + IDS])
            while wrong:
                rows = self._main.query(among(wrong), ALL)
                self.write(rows)
                self.collection.delete_ids(sorted(set(wrong) - {row["id"] for row in rows}))
                # Compare again, because a record may have been replaced or deleted between reading and writing.
                wrong = self._differing(among(wrong))

    def _differing(self, part: str) -> list[str]:
        """The ids of rows that exist in only one of the two collections, or come from different enrolments."""
        held, copied = (states(collection.page(part, STATE)) for collection in (self._main, self.collection))
        return [key for key in sorted(held.keys() | copied.keys()) if held.get(key) != copied.get(key)]

    def is_whole(self) -> bool:
        """Whether the records are those of the gallery with the statistics applied."""
        larger = max((self._main, self.collection), key=lambda collection: collection.count())
        for part in larger.parts(PAGE):
            wrong = self._unlike(part)
            for pause in PAUSES:
                if not wrong:
                    break
                time.sleep(pause)  # another process may be writing them now
                parts = [wrong[at : at + IDS] for at in range(0, len(wrong), IDS)]
                wrong = [key for ids in parts for key in self._unlike(among(ids))]
            if wrong:
                return False
        return True

    def _unlike(self, part: str) -> list[str]:
        held = self._main.page(part, ALL)
        expected = {row["id"]: row for row in self.rows([row for row in held if is_whole(row)])}
        damaged = {row["id"] for row in held} - expected.keys()
        copied = {row["id"]: row for row in self.collection.page(part, ALL) if row["id"] not in damaged}
        both = sorted(expected.keys() | copied.keys())
        return [key for key in both if not _same(expected.get(key), copied.get(key))]


def states(rows: Sequence[Row]) -> dict[str, State]:
    """For each id, values that are equal if two rows come from the same enrolment."""
    return {row["id"]: (row["checksum"], row["place"]) for row in rows}


def _same(expected: Row | None, copied: Row | None) -> bool:
    if expected is None or copied is None:
        return False
    scalars = all(expected[name] == copied[name] for name in ALL if name != "vector")
    return scalars and np.array_equal(expected["vector"], np.asarray(copied["vector"], np.float32))


def part_of(main: Collection, kind: str, version: str) -> Collection:
    """The collection of this kind and version beside the gallery's own."""
    return main.sibling(NAME.format(gallery=main.address.name, kind=kind, version=version))


def name_fits(main: Collection, version: str) -> bool:
    """Whether Milvus accepts the names of this version's collections."""
    return all(len(part_of(main, kind, version).address.name) <= LONGEST_NAME for kind in (STATISTICS, COMPARED))


def drop_version(main: Collection, version: str) -> None:
    """Delete both collections of a version, if they exist."""
    for kind in (STATISTICS, COMPARED):
        part_of(main, kind, version).drop()


def drop_versions(main: Collection, keep: Container[str]) -> None:
    """Delete all versions of this gallery except those in ``keep``, and remains of killed processes."""
    any_version = NAME.format(gallery=re.escape(main.address.name), kind="([a-z]+)", version="([0-9]+_[0-9a-f]+)")
    for name in main.names():
        found = re.fullmatch(any_version, name)
        if found is None or found[2] in keep:
            continue
        part = main.sibling(name)
        try:
            # Another program may have a collection with such a name.
            if part.describe()[1].get(FORMAT) == found[1]:
                part.drop()
        except GalleryError:
            if part.exists():  # if it does not exist, another process has dropped it meanwhile
                raise
