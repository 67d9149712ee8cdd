"""The record: what was enrolled, in one SQLite file. What :meth:`Store.add` returned from is on the disk."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.gallery.schema import migrate
from reid_toolkit.records import Record

NAME = "gallery.sqlite"
BUSY_SECONDS = 10.0
"""How long to wait for another process to finish its write before giving up with a named error."""
READ_ROWS = 4096
"""Rows fetched at a time: 8 MB of 512-wide descriptors, so that loading does not hold everything twice."""

Key = tuple[str, str, str]
"""(source, tracklet, camera): what makes a record the same record."""
Row = tuple[int, str, float | None, float | None, bytes]
"""(id, camera, start, end, descriptor as float32 bytes)."""


def key_of(record: Record) -> Key:
    return record.source, record.tracklet, record.camera


class Store:
    """The SQLite file of one gallery folder. Not locked: :class:`Gallery` serialises its use."""

    def __init__(self, folder: Path, create: bool) -> None:
        """Open ``folder``; with ``create``, make it where there is none (mode 0700, files 0600).

        Raises :class:`GalleryError` when there is none, or something else is there.
        """
        self.folder = folder
        self.path = folder / NAME
        if folder.exists() and not folder.is_dir():
            raise GalleryError(f"{folder}: is a file: expected a gallery folder")
        if not self.path.exists():
            if folder.is_dir() and any(folder.iterdir()):
                raise GalleryError(f"{folder}: is a folder of something else: expected a gallery, with {NAME} in it")
            if not create:
                raise GalleryError(f"{folder}: no gallery there: make one with `reid enroll`")
            _create(folder, self.path)
        with self._explained():
            # mode=rw: never make a second, empty gallery where the file has just been removed.
            self._db = sqlite3.connect(
                f"{self.path.resolve().as_uri()}?mode=rw",
                uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False,
            )  # fmt: skip
            try:
                migrate(self._db)  # first: it leaves a database of another program as it is
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                # Deleted descriptors are overwritten, not only unlinked.
                self._db.execute("PRAGMA secure_delete = ON")
            except BaseException as error:
                self._db.close()
                if isinstance(error, GalleryError):
                    raise GalleryError(f"{self.path}: {error}") from None
                raise

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One consistent view of the file, whatever other processes write meanwhile."""
        with self._explained():
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.rollback()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All or nothing, and on the disk when this returns."""
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._db.rollback()
                raise

    def meta(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def set_meta(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def version(self) -> tuple[int, int]:
        """(largest id, rows removed so far): changes with every change, since ids only grow."""
        last = self._db.execute("SELECT max(id) FROM record").fetchone()[0]
        return last or 0, int(self.meta("removed") or 0)

    def count(self) -> int:
        count: int = self._db.execute("SELECT count(*) FROM record").fetchone()[0]
        return count

    def insert(self, vectors: NDArray[np.float32], records: Sequence[Record]) -> None:
        """Inside :meth:`writing`. A record of the same key is replaced; of equal keys here the last stays."""
        last = {key_of(record): row for row, record in enumerate(records)}
        gone = self._db.executemany("DELETE FROM record WHERE source = ? AND tracklet = ? AND camera = ?", list(last))
        self._count_removed(gone.rowcount)
        self._db.executemany(
            "INSERT INTO record (tracklet, camera, source, start_time, end_time, image, vector)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (r.tracklet, r.camera, r.source, r.start, r.end, r.image, vectors[row].tobytes())
                for row, r in ((row, records[row]) for row in sorted(last.values()))
            ),
        )

    def delete(self, tracklet: str | None, camera: str | None, source: str | None) -> int:
        """Inside :meth:`writing`. Delete the rows that match all that is given; how many there were."""
        where, values = _where(tracklet, camera, source)
        gone = self._db.execute(f"DELETE FROM record WHERE {where}", values).rowcount
        self._count_removed(gone)
        return gone

    def matching(self, tracklet: str | None, camera: str | None, source: str | None) -> int:
        """How many rows :meth:`delete` would delete."""
        where, values = _where(tracklet, camera, source)
        count: int = self._db.execute(f"SELECT count(*) FROM record WHERE {where}", values).fetchone()[0]
        return count

    def compact(self) -> None:
        """Rewrite the file without the space of deleted rows, and empty the write-ahead log.

        Raises :class:`GalleryError` when a reader holds the old pages, which then stay in the log.
        """
        with self._explained():
            self._db.execute("VACUUM")
            busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise GalleryError(
                f"{self.folder}: the rows are deleted, but another process is reading, so their bytes are "
                "still in the write-ahead log: run `reid gallery forget` again when it is done"
            )

    def ids_of(self, keys: Iterable[Key]) -> dict[Key, int]:
        """The ids of those of ``keys`` that are enrolled."""
        query = "SELECT id FROM record WHERE source = ? AND tracklet = ? AND camera = ?"
        found = ((key, self._db.execute(query, key).fetchone()) for key in keys)
        return {key: row[0] for key, row in found if row}

    def live_ids(self) -> NDArray[np.int64]:
        """All ids, in no order: with one, SQLite would walk through all descriptors."""
        ids = self._db.execute("SELECT id FROM record")
        return np.fromiter((row[0] for row in ids), np.int64)

    def rows_after(self, last: int) -> Iterator[list[Row]]:
        """Rows with an id above ``last``, by id, in lists of up to ``READ_ROWS``."""
        rows = self._db.execute(
            "SELECT id, camera, start_time, end_time, vector FROM record WHERE id > ? ORDER BY id", (last,)
        )
        while chunk := rows.fetchmany(READ_ROWS):
            yield chunk

    def records(self, ids: Iterable[int]) -> list[Record]:
        """The records of ``ids``, in that order."""
        query = "SELECT tracklet, camera, start_time, end_time, source, image FROM record WHERE id = ?"
        return [Record(*self._db.execute(query, (int(number),)).fetchone()) for number in ids]

    def tally(self, column: str) -> dict[str, int]:
        """How many rows each value of "camera" or "source" has, sorted by value."""
        rows = self._db.execute(f"SELECT {column}, count(*) FROM record GROUP BY 1 ORDER BY 1")
        return dict(rows.fetchall())

    def span(self) -> tuple[float | None, float | None]:
        """Earliest start and latest end, seconds; None when no row has a time."""
        first, last = self._db.execute("SELECT min(start_time), max(end_time) FROM record").fetchone()
        return first, last

    def _count_removed(self, number: int) -> None:
        if number:
            self.set_meta("removed", str(int(self.meta("removed") or 0) + number))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what SQLite raises into one line that says what is safe and what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise GalleryError(f"{self.path}: {_explain(error)}") from error
        except UnicodeEncodeError as error:
            raise InputError(f"a record holds text that is not valid Unicode: {error.object!r}") from None


def _create(folder: Path, path: Path) -> None:
    """Make the folder and an empty database in it, closed to other users before anything is in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _where(tracklet: str | None, camera: str | None, source: str | None) -> tuple[str, list[str | int]]:
    tests: list[tuple[str, list[str | int]]] = []
    if tracklet is not None:
        tests.append(("tracklet = ?", [tracklet]))
    if camera is not None:
        tests.append(("camera = ?", [camera]))
    if source is not None:
        # A folder stands for the files in it too, as crops that were enrolled one by one have them.
        below = source.rstrip("/") + "/"
        tests.append(("(source = ? OR substr(source, 1, ?) = ?)", [source, len(below), below]))
    if not tests:
        raise InputError("nothing chosen: expected a tracklet, a camera or a source")
    return " AND ".join(test for test, _ in tests), [value for _, values in tests for value in values]


def _explain(error: sqlite3.Error) -> str:
    text = str(error)
    name = getattr(error, "sqlite_errorname", None) or ""
    if name.startswith("SQLITE_FULL") or "disk is full" in text:
        return (
            "no space left on the disk: this write was undone, all that was stored before is safe; "
            "free some and run the same command again"
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or "locked" in text:
        return f"another process has been writing for {BUSY_SECONDS:g} s: run this again when it is done"
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")) or "malformed" in text:
        return f"damaged ({text}): expected a gallery; put back a copy of it, or enroll again into a new folder"
    return text
