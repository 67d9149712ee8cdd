"""The tables of a gallery's SQLite file, and the named steps that bring an older file up to date."""

import sqlite3
import uuid

import numpy as np

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery.digests import row_checksum

APPLICATION_ID = 0x52656964  # "Reid": tells a gallery from any other SQLite file

PAGE_BYTES = 32768
"""A descriptor of width 512 has 1 kB. SQLite's usual pages of 4 kB hold three and waste a quarter; these hold 29."""

METRIC = "euclidean"

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "meta and record",
        (
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
            # No id is used twice, and rows are never updated. So an id always means the same descriptor, and caches by
            # id stay valid.
            """CREATE TABLE record (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                tracklet TEXT NOT NULL,
                camera TEXT NOT NULL,
                source TEXT NOT NULL,
                start_time REAL,
                end_time REAL,
                image TEXT NOT NULL,
                vector BLOB NOT NULL
            )""",
            "CREATE UNIQUE INDEX record_key ON record (source, tracklet, camera)",
            # So that counting and reading times does not read all descriptors.
            "CREATE INDEX record_time ON record (start_time, end_time)",
            "INSERT INTO meta VALUES ('removed', '0')",
        ),
    ),
    (
        "half precision, tags, thumbnails, a checksum of each record and the count of all",
        (
            "ALTER TABLE record ADD COLUMN tags TEXT NOT NULL DEFAULT '[]'",
            "ALTER TABLE record ADD COLUMN thumbnail BLOB NOT NULL DEFAULT x''",
            "ALTER TABLE record ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0",
            # So that counting tags does not read all descriptors.
            "CREATE INDEX record_tags ON record (tags) WHERE tags <> '[]'",
            "UPDATE record SET vector = to_half(vector)",
            """UPDATE record SET checksum = row_checksum(
                id, tracklet, camera, source, start_time, end_time, image, tags, thumbnail, vector)""",
            f"INSERT INTO meta VALUES ('metric', '{METRIC}'), ('epoch', '0'), ('seal', '')",
            "INSERT INTO meta SELECT 'count', count(*) FROM record",
            # Ids are now taken from here, because sqlite_sequence has no checksum.
            "INSERT INTO meta SELECT 'last_id', coalesce(max(seq), 0) FROM sqlite_sequence",
        ),
    ),
    (
        "when records were enrolled",
        (
            # Ids only grow, so a row gives the time of many records. For the records that exist already, it is known
            # only that they were enrolled before now.
            "CREATE TABLE enrolment (first_id INTEGER PRIMARY KEY, time REAL NOT NULL)",
            "INSERT INTO enrolment VALUES (0, CAST(strftime('%s', 'now') AS REAL))",
        ),
    ),
    (
        "camera statistics",
        # Nothing to do: the table is created with the first statistics, see STATISTICS_TABLE. The higher version number
        # keeps older toolkits away, because they do not know that an index may hold descriptors without camera bias.
        (),
    ),
    (
        "people",
        # Nothing to do: the tables are created with the first people, see PEOPLE_TABLES. The higher version keeps
        # older toolkits away, because they would not delete people together with their records.
        (),
    ),
    (
        "names that wait, and corrections that were taken back",
        # The same for two more tables of people.
        (),
    ),
)
"""Each step is a transaction, and sets ``PRAGMA user_version`` to its number, from 1. Never change a step: only
append."""


STATISTICS_TABLE = """CREATE TABLE IF NOT EXISTS camera_statistics (
    version INTEGER PRIMARY KEY, content BLOB NOT NULL
)"""
"""Created with the first statistics, because an empty table takes a page. An index uses the version that it was built
with, so that version is kept beside the newest. Empty content means a version without statistics."""

BLOCKED_TABLE = "CREATE TABLE IF NOT EXISTS blocked (digest TEXT PRIMARY KEY) WITHOUT ROWID"
"""Created with the first digest, so that an older gallery can be read without being changed."""

PEOPLE_TABLES = (
    """CREATE TABLE IF NOT EXISTS person_member (
        digest TEXT PRIMARY KEY, person INTEGER NOT NULL, strict INTEGER NOT NULL, loose INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS person_name (person INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    """CREATE TABLE IF NOT EXISTS person_correction (
        number INTEGER PRIMARY KEY, kind TEXT NOT NULL, first TEXT NOT NULL, second TEXT NOT NULL, who TEXT NOT NULL,
        time REAL NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS person_undone (
        number INTEGER NOT NULL, kind TEXT NOT NULL, first TEXT NOT NULL, second TEXT NOT NULL, who TEXT NOT NULL,
        time REAL NOT NULL, regroup INTEGER NOT NULL, PRIMARY KEY (kind, first, second, time)
    ) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS person_waiting (digest TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID",
)
"""Created with the first people. Records are named by the digest of their key."""


def migrate(connection: sqlite3.Connection, *, may_write: bool = True) -> None:
    """Create or upgrade the tables. The connection is in autocommit mode.

    Raises :class:`GalleryError` for a database of another program or of a newer toolkit, and for a database of an older
    toolkit that cannot be written.
    """
    version = _version(connection)
    if version == len(STEPS):
        return
    if not may_write:
        raise GalleryError("made by an older toolkit: open it once where it can be written, which upgrades it")
    connection.create_function("to_half", 1, _to_half, deterministic=True)
    connection.create_function("row_checksum", 10, lambda *fields: row_checksum(fields), deterministic=True)
    # This has an effect only on an empty file.
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    for number, (_, statements) in enumerate(STEPS[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have taken this step while we waited for the lock.
            if _version(connection) < number:
                for statement in statements:
                    connection.execute(statement)
                if number == 1:
                    connection.execute("INSERT INTO meta VALUES ('id', ?)", (uuid.uuid4().hex,))
                    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise


def _to_half(vector: bytes) -> bytes:
    return np.frombuffer(vector, np.float32).astype(np.float16).tobytes()


def _version(connection: sqlite3.Connection) -> int:
    """Number of steps already taken. 0 for a new, empty file."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application != APPLICATION_ID and not (empty and application == 0 and version == 0):
        raise GalleryError("an SQLite file of another program: expected a gallery made by `reid enroll`")
    if version > len(STEPS):
        raise GalleryError(
            f"made by a newer toolkit: expected schema {len(STEPS)} or older, got {version}; upgrade reid-toolkit"
        )
    return version
