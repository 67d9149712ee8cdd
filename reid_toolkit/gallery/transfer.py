"""Between galleries, wherever they are kept: :func:`copy` makes one equal another, and :func:`sync` tells a centre what
an edge box enrolled and forgot since the last time. Both are verified, and safe to break off at any moment.

For :func:`sync` the edge remembers what it sent in a file beside its gallery. A record is put down there before it is
sent and struck out after it was taken back, so that whatever is at the centre because of this edge is always in the
file.
"""

import hashlib
import sqlite3
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from reid_toolkit.errors import GalleryError
from reid_toolkit.files import can_be_written, create_private
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.digests import content_digest, key_digest
from reid_toolkit.gallery.hidden import hidden_of
from reid_toolkit.gallery.local.gallery import Gallery
from reid_toolkit.gallery.local.record_table import key_of
from reid_toolkit.gallery.people_transfer import SENT_NAME_TABLE, copy_people, send_people
from reid_toolkit.gallery.types import DATED_FROM, Batch, OnProgress, is_past
from reid_toolkit.records import Record

STEP = 1_000
"""Records written at once, so that little is sent again after an interruption."""
SYNC_FILE = "sync.sqlite"
SENT_TABLE = """CREATE TABLE IF NOT EXISTS sent (
    target TEXT, source TEXT, tracklet TEXT, camera TEXT, content INTEGER, arrived INTEGER,
    PRIMARY KEY (target, source, tracklet, camera)
) WITHOUT ROWID"""
SENT_KEY = "target = ? AND source = ? AND tracklet = ? AND camera = ?"


@dataclass(frozen=True, slots=True)
class Copied:
    """What :func:`copy` did and verified."""

    count: int
    """Records that both galleries hold, and may show."""
    written: int
    """Of these, how many were not there before, or were others."""
    past: int
    """Records of the source that are past its retention, and so were not copied."""
    removed: int
    """Records that an earlier copy had brought to the target, and that were deleted there now: past the source's
    retention, or forgotten by it since."""
    blocked: int
    """Records of the source that are on the target's block list, and so were not copied."""
    checksum: str
    """Of all records and descriptors: the same for galleries that hold the same, in whatever order."""


def copy(
    source: GalleryStore, target: GalleryStore, on_progress: OnProgress | None = None, *, allow: bool = False
) -> Copied:
    """Make ``target`` hold what ``source`` holds, and compare the two when that is done.

    Records that the target already has are left out, so an interrupted copy can be run again. Records past the source's
    retention count as deleted: they are not copied, and are deleted at the target if an earlier copy brought them.
    The target's block list is extended by the source's. Records on it are not copied, unless ``allow``, and records
    that the source forgot after an earlier copy are deleted at the target. Needs about 200 bytes of memory a record.

    Raises:
        GalleryError: the target holds other records, or descriptors of another model; records of the source are
            damaged; or the galleries differ at the end.
    """
    # Both before anything is read, so that no record grows too old between two looks at it.
    kept, now = source.retention, time.time()
    wanted = contents(source)
    there, removed = remove_foreign(source, target, wanted, None if kept is None else now - kept)
    about = source.info()
    target.expect(about.dimension, about.model)
    if source.model_file:
        target.remember_model_file(source.model_file)
    if kept is not None and target.retention is None:
        target.keep_for(kept)
    hidden = hidden_of(source, kept, now)
    past = sum(wanted.pop(key, None) is not None for key in hidden)
    old = take_out(target, [record for key, record in hidden.items() if key in there]) if hidden else 0
    if old:
        there = contents(target)  # anew, as compacting deletes what is past the target's own retention
    forgotten = forgotten_of(source, target, allow=allow) - there.keys()
    blocked = sum(wanted.pop(key, None) is not None for key in forgotten)
    written = write_missing(source, target, wanted, there, on_progress, allow=allow)
    target.refresh_statistics(if_due=True)  # its own, as its records are
    target.build_index()
    after = contents(target)
    if after != wanted:
        differing = len(set(after.items()) ^ set(wanted.items()))
        raise GalleryError(
            f"after copying, {differing} records differ: one of the galleries changed meanwhile; run this again"
        )
    copy_people(source, target, after)
    if target.copied != (mark := copy_mark(source, after)):
        target.remember_copy(mark)
    return Copied(len(after), written, past, removed + old, blocked, checksum(after))


def remove_foreign(
    source: GalleryStore, target: GalleryStore, wanted: dict[str, int], kept_since: float | None
) -> tuple[dict[str, int], int]:
    """Delete the target's records that the source had once, and does not have any more.

    ``kept_since``: where the source's retention begins. Returns the target's :func:`contents`, and how many records
    were deleted. Raises :class:`GalleryError` if records are left that the source may never have had.
    """
    there, removed = contents(target), 0
    ours = target.copied == copy_mark(source, there)
    foreign = there.keys() - wanted.keys()
    if foreign and target.expire():
        # The source deleted them when they were too old, and so does the target.
        there = contents(target)
        foreign = there.keys() - wanted.keys()
    if foreign and (gone := forgotten_since(source, target, foreign)):
        removed = take_out(target, gone)
        there = contents(target)
        foreign = there.keys() - wanted.keys()
    if foreign and ours and kept_since is not None:
        # Nobody has changed the target since the last copy, so the source had all of it. What has no date is older
        # there than here, because it counts from its enrolment.
        removed += take_out(target, aged(target, foreign, kept_since))
        there = contents(target)
        foreign = there.keys() - wanted.keys()
    if foreign:
        raise GalleryError(
            f"the target holds {len(foreign)} records that the source does not: expected an empty gallery or a part of "
            "a copy: copy to a new gallery; to bring galleries together, use `reid gallery sync`"
        )
    return there, removed


def write_missing(
    source: GalleryStore,
    target: GalleryStore,
    wanted: dict[str, int],
    there: dict[str, int],
    on_progress: OnProgress | None,
    *,
    allow: bool,
) -> int:
    """Write the ``wanted`` records of the source that the target lacks or holds differently; returns how many.

    ``there`` is the target's :func:`contents`.
    """
    written, missing = 0, sum(there.get(key) != content for key, content in wanted.items())
    for records, vectors in parts(source):
        rows = [
            row
            for row, record in enumerate(records)
            if (key := key_digest(record)) in wanted and there.get(key) != content_digest(record, vectors[row])
        ]
        if rows and not allow:  # asked for each part, because somebody may be forgotten there meanwhile
            is_out = _blocked(target, [records[row] for row in rows])
            rows = [row for row, out in zip(rows, is_out, strict=True) if not out]
        if rows:
            target.add(vectors[rows], [records[row] for row in rows])
            if allow:
                target.block_list.allow([records[row] for row in rows])
        written += len(rows)
        if on_progress:
            on_progress(written, missing)
    return written


def forgotten_of(source: GalleryStore, target: GalleryStore, *, allow: bool) -> set[str]:
    """Digests of the source's records that are on the target's block list, with what is on the source's own; none where
    that is allowed."""
    blocked = target.block_list
    blocked.add_digests(source.block_list.digests())
    if allow or not blocked.digests():
        return set()
    found: set[str] = set()
    for records, _ in source.records():
        found |= {key_digest(one) for one, has in zip(records, blocked.has(records), strict=True) if has}
    return found


def forgotten_since(source: GalleryStore, target: GalleryStore, foreign: Container[str]) -> list[Record]:
    """Those of the target's records with the digests ``foreign`` that are on the source's block list."""
    found = []
    for records, _ in target.records():
        news = [record for record in records if key_digest(record) in foreign]
        found += [record for record, has in zip(news, source.block_list.has(news), strict=True) if has]
    return found


def aged(target: GalleryStore, foreign: Container[str], kept_since: float) -> list[Record]:
    """Those of the target's records with the digests ``foreign`` that a retention may have deleted at the source."""
    return [
        record
        for records, _ in target.records()
        for record in records
        if key_digest(record) in foreign
        and (record.end is None or record.end < DATED_FROM or is_past(record, kept_since))
    ]


def copy_mark(source: GalleryStore, found: dict[str, int]) -> str:
    """What a copy of a source remembers: whose copy it is, and a checksum of its :func:`contents`."""
    return f"{source.identity} {checksum(found)}"


def take_out(target: GalleryStore, records: Sequence[Record]) -> int:
    """Delete these records at the target, for good; how many were there."""
    gone = sum(target.delete_records(records[at : at + STEP]) for at in range(0, len(records), STEP))
    if gone or target.leftover():  # by a copy that was interrupted here
        target.compact()
    return gone


def contents(store: GalleryStore) -> dict[str, int]:
    """Digest of each record's key -> digest of all it holds. Raises :class:`GalleryError` when some are damaged."""
    before = len(store)
    found = {
        key_digest(record): content_digest(record, vector)
        for records, vectors in store.records()
        for record, vector in zip(records, vectors, strict=True)
    }
    refuse_damaged(store, before, len(found))
    return found


def refuse_damaged(store: GalleryStore, before: int, read: int) -> None:
    """Raise :class:`GalleryError` when fewer records were read than there are: what is damaged is not forgotten."""
    lost = min(before, len(store)) - read
    if lost > 0:
        raise GalleryError(f"{lost} records could not be read: see `reid gallery check`, forget and enroll them anew")


def checksum(found: dict[str, int]) -> str:
    """One digest, as hex, of :func:`contents`."""
    lines = "\n".join(f"{key} {content}" for key, content in sorted(found.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def parts(store: GalleryStore) -> Iterator[Batch]:
    """All records, ``STEP`` at a time."""
    for records, vectors in store.records():
        for at in range(0, len(records), STEP):
            yield records[at : at + STEP], vectors[at : at + STEP]


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
        forgotten = _take_back(journal, where, edge, target, here)
        send_people(edge, target, where, journal)
    target.refresh_statistics(if_due=True)
    target.build_index()
    return Synced(sent, forgotten, len(here) - sent - blocked, absent, blocked, len(hidden))


def _blocked(target: GalleryStore, records: Sequence[Record]) -> list[bool]:
    """For each record, whether it is on the target's block list, and not at the target all the same."""
    there = target.enrolled(records)
    return [has and not known for has, known in zip(target.block_list.has(records), there, strict=True)]


def _take_back(journal: sqlite3.Connection, where: str, edge: Gallery, target: GalleryStore, here: set[str]) -> int:
    """Delete at the target what was sent once and is no longer ``here``.

    The bytes of what the edge was told to forget are erased. Others were too old at the edge, as some are at nearly
    every sync, and to compact a large centre each time takes too long.
    """
    rows = journal.execute("SELECT source, tracklet, camera FROM sent WHERE target = ?", (where,))
    sent = (Record(tracklet, camera, source=source) for source, tracklet, camera in rows)
    gone = [record for record in sent if key_digest(record) not in here]
    forgotten = False
    for at in range(0, len(gone), STEP):
        step = gone[at : at + STEP]
        is_out = edge.block_list.has(step)
        for delete, wanted in ((target.expire_records, False), (target.delete_records, True)):
            if those := [record for record, out in zip(step, is_out, strict=True) if out == wanted]:
                delete(those)
        forgotten = forgotten or any(is_out)
    if forgotten:
        target.compact()
    if gone:
        with journal:
            journal.executemany(f"DELETE FROM sent WHERE {SENT_KEY}", [(where, *key_of(record)) for record in gone])
    return len(gone)


def _arrived(journal: sqlite3.Connection, where: str, record: Record) -> int | None:
    """The content that is known to have arrived of this record."""
    row = journal.execute(f"SELECT content FROM sent WHERE {SENT_KEY} AND arrived", (where, *key_of(record))).fetchone()
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
    path = folder / SYNC_FILE
    if not can_be_written(path):
        raise GalleryError(
            f"{folder}: cannot be written: it is on a read-only medium or of another user: expected a folder that can "
            f"be, to keep in {SYNC_FILE} what was sent; `reid gallery copy` sends everything and keeps nothing"
        )
    try:
        create_private(path)
        with closing(sqlite3.connect(path, timeout=0.5)) as journal:
            # Held until it is closed, so that a second sync cannot take what is new for what is gone.
            journal.execute("PRAGMA locking_mode = EXCLUSIVE")
            journal.execute("PRAGMA synchronous = FULL")
            journal.execute("PRAGMA secure_delete = ON")
            with journal:
                journal.execute("BEGIN EXCLUSIVE")
                journal.execute(SENT_TABLE)
                journal.execute(SENT_NAME_TABLE)
            yield journal
    except sqlite3.OperationalError as error:
        what = "another sync is running" if "locked" in str(error) else str(error)
        raise GalleryError(f"{path}: {what}: run this again when that is over") from error
    except sqlite3.DatabaseError as error:
        raise GalleryError(
            f"{path}: damaged ({error}): delete it; then what was forgotten here since must be forgotten there too"
        ) from error
