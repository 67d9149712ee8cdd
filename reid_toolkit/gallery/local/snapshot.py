"""The rows that searches use: descriptors and columns for filters, in memory, kept in step with the database."""

import json
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.camera_statistics import CameraStatistics
from reid_toolkit.gallery.digests import Fields
from reid_toolkit.gallery.local.record_table import UNFIT, Damage, ExpiryCutoff, RecordTable, vectors_of
from reid_toolkit.gallery.types import DATED_FROM, Filter

COLUMNS = np.dtype(
    [("id", "<i8"), ("start", "<f8"), ("end", "<f8"), ("camera", "<i4"), ("source", "<i4"), ("tags", "<i4")]
)
NAMED = ("camera", "source", "tags")
"""Columns of numbers that stand for texts, because there are few different texts."""

Mask = NDArray[np.bool_]


class Version(NamedTuple):
    """The state of the database, see :meth:`RecordTable.version`."""

    epoch: int = 0
    last_id: int = 0
    removed: int = 0
    statistics: int = 0
    """Version of the camera statistics that are used. 0 for none."""


class Snapshot:
    """Row i is ``vectors[i]``, ``columns[i]`` and ``live[i]``. Rows ascend by id. A deleted row stays and is not
    live."""

    def __init__(self, dimension: int, number: int = 0) -> None:
        """``number`` is the version of :attr:`statistics`."""
        self.dimension = dimension
        self.version = Version(statistics=number)
        self.statistics: CameraStatistics | None = None
        """The camera statistics that are applied to descriptors. Set them before rows are read."""
        self.damage: Damage = {}
        self.missing = 0
        """Number of records that are counted but stored in no page of the file."""
        self.names: dict[str, dict[str, int]] = {column: {} for column in NAMED}
        self.hold(np.empty((0, dimension), np.float32), np.empty(0, COLUMNS), np.empty(0, bool), 0)

    def hold(self, vectors: NDArray[np.float32], columns: NDArray, live: Mask, count: int) -> None:
        """Use the first ``count`` rows of these arrays, which may have room for more."""
        self._vectors, self._columns, self._live, self.count = vectors, columns, live, count
        self.dead = count - int(np.count_nonzero(live[:count]))
        self._oldest = (-np.inf, 0)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(N, D) float32, of unit length up to the error of half precision, with :attr:`statistics` applied."""
        return self._vectors[: self.count]

    @property
    def columns(self) -> NDArray:
        """(N,) of :data:`COLUMNS`."""
        return self._columns[: self.count]

    @property
    def ids(self) -> NDArray[np.int64]:
        """(N,) int64, ascending."""
        ids: NDArray[np.int64] = self.columns["id"]
        return ids

    @property
    def live(self) -> Mask:
        """(N,) bool: false for rows that were deleted or replaced."""
        return self._live[: self.count]

    @property
    def held(self) -> int:
        """Number of live rows."""
        return self.count - self.dead

    def sync(self, store: RecordTable) -> bool:
        """Take over all changes that any process has made since. True if there were any. Within ``store.reading()``.

        After an exception the snapshot is between two states and must not be used.
        """
        version = Version(*store.version())._replace(statistics=self.version.statistics)
        if version == self.version:
            return False
        if version.removed != self.version.removed and self.version.last_id:
            self._bury(store)
        for rows in store.scan(self.version.last_id, 2 * self.dimension, self.damage):
            self._append(rows)
        self.version = version
        self.missing = store.count() - self.held - len(self.damage)
        return True

    def _bury(self, store: RecordTable) -> None:
        live = store.live_ids()
        rows = np.flatnonzero(self.live & ~np.isin(self.ids, live))
        gone = set(store.gone_of(self.ids[rows].tolist()))
        dead = rows[[number in gone for number in self.ids[rows].tolist()]] if len(rows) else rows
        self._bury_rows(dead)
        for number in store.gone_of(self.damage):
            del self.damage[number]

    def _bury_rows(self, rows: NDArray[np.intp]) -> None:
        self.dead += int(np.count_nonzero(self._live[rows]))
        self._live[rows] = False

    def exclude_records(self, rows: NDArray[np.intp]) -> None:
        """Never find these rows again, because their records turned out to be damaged."""
        self._bury_rows(rows)
        self.damage |= dict.fromkeys(self.ids[rows].tolist(), UNFIT)

    def drop_dead(self) -> None:
        """Remove deleted rows, and the texts that only they had. The others move up."""
        keep = self.live
        columns = self.columns[keep]
        for column in NAMED:
            used, columns[column] = np.unique(columns[column], return_inverse=True)
            names = list(self.names[column])  # by number, because each new text gets the next number
            self.names[column] = {names[old]: new for new, old in enumerate(used.tolist())}
        self.hold(self.vectors[keep], columns, keep[keep], self.held)

    def _append(self, rows: list[Fields]) -> None:
        if not rows:
            return
        end = self.count + len(rows)
        if end > len(self._columns):
            # A tenth more room each time, so that a gallery that grows row by row is copied only O(log N) times.
            room = end + end // 10 + 64
            self._vectors = enlarged(self.vectors, room)
            self._columns = enlarged(self.columns, room)
            self._live = enlarged(self.live, room)
        self._vectors[self.count : end] = self._compared(vectors_of(rows, self.dimension), [row[2] for row in rows])
        nan = float("nan")
        self._columns[self.count : end] = [
            (
                row[0], nan if row[4] is None else row[4], nan if row[5] is None else row[5],
                self._code("camera", row[2]), self._code("source", row[3]), self._code("tags", row[7]),
            )
            for row in rows
        ]  # fmt: skip
        self._live[self.count : end] = True
        self._oldest = min(self._oldest[0], _oldest_end(self._columns["end"][self.count : end])), self._oldest[1]
        self.count = end

    def _compared(self, halves: NDArray[np.float16], cameras: list[str]) -> NDArray[np.float16]:
        """Descriptors as searches compare them, in the half precision of the index files. So rows are equal whether
        they were read from the database or from these files."""
        if self.statistics is None:
            return halves
        return self.statistics.apply(halves, cameras).astype(np.float16)

    def compared_queries(self, queries: NDArray[np.float32], cameras: Sequence[str | None]) -> NDArray[np.float32]:
        """Queries (B, D) from these cameras, with the camera statistics applied."""
        return queries if self.statistics is None else self.statistics.apply(queries, cameras)

    def _code(self, column: str, name: str) -> int:
        names = self.names[column]
        return names.setdefault(name, len(names))

    def _not_past(self, past: ExpiryCutoff) -> Mask | None:
        """The live rows that are not past the retention. None if all live rows are, which is usually quick to know."""
        oldest_end, oldest_id = self._oldest
        if oldest_end >= past.before and oldest_id >= past.first_id:
            return None
        ends = self.columns["end"]
        keep = self.live & ~((ends >= DATED_FROM) & (ends < past.before))
        keep[: np.searchsorted(self.ids, past.first_id)] = False
        if np.count_nonzero(keep) < self.held:
            return keep
        # No row is past it. Remember the oldest row, so that the rows are not checked again before it is past.
        rows = np.flatnonzero(self.live)
        self._oldest = _oldest_end(ends[rows]), int(self.ids[rows[0]]) if len(rows) else 0
        return None

    def passing(self, where: Filter, without: Collection[int], past: ExpiryCutoff | None = None) -> Mask | None:
        """Which rows pass, (N,) bool. Deleted rows never pass. None if nothing is filtered.

        ``without`` are ids that do not pass, and ``past`` is the cutoff of the retention.
        """
        tests = _tests(where)
        kept = None if past is None else self._not_past(past)
        if not tests and where.since is None and where.until is None and not without:
            return kept
        columns = self.columns
        mask = self.live.copy() if kept is None else kept
        for column, passes in tests:
            table = np.fromiter(map(passes, self.names[column]), bool, len(self.names[column]))
            mask &= table[columns[column]]
        # Comparisons with NaN are false, so a record without times passes no time filter.
        if where.since is not None:
            mask &= columns["end"] >= where.since
        if where.until is not None:
            mask &= columns["start"] <= where.until
        if without:
            mask &= np.isin(columns["id"], list(without), invert=True)
        return mask

    def by_camera(self, where: Filter, without: Collection[int], past: ExpiryCutoff | None) -> dict[str, int]:
        """How many rows of each camera pass, without cameras that have none."""
        mask = self.passing(where, without, past)
        codes = self.columns["camera"][self.live if mask is None else mask]
        counts = np.bincount(codes.astype(np.int64), minlength=len(self.names["camera"]))
        return {name: int(counts[code]) for name, code in sorted(self.names["camera"].items()) if counts[code]}


def _tests(where: Filter) -> list[tuple[str, Callable[[str], bool]]]:
    tests: list[tuple[str, Callable[[str], bool]]] = []
    if where.cameras is not None:
        tests.append(("camera", frozenset(where.cameras).__contains__))
    if where.sources is not None:
        sources = frozenset(where.sources)
        below = tuple(source.rstrip("/") + "/" for source in sources)
        tests.append(("source", lambda name: name in sources or name.startswith(below)))
    if where.tags:
        tags = frozenset(where.tags)
        tests.append(("tags", lambda name: tags.issubset(json.loads(name))))
    return tests


def _oldest_end(ends: NDArray[np.float64]) -> float:
    return float(np.min(ends, where=ends >= DATED_FROM, initial=np.inf))


def enlarged(array: NDArray, room: int) -> NDArray:
    """A copy of ``array`` with room for ``room`` rows."""
    larger = np.empty((room, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
