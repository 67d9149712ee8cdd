"""The rows about people in a gallery's SQLite file. All functions work within the caller's transaction."""

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.local.schema import PEOPLE_TABLES
from reid_toolkit.gallery.people_table import Correction, Membership, People
from reid_toolkit.records import Record

Key = tuple[str, str, str]


def exist(db: sqlite3.Connection) -> bool:
    """Whether the tables were created."""
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'person_member'").fetchone() is not None


def read(db: sqlite3.Connection) -> People:
    """Everything but ``state`` and the last numbers."""
    if not exist(db):
        return People()
    members = db.execute("SELECT digest, person, strict, loose FROM person_member")
    return People(
        {digest: Membership(person, strict, loose) for digest, person, strict, loose in members},
        dict(db.execute("SELECT person, name FROM person_name").fetchall()),
        tuple(Correction(*row) for row in db.execute("SELECT * FROM person_correction ORDER BY number")),
    )


def write(
    db: sqlite3.Connection,
    members: Mapping[str, Membership],
    names: Mapping[int, str | None],
    put: Iterable[Correction],
    take: Iterable[int],
) -> None:
    """Change the rows; see ``PeopleTable.write``. Names of people without records are deleted."""
    for statement in PEOPLE_TABLES:
        db.execute(statement)
    db.executemany(
        "INSERT OR REPLACE INTO person_member VALUES (?, ?, ?, ?)", ((key, *one) for key, one in members.items())
    )
    # Taken away first, so that two people can exchange their names.
    db.executemany("DELETE FROM person_name WHERE person = ?", ((person,) for person in names))
    db.executemany("INSERT INTO person_name VALUES (?, ?)", ((who, name) for who, name in names.items() if name))
    # The same for corrections: a copy may have its own of a number.
    db.executemany("DELETE FROM person_correction WHERE number = ?", ((number,) for number in take))
    db.executemany(
        "INSERT INTO person_correction VALUES (?, ?, ?, ?, ?, ?)",
        ((one.number, one.kind, one.first, one.second, one.who, one.time) for one in put),
    )
    _drop_empty_names(db)


def drop(db: sqlite3.Connection, keys: Collection[Key]) -> None:
    """Delete what refers to the records of these keys (source, tracklet, camera)."""
    if not keys or not exist(db):
        return
    digests = [(key_digest(Record(tracklet, camera, source=source)),) for source, tracklet, camera in keys]
    db.executemany("DELETE FROM person_member WHERE digest = ?", digests)
    db.execute("CREATE TEMP TABLE IF NOT EXISTS gone (digest TEXT PRIMARY KEY)")
    db.executemany("INSERT OR IGNORE INTO gone VALUES (?)", digests)
    db.execute(
        "DELETE FROM person_correction WHERE first IN (SELECT digest FROM gone) OR second IN (SELECT digest FROM gone)"
    )
    db.execute("DELETE FROM gone")
    _drop_empty_names(db)


def drop_where(db: sqlite3.Connection, where: str, values: Sequence[str | int | float]) -> None:
    """:func:`drop` for the records that an SQL condition chooses."""
    if exist(db):
        drop(db, db.execute(f"SELECT source, tracklet, camera FROM record WHERE {where}", values).fetchall())


def _drop_empty_names(db: sqlite3.Connection) -> None:
    if db.execute("SELECT 1 FROM person_name LIMIT 1").fetchone():
        db.execute("DELETE FROM person_name WHERE person NOT IN (SELECT person FROM person_member)")
