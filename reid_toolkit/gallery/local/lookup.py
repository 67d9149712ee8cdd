"""Finds records of a gallery in a folder by the digests of their keys, and counts the records that pass a filter."""

import time
from collections.abc import Collection
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.local.record_table import Key, RecordTable, key_of
from reid_toolkit.gallery.local.search import Searcher
from reid_toolkit.gallery.types import Filter, Stored, is_past
from reid_toolkit.records import Record

SPARE = 1_000
"""So many keys may be kept beyond twice the records, before they are read again."""


class Lookup:
    """Which key has which digest. The database does not store it, because nothing but services asks for it."""

    def __init__(self) -> None:
        self._keys: dict[bytes, Key] = {}
        self._epoch = self._last = 0

    def held(self, store: RecordTable, digests: Collection[str]) -> dict[str, Stored]:
        """The undamaged records with these digests that are not past the retention, within ``store.reading()``."""
        (epoch, last, *_), kept, _ = store.state()
        erased = epoch != self._epoch or last < self._last
        if erased or len(self._keys) > 2 * store.count() + SPARE:  # keep nothing of what is deleted
            self._keys, self._epoch, self._last = {}, epoch, 0
        wanted = {digest: raw for digest in digests if (raw := _bytes_of(digest)) is not None}
        if last > self._last and any(raw not in self._keys for raw in wanted.values()):
            self._read(store)
            self._last = last
        keys = {digest: self._keys[raw] for digest, raw in wanted.items() if raw in self._keys}
        ids = store.ids_of(keys.values())
        records = store.records(list(ids.values()))
        if kept is not None:
            past = store.past(time.time() - kept)
            records = {
                number: record
                for number, record in records.items()
                if number >= past.first_id and not is_past(record, past.before)
            }
        return {
            digest: Stored(records[ids[key]], _vector(store, ids[key]))
            for digest, key in keys.items()
            if key in ids and ids[key] in records
        }

    def _read(self, store: RecordTable) -> None:
        rows = (
            store.connection.execute("SELECT source, tracklet, camera FROM record WHERE id > ?", (self._last,))
            if self._last
            else store.keys().values()
        )
        for source, tracklet, camera in rows:
            digest = key_digest(Record(tracklet, camera, source=source))
            self._keys[bytes.fromhex(digest)] = (source, tracklet, camera)


def _vector(store: RecordTable, number: int) -> NDArray[np.float32]:
    (content,) = store.connection.execute("SELECT vector FROM record WHERE id = ?", (number,)).fetchone()
    return np.frombuffer(content, np.float16).astype(np.float32)


def _bytes_of(digest: str) -> bytes | None:
    try:
        return bytes.fromhex(digest)
    except ValueError:
        return None


def count_passing(store: RecordTable, lock: Lock, searcher: Searcher, where: Filter) -> dict[str, int]:
    """How many records of each camera pass a filter and the retention."""
    with lock, store.reading():
        version, retention, _ = store.state()
        searcher.sync(store, version)
        without = store.ids_of(map(key_of, where.exclude)).values()
        past = None if retention is None else store.past(time.time() - retention)
    return searcher.count(where, without, past)
