"""The SQLite file of a gallery: opening, transactions, facts about the whole gallery, and error messages."""

import errno
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Self

from reid_toolkit.errors import GalleryError, InputError, UnavailableError
from reid_toolkit.files import can_be_written, create_private, sync_folder
from reid_toolkit.gallery.digests import text_checksum
from reid_toolkit.gallery.local.schema import METRIC, migrate

NAME = "gallery.sqlite"
UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""Errors that sqlite3 raises for damage. The second comes if SQLite's message quotes damaged text."""
BUSY_SECONDS = 0.5
"""Seconds for which SQLite itself waits for another process. It cannot be interrupted meanwhile."""
GONE = (errno.ENOENT, errno.ENOTDIR)
DAMAGED = "damaged ({}): see `reid gallery check`: restore a copy, or enroll again into a new folder"


class Database:
    """A connection. It has no lock: only one thread at a time may use it."""

    def __init__(self, folder: Path, create: bool, wait: float) -> None:
        """Open the gallery in ``folder``. With ``create``, create it if there is none (folder mode 0700, files 0600).

        wait: seconds for which a write waits for another process's write. Raises :class:`GalleryError` if there is no
        gallery, or if the folder holds other files.
        """
        self.folder = folder
        self.path = folder / NAME
        self._wait = wait
        if folder.exists() and not folder.is_dir():
            raise GalleryError(f"{folder}: is a file: expected a gallery folder")
        if not self.path.exists():
            if folder.is_dir() and any(not file.name.startswith(f".{NAME}") for file in folder.iterdir()):
                raise GalleryError(f"{folder}: is not a gallery: expected a new folder, or a folder with {NAME} in it")
            if not create:
                raise GalleryError(f"{folder}: no gallery there: make one with `reid enroll`")
            with self._explained():
                _create(folder, self.path)
        self.read_only = not can_be_written(self.path)
        """Whether this process may only read: on a read-only medium, or in a folder of another user."""
        self._place = os.path.abspath(self.path)  # absolute, because a process may change its working directory
        self._file: tuple[int, int] | None = None
        self._frozen = False
        """Whether SQLite was told that nobody writes. It then notices no changes, so we look for them."""
        self._seen: object = None
        self.reopened = 0
        """How often the file had changed nevertheless. What was read before may hold a part of a change."""
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
            # mode=rw never creates a new, empty gallery if the file has just been removed.
            db = self._connect_reading() if self.read_only else self._connect("rw")
            # Open again if the file was replaced just now, or if a layered file system (as of containers) has copied
            # the file because it is opened for writing.
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
        """Open a file that this process may not write: on a read-only medium, or of another user, who may be
        writing."""
        self._frozen = True
        with suppress(sqlite3.OperationalError):  # the write-ahead log does not exist, and cannot be created
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
                f"{self.path}: cannot be written, and its last changes are still in {log.name}: open it once where it "
                "can be written, for example with `reid gallery info`, and then copy it"
            )
        return self._connect("ro&immutable=1")  # without a log, nobody is writing now

    def _prepare(self) -> None:
        # Check cells, to notice damage, and do not execute code from the file's schema.
        self._db.execute("PRAGMA cell_size_check = ON")
        self._db.execute("PRAGMA trusted_schema = OFF")
        if not self.path.stat().st_size:
            raise GalleryError("damaged: the file is empty: restore a copy, or remove it and enroll again")
        # The first statement, because it does not change a database of another program.
        self._patiently(lambda: migrate(self._db, may_write=not self.read_only))
        if not self.read_only:
            self._patiently(lambda: self._db.execute("PRAGMA journal_mode = WAL"))
            self._db.execute("PRAGMA synchronous = FULL")
        # Cache the inner pages, 3 MB per million records, so that reading a record takes one read instead of three.
        self._db.execute("PRAGMA cache_size = -16000")
        # Overwrite deleted descriptors.
        self._db.execute("PRAGMA secure_delete = ON")
        with self.reading():
            if self.meta("seal") == "":
                sealed = False  # a new gallery, or made by an older toolkit
            elif not self.sealed():
                raise GalleryError(
                    "damaged: the checksum of its model, width and count is wrong: restore a copy, or enroll again "
                    "into a new folder"
                )
            elif self.meta("metric") != METRIC:
                raise GalleryError(f"made for the metric {self.meta('metric')!r}: expected {METRIC!r}")
            else:
                sealed = True
        if not sealed and not self.read_only:
            with self.writing():
                pass

    def again(self) -> Self:
        """Another connection to the same file."""
        self._refuse_another()
        other = type(self)(self.folder, False, self._wait)
        other._file = self._file
        return other

    def close(self) -> None:
        self._db.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, for the modules of this folder that keep tables of their own. It changes when the file was
        opened again, so use it within :meth:`reading` or :meth:`writing`, and do not keep it."""
        return self._db

    def _file_there(self) -> tuple[int, int] | None:
        """The file that has our name now. None if there is none."""
        try:
            about = os.stat(self._place)
        except OSError as error:
            # A process that has given up its rights can no longer look, but still has the file open.
            return None if error.errno in GONE else self._file
        return about.st_dev, about.st_ino

    def _refuse_another(self) -> None:
        """Raise :class:`GalleryError` if the file was deleted or moved. SQLite would continue to use it without an
        error.
        """
        if self._file_there() != self._file:
            raise GalleryError(
                f"{self.path}: was replaced or deleted while it was open: open it again; earlier writes are in the old "
                "file"
            )

    def _state(self) -> tuple[tuple[int, int] | None, ...]:
        """Values that change when the file is written, or when a process opens it for writing."""
        return tuple(map(_size_and_time, (self._place, self._log())))

    def _log(self) -> str:
        """The path of SQLite's write-ahead log: beside the file itself, even if our path is a link to it."""
        return f"{os.path.realpath(self._place)}-wal"

    def _is_outdated(self) -> bool:
        return self._frozen and self._state() != self._seen

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A consistent view of the file, whatever other processes write meanwhile.

        Raises :class:`GalleryError` at the end if the view may have been inconsistent. A process that may not write can
        notice only afterwards that another process has written.
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
        """A transaction: all or nothing, and on the disk when it ends."""
        if self.read_only:
            raise GalleryError(
                f"{self.path}: cannot be written: the file or its folder is on a read-only medium, or belongs to "
                "another user: `reid gallery copy` makes a copy that can be written"
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
        """:meth:`writing`, or :meth:`reading` if the file may not be written. For code that rarely has to write."""
        return self.reading() if self.read_only else self.writing()

    def meta(self, key: str) -> str | None:
        """A fact about the whole gallery. None if it is not stored."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def number(self, key: str) -> int:
        """:meth:`meta` of a counter. 0 if it is not stored."""
        return int(self.meta(key) or 0)

    def set_meta(self, key: str, value: str) -> None:
        """Store a fact, within :meth:`writing`."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def sealed(self) -> bool:
        """Whether all facts match their checksum."""
        return self.meta("seal") == str(self._seal())

    def _seal(self) -> int:
        rows = self._db.execute("SELECT key, value FROM meta WHERE key <> 'seal' ORDER BY key").fetchall()
        return text_checksum(json.dumps(rows, default=repr))

    def integrity(self) -> list[str]:
        """Faults that SQLite finds in the file's pages and indexes, at most 100 lines."""
        try:
            lines = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check")]
        except UNREADABLE as error:
            return [str(error)]
        return [] if lines == ["ok"] else [line for part in lines for line in part.splitlines()]

    def shrink(self) -> None:
        """Rewrite the file without the space of deleted rows, and empty the write-ahead log.

        Raises :class:`GalleryError` if a reader still uses the old pages, which then stay in the log, or if the disk is
        full.
        """
        with self._explained():
            try:
                self._patiently(lambda: self._db.execute("VACUUM"))
            except sqlite3.Error as error:
                if not is_full(error):
                    raise
                raise UnavailableError(
                    f"{self.folder}: the rows are deleted, but there is no space left on the disk to write the file "
                    "anew: free some space and run `reid gallery compact`"
                ) from error
            deadline = time.monotonic() + self._wait
            while not self._log_is_empty():
                if time.monotonic() >= deadline:
                    raise GalleryError(
                        f"{self.folder}: the rows are deleted, but another process is reading, so their bytes are "
                        "still in the write-ahead log: run `reid gallery compact` when that process has finished"
                    )
                time.sleep(0.02)

    def empty_log(self) -> None:
        """Move the write-ahead log into the file, which overwrites deleted rows. If that is not possible now, note it,
        so that the next purge does it.

        What was written before is stored in any case, so a full disk or another process is no reason for an error,
        which would say that it was undone.
        """
        with suppress(UnavailableError), self._explained():
            if self._log_is_empty():
                return
        with suppress(UnavailableError), self.writing():
            self.set_meta("erasure", f"log {time.time_ns()}")

    def _log_is_empty(self) -> bool:
        """Move the write-ahead log into the file. True if all of it was moved."""
        return not self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]

    def _patiently(self, step: Callable[[], object]) -> None:
        """Try ``step`` again while another process writes, for at most ``wait`` seconds."""
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
        """Turn SQLite's errors into a line that says what is safe and what to do."""
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
        if is_full(error):
            return (
                "no space left on the disk: this write was undone, all that was stored before is safe: free some space "
                "and run the same command again"
            )
        if is_busy(error):
            return (
                f"another process is writing, and was still writing after {self._wait:g} s: run this again later, or "
                "wait longer (--wait SECONDS)"
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
    """Whether the cause is another connection, and not the state of the file or the disk."""
    name = getattr(error, "sqlite_errorname", None) or ""
    return name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or "locked" in str(error)


def is_full(error: sqlite3.Error) -> bool:
    """Whether the cause is a full disk."""
    name = getattr(error, "sqlite_errorname", None) or ""
    return name.startswith("SQLITE_FULL") or "disk is full" in str(error)


def may_pass(error: sqlite3.Error) -> bool:
    """Whether the same call may succeed later: the cause is another connection or the disk, and not the file itself."""
    name = getattr(error, "sqlite_errorname", None) or ""
    return is_busy(error) or name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN"))


def _create(folder: Path, path: Path) -> None:
    """Create the folder and its database. No other user can read them, and no other process sees an unfinished
    database.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A name of its own: the system would drop the locks of another thread's connection to the same file.
    temporary = folder / f".{NAME}.{secrets.token_hex(8)}.partial"
    try:
        create_private(temporary)
        with closing(sqlite3.connect(temporary, isolation_level=None)) as db:
            migrate(db)
        # Linked and not renamed, because another process may have created the same gallery meanwhile and filled it.
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links, such as FAT: rename instead
            if not path.exists():
                os.rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(folder)
