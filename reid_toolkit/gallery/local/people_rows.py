"""The rows about people in a gallery's SQLite file. All functions work within the caller's transaction."""

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.local.schema import PEOPLE_TABLES
from reid_toolkit.gallery.people_table import Correction, Membership, People, Undone
from reid_toolkit.records import Record

Key = tuple[str, str, str]
ASKED = 500
"""Records that one statement asks for."""


def exist(db: sqlite3.Connection, table: str = "person_member") -> bool:
    """Whether a table was created."""
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None


def read(db: sqlite3.Connection) -> People:
    """Everything but ``state``, the last numbers and the least times."""
    if not exist(db):
        return People()
    undone: list[Undone] = []
    waiting: dict[str, str] = {}
    if exist(db, "person_undone"):
        for *fields, regroup in db.execute("SELECT * FROM person_undone ORDER BY number"):
            undone.append(Undone(Correction(*fields), bool(regroup)))
        waiting = dict(db.execute("SELECT digest, name FROM person_waiting").fetchall())
    members = db.execute("SELECT digest, person, strict, loose FROM person_member")
    return People(
        {digest: Membership(person, strict, loose) for digest, person, strict, loose in members},
        dict(db.execute("SELECT person, name FROM person_name").fetchall()),
        tuple(Correction(*row) for row in db.execute("SELECT * FROM person_correction ORDER BY number")),
        undone=tuple(undone),
        waiting=waiting,
    )


def persons(db: sqlite3.Connection, digests: Sequence[str]) -> dict[str, tuple[int, str | None]]:
    """Number and name of the person of each of these records that has one."""
    found: dict[str, tuple[int, str | None]] = {}
    for at in range(0, len(digests) if exist(db) else 0, ASKED):
        part = digests[at : at + ASKED]
        query = (
            "SELECT digest, person, name FROM person_member LEFT JOIN person_name USING (person)"
            f" WHERE digest IN ({', '.join('?' * len(part))})"
        )
        found |= {digest: (person, name) for digest, person, name in db.execute(query, part)}
    return found


def write(
    db: sqlite3.Connection,
    members: Mapping[str, Membership],
    names: Mapping[int, str | None],
    put: Iterable[Correction],
    take: Iterable[int],
    undone: Iterable[Undone] = (),
    waiting: Mapping[str, str | None] | None = None,
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
    db.executemany(
        "INSERT OR REPLACE INTO person_undone VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (one.number, one.kind, one.first, one.second, one.who, one.time, each.regroup)
            for each in undone
            for one in [each.correction]
        ),
    )
    waiting = waiting or {}
    db.executemany("DELETE FROM person_waiting WHERE digest = ?", ((digest,) for digest in waiting))
    db.executemany("INSERT INTO person_waiting VALUES (?, ?)", ((one, name) for one, name in waiting.items() if name))
    _give_waiting_names(db)
    _drop_empty_names(db)


def have_names(db: sqlite3.Connection, persons: Iterable[int]) -> bool:
    """Whether all these people have a name."""
    query = "SELECT 1 FROM person_name WHERE person = ?"
    return all(db.execute(query, (person,)).fetchone() for person in persons)


def _give_waiting_names(db: sqlite3.Connection) -> None:
    """Give each waiting name to the person with most of its records, if that person has none and nobody is called so.
    The name waits no more then."""
    found = db.execute(
        "SELECT name, person FROM person_waiting JOIN person_member USING (digest)"
        " GROUP BY name, person ORDER BY count(*) DESC, person"
    ).fetchall()
    for name in dict.fromkeys(name for name, _ in found):
        person = next(person for held, person in found if held == name)
        if not db.execute("SELECT 1 FROM person_name WHERE person = ? OR name = ?", (person, name)).fetchone():
            db.execute("INSERT INTO person_name VALUES (?, ?)", (person, name))
        db.execute("DELETE FROM person_waiting WHERE name = ?", (name,))


def propose(db: sqlite3.Connection, members: Mapping[str, Membership], new: Collection[int]) -> None:
    """Give records a person, except those that have one. Only the people ``new`` may have had no record before."""
    for statement in PEOPLE_TABLES:
        db.execute(statement)
    query = "SELECT 1 FROM person_member WHERE person = ?"
    wanted = {one.person for one in members.values()}
    there = {person for person in wanted if person in new or db.execute(query, (person,)).fetchone()}
    db.executemany(
        "INSERT OR IGNORE INTO person_member VALUES (?, ?, ?, ?)",
        ((key, *one) for key, one in members.items() if one.person in there),
    )


def drop(db: sqlite3.Connection, keys: Collection[Key]) -> None:
    """Delete what refers to the records of these keys (source, tracklet, camera)."""
    if not keys or not exist(db):
        return
    digests = [(key_digest(Record(tracklet, camera, source=source)),) for source, tracklet, camera in keys]
    db.executemany("DELETE FROM person_member WHERE digest = ?", digests)
    db.execute("CREATE TEMP TABLE IF NOT EXISTS gone (digest TEXT PRIMARY KEY)")
    db.executemany("INSERT OR IGNORE INTO gone VALUES (?)", digests)
    tables = ["person_correction"]
    if exist(db, "person_undone"):
        tables.append("person_undone")
        db.execute("DELETE FROM person_waiting WHERE digest IN (SELECT digest FROM gone)")
    for table in tables:
        db.execute(
            f"DELETE FROM {table} WHERE first IN (SELECT digest FROM gone) OR second IN (SELECT digest FROM gone)"
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
