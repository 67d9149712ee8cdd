"""The SQLite file of a gallery: opening it, transactions, what is known about the whole, and its errors in words."""

import errno
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Self

from reid_toolkit.errors import GalleryError, InputError, UnavailableError
from reid_toolkit.files import can_be_written, sync_folder
from reid_toolkit.gallery.digests import text_checksum
from reid_toolkit.gallery.local.schema import METRIC, migrate

NAME = "gallery.sqlite"
UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What damage makes sqlite3 raise: the second for a message of SQLite's that quotes it."""
BUSY_SECONDS = 0.5
"""For how long SQLite itself waits for another process; it cannot be interrupted meanwhile."""
GONE = (errno.ENOENT, errno.ENOTDIR)
DAMAGED = "damaged ({}): see `reid gallery check`; put back a copy, or enroll again into a new folder"


class Database:
    """One connection. Not locked: whoever shares it between threads serialises its use."""

    def __init__(self, folder: Path, create: bool, wait: float) -> None:
        """Open ``folder``; with ``create``, make it where there is none (mode 0700, files 0600).

        wait: seconds for which a write waits for another process's. Raises :class:`GalleryError` when there is
        no gallery, or something else is there.
        """
        self.folder = folder
        self.path = folder / NAME
        self._wait = wait
        if folder.exists() and not folder.is_dir():
            raise GalleryError(f"{folder}: is a file: expected a gallery folder")
        if not self.path.exists():
            if folder.is_dir() and any(not file.name.startswith(f".{NAME}") for file in folder.iterdir()):
                raise GalleryError(f"{folder}: is a folder of something else: expected a gallery, with {NAME} in it")
            if not create:
                raise GalleryError(f"{folder}: no gallery there: make one with `reid enroll`")
            with self._explained():
                _create(folder, self.path)
        self.read_only = not can_be_written(self.path)
        """Whether this process may only read: on a read-only medium, or in a folder of another user."""
        self._place = os.path.abspath(self.path)  # a process may go to another folder
        self._file: tuple[int, int] | None = None
        self._frozen = False
        """Whether SQLite was told that nobody writes; it then sees no change, so we look."""
        self._seen: object = None
        self.reopened = 0
        """How often that turned out to be wrong: what was read until then may be half of a change."""
        with self._explained():
            self._open()

    def _open(self) -> None:
        try:
            self._seen = self._state()
            self._db = self._connect_to_file()
            try:
                self._prepare()
            except BaseException as error:
                self._db.close()
                if isinstance(error, GalleryError):
                    raise GalleryError(f"{self.path}: {error}") from None
                raise
        except BaseException:
            self._seen = None
            raise

    def _connect_to_file(self) -> sqlite3.Connection:
        for again in (True, False):
            self._file = self._file_there()
            # mode=rw: never make a second, empty gallery where the file has just been removed.
            db = self._connect_reading() if self.read_only else self._connect("rw")
            # Replaced just now; or a file system of layers, as of containers, makes a file anew to be written to.
            if again and self._file_there() != self._file:
                db.close()
            else:
                break
        return db

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{Path(self._place).resolve().as_uri()}?mode={mode}",
            uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False,
        )  # fmt: skip

    def _connect_reading(self) -> sqlite3.Connection:
        """Open a file that this process may not write: on a read-only medium, or of another user, who may write now."""
        self._frozen = True
        with suppress(sqlite3.OperationalError):  # its write-ahead log is not there, and cannot be made
            db = self._connect("ro")
            try:
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()
                self._frozen = False
                return db
            except BaseException:
                db.close()
                raise
        log = Path(self._log())
        if log.exists() and log.stat().st_size:
            raise GalleryError(
                f"{self.path}: cannot be written, and its last changes still lie in {log.name}: open it once where it "
                "can be written, for example with `reid gallery info`, and copy it then"
            )
        return self._connect("ro&immutable=1")  # nobody writes now

    def _prepare(self) -> None:
        # A damaged file is looked at more closely, and what it says about itself is not executed.
        self._db.execute("PRAGMA cell_size_check = ON")
        self._db.execute("PRAGMA trusted_schema = OFF")
        if not self.path.stat().st_size:
            raise GalleryError("damaged: an empty file; put back a copy of it, or remove it and enroll again")
        # First: it leaves a database of another program as it is.
        self._patiently(lambda: migrate(self._db, may_write=not self.read_only))
        if not self.read_only:
            self._patiently(lambda: self._db.execute("PRAGMA journal_mode = WAL"))
            self._db.execute("PRAGMA synchronous = FULL")
        # The inner pages of millions of records, 3 MB a million, so that a record takes one read and not three.
        self._db.execute("PRAGMA cache_size = -16000")
        # Deleted descriptors are overwritten, not only unlinked.
        self._db.execute("PRAGMA secure_delete = ON")
        with self.reading():
            if self.meta("seal") == "":
                sealed = False  # new, or of an older toolkit
            elif not self.sealed():
                raise GalleryError(
                    "damaged: what it says about its model, width and count does not fit its checksum; "
                    "put back a copy of it, or enroll again into a new folder"
                )
            elif self.meta("metric") != METRIC:
                raise GalleryError(f"made for the metric {self.meta('metric')!r}: expected {METRIC!r}")
            else:
                sealed = True
        if not sealed and not self.read_only:
            with self.writing():
                pass

    def again(self) -> Self:
        """Another connection to this very file."""
        self._refuse_another()
        other = type(self)(self.folder, False, self._wait)
        other._file = self._file
        return other

    def close(self) -> None:
        self._db.close()

    def _file_there(self) -> tuple[int, int] | None:
        """Which file has our name now; None where there is none."""
        try:
            about = os.stat(self._place)
        except OSError as error:
            # Whoever may look there no longer, having given up rights, still holds the file.
            return None if error.errno in GONE else self._file
        return about.st_dev, about.st_ino

    def _refuse_another(self) -> None:
        """SQLite would go on in a file that is deleted, or somewhere else, and say that all is well."""
        if self._file_there() != self._file:
            raise GalleryError(
                f"{self.path}: was replaced or deleted while it was open: open it again; what was written until now "
                "is in the file that was there"
            )

    def _state(self) -> tuple[tuple[int, int] | None, ...]:
        """Others when the file was written to, or somebody who will has opened it."""
        return tuple(map(_size_and_time, (self._place, self._log())))

    def _log(self) -> str:
        """Where SQLite keeps the write-ahead log: beside the file that a link leads to."""
        return f"{os.path.realpath(self._place)}-wal"

    def _is_outdated(self) -> bool:
        return self._frozen and self._state() != self._seen

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One consistent view of the file, whatever other processes write meanwhile.

        Raises :class:`GalleryError` where it may not be consistent: by whoever may not write, it can be seen only
        afterwards that somebody else has.
        """
        self._refuse_another()
        with self._explained():
            if self._is_outdated():
                self._db.close()
                self._open()
                self.reopened += 1
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.rollback()
                if self._is_outdated():
                    raise GalleryError(f"{self.path}: was changed while it was being read: run this again")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All or nothing, and on the disk when this returns."""
        if self.read_only:
            raise GalleryError(
                f"{self.path}: cannot be written: it, or its folder, is on a read-only medium or of another user; "
                "`reid gallery copy` makes one that can"
            )
        with self._explained():
            self._patiently(lambda: self._db.execute("BEGIN IMMEDIATE"))
            try:
                self._refuse_another()
                yield
                self.set_meta("seal", str(self._seal()))
                self._db.execute("COMMIT")
            except BaseException:
                self._db.rollback()
                raise

    def writing_if_allowed(self) -> AbstractContextManager[None]:
        """:meth:`writing`; only :meth:`reading` where nothing may be written, for what seldom has to write."""
        return self.reading() if self.read_only else self.writing()

    def meta(self, key: str) -> str | None:
        """What is known about the whole gallery under this name."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def number(self, key: str) -> int:
        """:meth:`meta` of a counter; 0 when there is none."""
        return int(self.meta(key) or 0)

    def set_meta(self, key: str, value: str) -> None:
        """Inside :meth:`writing`."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def sealed(self) -> bool:
        """Whether all that :meth:`meta` answers is as it was written."""
        return self.meta("seal") == str(self._seal())

    def _seal(self) -> int:
        rows = self._db.execute("SELECT key, value FROM meta WHERE key <> 'seal' ORDER BY key").fetchall()
        return text_checksum(json.dumps(rows, default=repr))

    def integrity(self) -> list[str]:
        """What SQLite finds wrong in the file's pages and indexes, at most 100 lines."""
        try:
            lines = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check")]
        except UNREADABLE as error:
            return [str(error)]
        return [] if lines == ["ok"] else [line for part in lines for line in part.splitlines()]

    def shrink(self) -> None:
        """Rewrite the file without the space of deleted rows, and empty the write-ahead log.

        Raises :class:`GalleryError` when a reader holds the old pages, which then stay in the log.
        """
        with self._explained():
            self._patiently(lambda: self._db.execute("VACUUM"))
            deadline = time.monotonic() + self._wait
            while not self.empty_log():
                if time.monotonic() >= deadline:
                    raise GalleryError(
                        f"{self.folder}: the rows are deleted, but another process is reading, so their bytes are "
                        "still in the write-ahead log: run `reid gallery compact` when it is done"
                    )
                time.sleep(0.02)

    def empty_log(self) -> bool:
        """Move all of the write-ahead log into the file, where deleted rows are overwritten; whether that went."""
        with self._explained():
            return not self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]

    def _patiently(self, step: Callable[[], object]) -> None:
        """Try again, for as long as we may wait, while another process writes."""
        deadline = time.monotonic() + self._wait
        while True:
            try:
                step()
                return
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(0.02)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what SQLite raises into one line that says what is safe and what to do."""
        try:
            yield
        except sqlite3.Error as error:
            kind = UnavailableError if may_pass(error) else GalleryError
            raise kind(f"{self.path}: {self._explain(error)}") from error
        except UnicodeDecodeError as error:
            raise GalleryError(f"{self.path}: {DAMAGED.format('damaged text')}") from error
        except UnicodeEncodeError as error:
            raise InputError(f"a record holds text that is not valid Unicode: {error.object!r}") from None

    def _explain(self, error: sqlite3.Error) -> str:
        text = str(error)
        name = getattr(error, "sqlite_errorname", None) or ""
        if name.startswith("SQLITE_FULL") or "disk is full" in text:
            return (
                "no space left on the disk: this write was undone, all that was stored before is safe; "
                "free some and run the same command again"
            )
        if is_busy(error):
            return (
                f"another process is writing, and still was after {self._wait:g} s: run this again when it is "
                "done, or wait longer (--wait SECONDS)"
            )
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")) or "malformed" in text:
            return DAMAGED.format(text)
        return text


def _size_and_time(path: str) -> tuple[int, int] | None:
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns


def is_busy(error: Exception) -> bool:
    """Whether another connection is in the way, and not the file's or the disk's state."""
    name = getattr(error, "sqlite_errorname", None) or ""
    return name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or "locked" in str(error)


def may_pass(error: sqlite3.Error) -> bool:
    """Whether the same may be done later: another connection or the disk is in the way, and not the file itself."""
    name = getattr(error, "sqlite_errorname", None) or ""
    return is_busy(error) or name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN"))


def _create(folder: Path, path: Path) -> None:
    """Make the folder and the database in it, which no other user can read, and no other process see unfinished."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = folder / f".{NAME}.{os.getpid()}.partial"
    os.close(os.open(temporary, os.O_CREAT | os.O_RDWR, 0o600))
    try:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as db:
            migrate(db)
        # Not renamed: another process may have made the same gallery meanwhile, and enrolled into it.
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links, such as FAT: the next best
            if not path.exists():
                os.rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(folder)
