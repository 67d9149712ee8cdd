"""Making one gallery equal another, wherever they are kept; verified, and safe to break off at any moment."""

import hashlib
import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery.criteria import Which
from reid_toolkit.gallery.fingerprints import content_digest, key_digest
from reid_toolkit.gallery.protocol import Batch, GalleryStore, OnProgress
from reid_toolkit.records import Record

STEP = 1_000
"""Records written at once, so that little is sent again after an interruption."""


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
    """Make ``target`` hold what ``source`` holds, and compare them when that is done.

    What the target was told to forget stays forgotten, unless ``allow``; its block list gets what is on the source's,
    and what the source has forgotten since an earlier copy is deleted at the target.
    What is past the source's retention is as good as deleted there, so it is not copied, and deleted at the target if
    an earlier copy brought it. What is there already is left out, so it can be run again to go on. Keeps about 200
    bytes a record in memory.
    Raises :class:`GalleryError` when the target holds records that the source does not, or descriptors of another
    model, when records of the source are damaged, and when the galleries differ at the end.
    """
    # Both before anything is read, so that no record grows too old between two looks at it.
    kept, now = source.retention, time.time()
    wanted, there = contents(source), contents(target)
    foreign = len(there.keys() - wanted.keys())
    if foreign and target.expire():
        # The source deleted them when they were too old, and so does the target.
        there = contents(target)
        foreign = len(there.keys() - wanted.keys())
    removed = 0
    if foreign and (gone := forgotten_since(source, target, there.keys() - wanted.keys())):
        removed = take_out(target, gone)
        there = contents(target)
        foreign = len(there.keys() - wanted.keys())
    if foreign:
        raise GalleryError(
            f"the target holds {foreign} records that the source does not: expected an empty gallery or a part of a "
            "copy; to bring galleries together, use `reid gallery sync`"
        )
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
    removed += old
    forgotten = forgotten_of(source, target, allow=allow) - there.keys()
    blocked = sum(wanted.pop(key, None) is not None for key in forgotten)
    written, missing = 0, sum(there.get(key) != content for key, content in wanted.items())
    for records, vectors in parts(source):
        rows = [
            row
            for row, record in enumerate(records)
            if (key := key_digest(record)) in wanted and there.get(key) != content_digest(record, vectors[row])
        ]
        if rows:
            target.add(vectors[rows], [records[row] for row in rows])
            if allow:
                target.block_list.allow([records[row] for row in rows])
        written += len(rows)
        if on_progress:
            on_progress(written, missing)
    target.refresh_statistics(if_due=True)  # its own, as its records are
    target.build_index()
    after = contents(target)
    if after != wanted:
        differing = len(set(after.items()) ^ set(wanted.items()))
        raise GalleryError(
            f"after copying, {differing} records differ: one of the galleries changed meanwhile; run this again"
        )
    return Copied(len(after), written, past, removed, blocked, checksum(after))


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


def hidden_of(store: GalleryStore, kept: float | None, now: float) -> dict[str, Record]:
    """What is past a retention of ``kept`` seconds at ``now``, and must not leave the gallery; None for no retention.

    By the digest of its key; of the records, what makes them the same record, and no picture.
    """
    if kept is None:
        return {}
    return {
        key_digest(record): Record(record.tracklet, record.camera, source=record.source)
        for record in store.listed(Which(before=now - kept))
    }


def take_out(target: GalleryStore, records: Sequence[Record]) -> int:
    """Delete these records at the target, for good; how many were there."""
    gone = sum(target.discard(records[at : at + STEP]) for at in range(0, len(records), STEP))
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
