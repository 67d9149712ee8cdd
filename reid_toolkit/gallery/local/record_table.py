"""The database table of records. What is inserted within ``writing`` is on the disk when ``writing`` ends."""

import json
import struct
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.camera_statistics import CameraStatistics, loads
from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.files import parse_json
from reid_toolkit.gallery.digests import Fields, row_checksum
from reid_toolkit.gallery.local import audit, people_rows
from reid_toolkit.gallery.local.database import UNREADABLE, Database, is_busy
from reid_toolkit.gallery.local.schema import STATISTICS_TABLE
from reid_toolkit.gallery.types import DATED_FROM, Selection
from reid_toolkit.records import Record

READ_ROWS = 4096
"""Number of rows read at a time: 4 MB of descriptors of width 512, so that loading does not need twice the memory."""
FIELDS = "id, tracklet, camera, source, start_time, end_time, image, tags, thumbnail, vector"
ASKED_ROWS = 500
"""Number of ids in a query. Every SQLite takes at least 999."""
UNFIT = "does not fit its checksum"
ENROLMENT_SECONDS = 600.0
"""Enrolment times are stored once per ten minutes, so that their table stays small. Records enrolled within that time
count as enrolled at its beginning."""

Key = tuple[str, str, str]
"""(source, tracklet, camera). Records with the same key replace each other."""
Damage = dict[int, str]
"""Id of each damaged record, and what is wrong with it."""


class ExpiryCutoff(NamedTuple):
    """Which records are past a moment: those last seen before it (if that is a Unix time), and those enrolled before
    it."""

    before: float
    """Unix time."""
    first_id: int
    """Id of the first record that was not enrolled before it."""


def key_of(record: Record) -> Key:
    return record.source, record.tracklet, record.camera


def record_of(fields: Fields) -> Record:
    _, tracklet, camera, source, start, end, image, tags, thumbnail, _ = fields
    return Record(tracklet, camera, start, end, source, image, tuple(json.loads(tags)), thumbnail)


def vectors_of(rows: Sequence[Fields], dimension: int) -> NDArray[np.float16]:
    """The descriptors of rows, (N, D), in half precision as stored."""
    return np.frombuffer(b"".join(row[9] for row in rows), np.float16).reshape(len(rows), dimension)


class RecordTable(Database):
    """The table of records. Descriptors are stored in half precision and read as float32."""

    def version(self) -> tuple[int, int, int, int]:
        """(epoch, largest id so far, number of removed rows so far, camera statistics). It changes with every change.

        Ids only grow. A new epoch means that bytes were erased, so no copy of older rows may be kept.
        """
        return self.state()[0]

    def state(self) -> tuple[tuple[int, int, int, int], float | None, bool]:
        """:meth:`version`, :meth:`retention`, and whether the audit log is on: all that a search needs, in one
        query."""
        keys = "'epoch', 'last_id', 'removed', 'statistics', 'retention', 'audit'"
        rows = dict(self._db.execute(f"SELECT key, value FROM meta WHERE key IN ({keys})"))
        version = int(rows["epoch"]), int(rows["last_id"]), int(rows["removed"]), int(rows.get("statistics", 0))
        return version, float(rows.get("retention") or 0) or None, audit.Head.of(rows.get("audit")).on

    def count(self) -> int:
        return self.number("count")

    def insert(self, vectors: NDArray[np.float32], records: Sequence[Record]) -> None:
        """Insert records, within :meth:`writing`. A stored record of the same key is replaced. Of equal keys in
        ``records``, the last is used."""
        last = {key_of(record): row for row, record in enumerate(records)}
        gone = self._db.executemany("DELETE FROM record WHERE source = ? AND tracklet = ? AND camera = ?", list(last))
        self._count(len(last), gone.rowcount)
        halves = vectors.astype(np.float16)
        before = self.number("last_id")
        self.set_meta("last_id", str(before + len(last)))
        self._note_time(before + 1)
        self._db.executemany(
            f"INSERT INTO record ({FIELDS}, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (*fields, row_checksum(fields))
                for number, row in enumerate(sorted(last.values()), start=before + 1)
                for fields in [_fields(number, records[row], halves[row].tobytes())]
            ),
        )

    def remove(self, keys: Iterable[Key], *, for_good: bool = True) -> int:
        """Delete the rows of ``keys``, within :meth:`writing`; how many. ``for_good``: as for :meth:`delete`."""
        keys = list(keys)
        query = "DELETE FROM record WHERE source = ? AND tracklet = ? AND camera = ?"
        gone = self._db.executemany(query, keys).rowcount
        gone = max(gone, 0)  # sqlite3 gives -1 if there are no keys
        people_rows.drop(self._db, keys)
        self._count(0, gone, for_good)
        return gone

    def delete(self, which: Selection, *, for_good: bool = True) -> int:
        """Delete the rows that match, within :meth:`writing`; how many. ``for_good``: their bytes must be erased."""
        where, values = self._where(which)
        people_rows.drop_where(self._db, where, values)
        gone = self._db.execute(f"DELETE FROM record WHERE {where}", values).rowcount
        self._count(0, gone, for_good)
        return gone

    def matching(self, which: Selection) -> int:
        """The number of rows that :meth:`delete` would delete."""
        where, values = self._where(which)
        return int(self._db.execute(f"SELECT count(*) FROM record WHERE {where}", values).fetchone()[0])

    def listed(self, which: Selection) -> Iterator[Record]:
        """Yield the undamaged records that match, in parts, because their pictures may be large."""
        where, values = self._where(which)
        ids = [row[0] for row in self._db.execute(f"SELECT id FROM record WHERE {where}", values)]
        for at in range(0, len(ids), READ_ROWS):
            yield from self.records(ids[at : at + READ_ROWS]).values()

    def past(self, before: float) -> ExpiryCutoff:
        """The cutoff of records that are past this Unix time."""
        query = "SELECT min(first_id) FROM enrolment WHERE time >= ?"
        first = self._db.execute(query, (before,)).fetchone()[0]
        return ExpiryCutoff(before, self.number("last_id") + 1 if first is None else first)

    def statistics(self, version: int) -> CameraStatistics | None:
        """The camera statistics of a version. None if it has none. Raises :class:`GalleryError` if they are damaged."""
        if not version:
            return None
        # Damage may have changed the type, for example to text that is not UTF-8.
        query = "SELECT CAST(content AS BLOB) FROM camera_statistics WHERE version = ?"
        row = self._db.execute(query, (version,)).fetchone()
        try:
            if row is None:
                raise InputError(f"camera statistics are damaged (version {version} is missing)")
            return loads(row[0], self.meta("model"), self.number("dimension")) if row[0] else None
        except InputError as error:
            raise GalleryError(
                f"{self.folder}: {error}: fit them again with `reid gallery cameras {self.folder} refresh`, or search "
                "with --no-camera-statistics"
            ) from None

    def has_statistics(self, version: int) -> bool:
        """Whether a version is stored and undamaged. It may be empty."""
        try:
            self.statistics(version)
        except GalleryError:
            return False
        return True

    def put_statistics(self, statistics: CameraStatistics | None, seen: dict[str, int]) -> int:
        """Store statistics as the newest version, within :meth:`writing`. Gives the version.

        seen: the number of records of each camera when they were fitted.
        """
        version = self.number("statistics") + 1
        self._db.execute(STATISTICS_TABLE)
        content = statistics.of_version(version).dumps() if statistics else b""
        self._db.execute("INSERT INTO camera_statistics VALUES (?, ?)", (version, content))
        self.set_meta("statistics", str(version))
        self.set_seen(seen)
        return version

    def drop_statistics(self, keep: Collection[int]) -> None:
        """Delete all versions except the newest and those in ``keep``, within :meth:`writing`."""
        kept = {self.number("statistics"), *keep}
        if kept != {0}:
            self._db.execute(f"DELETE FROM camera_statistics WHERE version NOT IN ({', '.join(map(str, kept))})")

    def fit_state(self) -> tuple[int, int, str | None, int]:
        """The state that new statistics depend on. They may be stored only if it has not changed since they were
        fitted."""
        return self.number("statistics"), self.number("epoch"), self.meta("model"), self.number("dimension")

    def holds_statistics(self, version: int) -> bool:
        """Whether a version holds statistics, even damaged ones. False for a version without statistics."""
        if not version:
            return False
        row = self._db.execute("SELECT length(content) FROM camera_statistics WHERE version = ?", (version,)).fetchone()
        return row is None or bool(row[0])

    def set_seen(self, seen: dict[str, int]) -> None:
        """Store the number of records of each camera at a fit, within :meth:`writing`."""
        self.set_meta("statistics_seen", json.dumps(seen))

    def statistics_seen(self) -> dict[str, int]:
        """The number of records of each camera at the last fit."""
        return dict(json.loads(self.meta("statistics_seen") or "{}"))

    def retention(self) -> float | None:
        """Seconds after which records are hidden from searches. None for never."""
        return float(self.meta("retention") or 0) or None

    def audit_head(self) -> audit.Head:
        """What the database stores about the audit log."""
        return audit.Head.of(self.meta("audit"))

    def log(self, *events: audit.Event) -> None:
        """Write events into the audit log, if it is on. Within :meth:`writing`, and as its last step, so that little
        can still undo the transaction."""
        head = self.audit_head()
        if head.on:
            self.set_meta("audit", audit.append(self.folder, head, events).text)

    def switch_log(self, on: bool) -> None:
        """Switch the audit log on or off, within :meth:`writing`."""
        self.set_meta("audit", audit.switched(self.folder, self.audit_head(), on).text)

    def shrink(self) -> None:
        """Rewrite the file without the space of deleted rows, so that nothing has to be erased any more."""
        before = self.meta("erasure")
        super().shrink()
        with self.writing():
            if self.meta("erasure") == before:  # otherwise another process has deleted more meanwhile
                self.set_meta("erasure", "")

    def erasure_is_due(self) -> bool:
        """Whether rows that were deleted for good may still be in the file or its log: it was not shrunk since."""
        return bool(self.meta("erasure"))

    def begin_epoch(self) -> None:
        """Begin a new epoch, within :meth:`writing`. No older cache may be used or saved after it."""
        self.set_meta("epoch", str(self.number("epoch") + 1))
        self.set_meta("index", "")  # the token of the index files that belong to this database
        # Delete the enrolment times of records that are all deleted.
        self._db.execute(
            """DELETE FROM enrolment WHERE first_id < (
                SELECT max(first_id) FROM enrolment WHERE first_id <= (SELECT min(id) FROM record))"""
        )

    def ids_of(self, keys: Iterable[Key]) -> dict[Key, int]:
        """The ids of those ``keys`` that are enrolled and undamaged."""
        query = f"SELECT {FIELDS}, checksum FROM record WHERE source = ? AND tracklet = ? AND camera = ?"
        found = ((key, self._db.execute(query, key).fetchone()) for key in keys)
        return {key: row[0] for key, row in found if row and is_whole(row)}

    def gone_of(self, ids: Iterable[int]) -> list[int]:
        """Those ``ids`` that are deleted. Reads the table itself, because an index may be damaged."""
        return [number for number in ids if self._is_gone(number)]

    def _is_gone(self, number: int) -> bool:
        try:
            return self._db.execute("SELECT 1 FROM record WHERE id = ?", (number,)).fetchone() is None
        except UNREADABLE as error:
            if is_busy(error):
                raise
            return False  # it is not deleted, but its page cannot be read

    def live_ids(self) -> NDArray[np.int64]:
        """All ids, in any order. If they were ordered, SQLite would read all descriptors."""
        ids = self._db.execute("SELECT id FROM record")
        return np.fromiter((row[0] for row in ids), np.int64)

    def scan(self, after: int, width: int, damage: Damage) -> Iterator[list[Fields]]:
        """Yield undamaged rows with an id above ``after``, by id, in lists of up to ``READ_ROWS``. Damaged rows are
        noted in ``damage``.

        width: number of bytes of a descriptor.
        """
        last = self.number("last_id")
        for low in range(after + 1, last + 1, READ_ROWS):
            yield self._whole(low, min(low + READ_ROWS - 1, last), width, damage)

    def _whole(self, low: int, high: int, width: int, damage: Damage) -> list[Fields]:
        query = f"SELECT {FIELDS}, checksum FROM record WHERE id BETWEEN ? AND ? ORDER BY id"
        try:
            rows = self._db.execute(query, (low, high)).fetchall()
        except UNREADABLE as error:
            if is_busy(error):
                raise
            if low == high:
                damage[low] = f"cannot be read ({error})"
                return []
            middle = (low + high) // 2
            return self._whole(low, middle, width, damage) + self._whole(middle + 1, high, width, damage)
        whole = []
        for row in rows:
            if not is_whole(row):
                damage[row[0]] = UNFIT
            elif len(row[9]) != width:
                damage[row[0]] = f"holds {len(row[9])} bytes, expected a descriptor of {width}"
            else:
                whole.append(row[:10])
        return whole

    def batches(self) -> Iterator[tuple[list[Record], NDArray[np.float32]]]:
        """Yield all undamaged records and their descriptors (B, D), in the order of enrolment. Within
        :meth:`reading`."""
        dimension = self.number("dimension")
        for rows in self.scan(0, 2 * dimension, {}):
            if rows:
                yield [record_of(row) for row in rows], vectors_of(rows, dimension).astype(np.float32)

    def records(self, ids: Collection[int]) -> dict[int, Record]:
        """The records of those ``ids`` that are stored and undamaged."""
        found: dict[int, Record] = {}
        listed = list(ids)
        for at in range(0, len(listed), ASKED_ROWS):
            part = listed[at : at + ASKED_ROWS]
            query = f"SELECT {FIELDS}, checksum FROM record WHERE id IN ({', '.join('?' * len(part))})"
            try:
                rows = self._db.execute(query, part).fetchall()
            except UNREADABLE as error:
                if is_busy(error):
                    raise
                # Read the ids singly, because a damaged page must not make the others unreadable.
                rows = []
                if len(part) > 1:
                    found |= {key: record for one in part for key, record in self.records([one]).items()}
            found |= {row[0]: record_of(row[:10]) for row in rows if is_whole(row)}
        return found

    def tally(self, column: str) -> dict[str, int]:
        """The number of rows of each value of "camera" or "source", sorted by value."""
        rows = self._db.execute(f"SELECT {column}, count(*) FROM record GROUP BY 1 ORDER BY 1")
        return dict(rows.fetchall())

    def tally_tags(self) -> dict[str, int]:
        """The number of rows of each tag, sorted by tag."""
        counts: Counter[str] = Counter()
        for tags, count in self._db.execute("SELECT tags, count(*) FROM record WHERE tags <> '[]' GROUP BY 1"):
            with suppress(ValueError, TypeError):  # a damaged record, which `check` reports
                counts.update(dict.fromkeys(map(str, parse_json(tags)), count))
        return dict(sorted(counts.items()))

    def keys(self, which: Selection | None = None) -> dict[int, Key]:
        """The key of each id, from an index that may be whole if the table is damaged; or of the rows that match."""
        columns = ", ".join(f"cast({name} AS BLOB)" for name in ("source", "tracklet", "camera"))
        where, values = self._where(which) if which else ("true", [])
        index = "" if which else "INDEXED BY record_key"
        rows = self._db.execute(f"SELECT id, {columns} FROM record {index} WHERE {where}", values)
        texts = ((row[0], [str(part or b"", "utf-8", "replace") for part in row[1:]]) for row in rows)
        return {number: (source, tracklet, camera) for number, (source, tracklet, camera) in texts}

    def span(self) -> tuple[float | None, float | None]:
        """The earliest start and the latest end in seconds. None if no row has a time."""
        first, last = self._db.execute("SELECT min(start_time), max(end_time) FROM record").fetchone()
        return first, last

    def _note_time(self, first_id: int) -> None:
        newest = self._db.execute("SELECT CAST(max(time) AS REAL) FROM enrolment").fetchone()[0] or 0.0
        now = time.time()
        # If the clock was set back, records count as enrolled at the latest time known.
        if now >= newest + ENROLMENT_SECONDS:
            self._db.execute("INSERT OR REPLACE INTO enrolment VALUES (?, ?)", (first_id, now))

    def _where(self, which: Selection) -> tuple[str, list[str | int | float]]:
        tests: list[tuple[str, list[str | int | float]]] = []
        if which.tracklet is not None:
            tests.append(("tracklet = ?", [which.tracklet]))
        if which.camera is not None:
            tests.append(("camera = ?", [which.camera]))
        if which.source is not None:
            # A folder also selects the files in it, which are the sources of crops that were enrolled singly.
            below = which.source.rstrip("/") + "/"
            tests.append(("(source = ? OR substr(source, 1, ?) = ?)", [which.source, len(below), below]))
        if which.before is not None:
            before, first_id = self.past(which.before)
            # The inner query uses an index, so that it does not read all descriptors.
            seen = "id IN (SELECT id FROM record WHERE end_time >= ? AND end_time < ?)"
            tests.append((f"(id < ? OR {seen})", [first_id, DATED_FROM, before]))
            if which.keep_undated:
                tests.append(("end_time >= ?", [DATED_FROM]))
        return " AND ".join(test for test, _ in tests), [value for _, values in tests for value in values]

    def _count(self, added: int, removed: int, for_good: bool = False) -> None:
        total = str(self.number("removed") + removed)
        self.set_meta("count", str(self.number("count") + added - removed))
        self.set_meta("removed", total)
        if removed and for_good:
            self.set_meta("erasure", total)


def _fields(number: int, record: Record, vector: bytes) -> Fields:
    return (
        number, record.tracklet, record.camera, record.source, record.start, record.end, record.image,
        json.dumps(sorted(set(record.tags)), ensure_ascii=False), record.thumbnail, vector,
    )  # fmt: skip


def is_whole(row: Sequence) -> bool:
    """Whether the last column is the checksum of the others. Damage may have changed the columns' types."""
    try:
        return bool(row_checksum(row[:-1]) == row[-1])  # type: ignore[arg-type]
    except (TypeError, ValueError, AttributeError, struct.error):
        return False
