"""The tables of a gallery's SQLite file, and the named steps that bring an older file up to date."""

import sqlite3
import uuid

from reid_toolkit.errors import GalleryError

APPLICATION_ID = 0x52656964  # "Reid": tells a gallery from any other SQLite file

PAGE_BYTES = 32768
"""A 512-wide descriptor is 2 kB: the usual pages of 4 kB hold one each and waste half, these hold 15."""

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "meta and record",
        (
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
            # AUTOINCREMENT never gives an id twice, and rows are never updated: so an id means the same
            # descriptor for ever, and whatever is cached by id stays true.
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
            # So that counting and looking at times need not walk through all descriptors.
            "CREATE INDEX record_time ON record (start_time, end_time)",
            "INSERT INTO meta VALUES ('removed', '0')",
        ),
    ),
)
"""Each step is one transaction and leaves ``PRAGMA user_version`` at its number, from 1. Append only."""


def migrate(connection: sqlite3.Connection) -> None:
    """Create or upgrade the tables. The connection is in autocommit mode.

    Raises :class:`GalleryError` for a database of another program or of a newer toolkit.
    """
    version = _version(connection)
    if version == len(STEPS):
        return
    # Has effect on an empty file only.
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


def _version(connection: sqlite3.Connection) -> int:
    """Steps already taken; 0 for a new, empty file."""
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
