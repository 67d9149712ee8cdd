"""Events that wait on the disk until their receipt is confirmed. It survives a kill of this process."""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from reid_toolkit.errors import InputError, first_line
from reid_toolkit.files import create_private
from reid_toolkit.gallery.local.database import is_busy
from reid_toolkit.live.events.event import Event

MOST_WAITING = 100_000
"""At most so many events wait for a destination, about 50 MB. If more come, the oldest are dropped."""
WAIT_SECONDS = 5.0
"""How long a write waits for another process that writes to the same queue."""
SCHEMA = 1
"""``PRAGMA user_version`` of a queue."""


class Waiting(NamedTuple):
    """An event in the queue."""

    number: int
    """Increases with every event. The numbers in a queue have no gaps."""
    key: str
    body: bytes
    """The event as JSON."""


class DiskQueue:
    """A queue of events for one destination, in a folder. Several threads and processes may use it at once.

    An event is a row with its key and its JSON. It is stored when :meth:`put` returns, and stays until :meth:`remove`.
    Deleted rows are overwritten. One thread uses one object.
    """

    def __init__(self, folder: Path, address: str) -> None:
        """Open the queue of ``address`` in ``folder``, or create it. Its files have mode 0600, a new folder 0700.

        Raises:
            InputError: it cannot be written, or is damaged.
        """
        self.path = folder / f"{hashlib.sha256(address.encode(errors='replace')).hexdigest()[:16]}.sqlite"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_private(self.path)  # SQLite gives its other files the same mode
        except OSError as error:
            raise InputError(
                f"{error.filename}: events cannot wait there ({error.strerror}): choose another --events-queue"
            ) from None
        try:
            self._db = connect(self.path)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise
        except sqlite3.Error as error:
            raise InputError(
                f"{self.path}: not a usable queue of events ({first_line(error)}): move it away, and its events are "
                "not sent; or choose another --events-queue"
            ) from None

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA):
            raise sqlite3.DatabaseError(f"it is of version {version}, this program knows {SCHEMA}")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # a power cut loses nothing that was taken
        self._db.execute("PRAGMA secure_delete = ON")  # events name people
        if version == SCHEMA:
            return
        with transaction(self._db):
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, "
                "body BLOB NOT NULL)"
            )
            self._db.execute(f"PRAGMA user_version = {SCHEMA}")

    def put(self, events: Sequence[Event]) -> int:
        """Store events in one transaction. Returns how many of the oldest were dropped because the queue is full.

        Raises :class:`sqlite3.Error` if they cannot be stored: the disk is full, or another process writes for long.
        """
        with transaction(self._db):
            self._db.executemany(
                "INSERT INTO events (key, body) VALUES (?, ?)", [(event.key, event.to_json()) for event in events]
            )
            return self._db.execute(
                "DELETE FROM events WHERE number <= (SELECT max(number) FROM events) - ?", (MOST_WAITING,)
            ).rowcount

    def first(self, after: int = 0) -> Waiting | None:
        """The oldest event whose number is greater than ``after``. None if no such event waits."""
        row = self._db.execute(
            "SELECT number, key, body FROM events WHERE number > ? ORDER BY number LIMIT 1", (after,)
        ).fetchone()
        return None if row is None else Waiting(*row)

    def remove(self, number: int) -> None:
        """Delete an event and all older ones, because their receipt is confirmed or they were refused for good.

        Raises :class:`sqlite3.Error` as :meth:`put` does. They stay then.
        """
        with transaction(self._db):
            self._db.execute("DELETE FROM events WHERE number <= ?", (number,))

    def __len__(self) -> int:
        return int(self._db.execute("SELECT coalesce(max(number) - min(number) + 1, 0) FROM events").fetchone()[0])

    def close(self) -> None:
        """Close it. Events that wait stay on the disk."""
        self._db.close()


class SenderLock:
    """Only one process sends the events of a queue. The lock ends with its process, also by a kill."""

    def __init__(self, queue: Path) -> None:
        path = queue.with_suffix(".lock")
        create_private(path)
        self._db, self.held = sqlite3.connect(path, timeout=0, isolation_level=None), False

    def take(self) -> bool:
        """Whether this process holds the lock, which it takes if it is free. Raises :class:`sqlite3.Error` if the disk
        does not allow it."""
        if not self.held:
            try:
                self._db.execute("PRAGMA journal_mode = MEMORY")  # so that a full disk allows it
                self._db.execute("BEGIN EXCLUSIVE")
                self.held = True
            except sqlite3.OperationalError as error:
                if not is_busy(error):  # then the reason is no other process, and the user has to know it
                    raise
        return self.held

    def close(self) -> None:
        """Give the lock back."""
        self._db.close()


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All that is done inside is stored, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled back already
            db.execute("ROLLBACK")
        raise
