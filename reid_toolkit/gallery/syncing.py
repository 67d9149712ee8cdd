"""What an edge box enrolled and forgot since the last time, to the centre; any moment may be the last one.

The edge remembers what it sent in a file beside its gallery. A record is put down there before it is sent and
struck out after it was taken back, so that whatever is at the centre because of this edge is always in the file.
"""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from reid_toolkit.errors import GalleryError
from reid_toolkit.files import can_be_written
from reid_toolkit.gallery import copying
from reid_toolkit.gallery.copying import hidden_of, parts, refuse_damaged
from reid_toolkit.gallery.fingerprints import content_digest, key_digest
from reid_toolkit.gallery.gallery import Gallery
from reid_toolkit.gallery.protocol import GalleryStore, OnProgress
from reid_toolkit.gallery.store import key_of
from reid_toolkit.records import Record

NAME = "sync.sqlite"
TABLE = """CREATE TABLE IF NOT EXISTS sent (
    target TEXT, source TEXT, tracklet TEXT, camera TEXT, content INTEGER, arrived INTEGER,
    PRIMARY KEY (target, source, tracklet, camera)
) WITHOUT ROWID"""
KEY = "target = ? AND source = ? AND tracklet = ? AND camera = ?"


@dataclass(frozen=True, slots=True)
class Synced:
    """What :func:`sync` did, in records."""

    sent: int
    """New or changed since the last time."""
    forgotten: int
    """Sent once, no longer at the edge, and now no longer at the centre."""
    unchanged: int
    """Sent before."""
    absent: int
    """Of the unchanged, how many the centre has forgotten or lost. They are not sent again."""
    blocked: int
    """On the centre's block list, and so not sent."""
    past: int
    """Past the edge's retention and not deleted there yet: not sent, and taken back where they were sent before."""


def sync(
    folder: Path, target: GalleryStore, where: str, on_progress: OnProgress | None = None, *, allow: bool = False
) -> Synced:
    """Bring what changed in the gallery at ``folder`` since the last time to ``target``, which is at ``where``.

    Run it again after anything, and it ends as if nothing had happened. Others' records at the target are left
    alone. What the target forgot stays forgotten, and is counted; ``allow`` sends what is on its block list. What is
    past the edge's retention counts as forgotten at the edge.
    Raises :class:`GalleryError` when another sync of this gallery is running, its folder cannot be written, or records
    of it are damaged: then nothing is taken back.
    """
    with Gallery.open(folder, create=False) as edge, _journal(folder) as journal:
        about = edge.info()
        target.expect(about.dimension, about.model)
        if edge.model_file and target.model_file is None:
            target.remember_model_file(edge.model_file)
        before, read, sent, absent, blocked = len(edge), 0, 0, 0, 0
        hidden = hidden_of(edge, about.retention, time.time())
        here: set[str] = set()
        for everything, descriptors in parts(edge):
            read += len(everything)
            shown = [row for row, record in enumerate(everything) if key_digest(record) not in hidden]
            records, vectors = [everything[row] for row in shown], descriptors[shown]
            here.update(map(key_digest, records))
            digests = [content_digest(record, vector) for record, vector in zip(records, vectors, strict=True)]
            known = [
                _arrived(journal, where, record) == digest for record, digest in zip(records, digests, strict=True)
            ]
            is_blocked = _blocked(target, records)
            blocked += 0 if allow else sum(is_blocked)
            rows = [row for row, is_known in enumerate(known) if (allow if is_blocked[row] else not is_known)]
            if rows:
                news = [records[row] for row in rows]
                _note(journal, where, news, [digests[row] for row in rows], arrived=False)
                target.add(vectors[rows], news)
                _note(journal, where, news, [digests[row] for row in rows], arrived=True)
                if allow:
                    target.block_list.allow(news)
            sent += len(rows)
            absent += target.enrolled(
                [record for row, record in enumerate(records) if known[row] and not is_blocked[row]]
            ).count(False)
            if on_progress:
                on_progress(read, before)
        refuse_damaged(edge, before, read)
        forgotten = _take_back(journal, where, target, here)
    target.refresh_statistics(if_due=True)
    target.build_index()
    return Synced(sent, forgotten, len(here) - sent - blocked, absent, blocked, len(hidden))


def _blocked(target: GalleryStore, records: Sequence[Record]) -> list[bool]:
    """For each record, whether it is on the target's block list, and not at the target all the same."""
    there = target.enrolled(records)
    return [has and not known for has, known in zip(target.block_list.has(records), there, strict=True)]


def _take_back(journal: sqlite3.Connection, where: str, target: GalleryStore, here: set[str]) -> int:
    """Delete at the target what was sent once and is no longer ``here``."""
    rows = journal.execute("SELECT source, tracklet, camera FROM sent WHERE target = ?", (where,))
    sent = (Record(tracklet, camera, source=source) for source, tracklet, camera in rows)
    gone = [record for record in sent if key_digest(record) not in here]
    for at in range(0, len(gone), copying.STEP):
        target.discard(gone[at : at + copying.STEP])
    if gone:
        target.compact()
        with journal:
            journal.executemany(f"DELETE FROM sent WHERE {KEY}", [(where, *key_of(record)) for record in gone])
    return len(gone)


def _arrived(journal: sqlite3.Connection, where: str, record: Record) -> int | None:
    """The content that is known to have arrived of this record."""
    row = journal.execute(f"SELECT content FROM sent WHERE {KEY} AND arrived", (where, *key_of(record))).fetchone()
    return row[0] if row else None


def _note(
    journal: sqlite3.Connection, where: str, records: Sequence[Record], digests: Sequence[int], arrived: bool
) -> None:
    with journal:
        journal.executemany(
            "INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?, ?, ?)",
            [(where, *key_of(record), digest, arrived) for record, digest in zip(records, digests, strict=True)],
        )


@contextmanager
def _journal(folder: Path) -> Iterator[sqlite3.Connection]:
    """The file of what was sent, which one process holds at a time."""
    path = folder / NAME
    if not can_be_written(path):
        raise GalleryError(
            f"{folder}: cannot be written: it is on a read-only medium or of another user: expected a folder that can "
            f"be, to keep in {NAME} what was sent; `reid gallery copy` sends everything and keeps nothing"
        )
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(path, timeout=0.5)) as journal:
            # Held until it is closed, so that a second sync cannot take what is new for what is gone.
            journal.execute("PRAGMA locking_mode = EXCLUSIVE")
            journal.execute("PRAGMA synchronous = FULL")
            journal.execute("PRAGMA secure_delete = ON")
            with journal:
                journal.execute("BEGIN EXCLUSIVE")
                journal.execute(TABLE)
            yield journal
    except sqlite3.OperationalError as error:
        what = "another sync is running" if "locked" in str(error) else str(error)
        raise GalleryError(f"{path}: {what}: run this again when that is over") from error
    except sqlite3.DatabaseError as error:
        raise GalleryError(
            f"{path}: damaged ({error}): delete it; then what was forgotten here since must be forgotten there too"
        ) from error
