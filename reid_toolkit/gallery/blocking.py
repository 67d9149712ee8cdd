"""Who was forgotten, and must not come back: digests of records and of whole sources, kept beside the records.

A digest is of what makes a record the same record (tracklet, camera and source), so the list names nobody. It knows
records, and not people: another recording of somebody is another record.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from reid_toolkit.gallery.fingerprints import key_digest
from reid_toolkit.gallery.searcher import Locks
from reid_toolkit.gallery.store import Store
from reid_toolkit.records import Record


class BlockList:
    """The list of one gallery in a folder. Raises :class:`GalleryError` as the gallery does."""

    def __init__(self, reader: Store, writer: Store, locks: Locks) -> None:
        self._reader, self._writer, self._locks = reader, writer, locks

    def digests(self) -> set[str]:
        """All that is on it."""
        with self._locks.reader, self._reader.reading():
            return self._reader.blocked()

    def add(self, records: Iterable[Record] = (), sources: Iterable[str] = ()) -> None:
        """Put records on it, and sources with everything below them, as a folder stands for its files."""
        self.add_digests({*map(key_digest, records), *map(source_digest, sources)})

    def add_digests(self, digests: Iterable[str]) -> None:
        """Put on it what is on another list."""
        digests = set(digests)
        if digests:
            with self._locks.writer, self._writer.writing():
                self._writer.block(digests)

    def allow(self, records: Sequence[Record]) -> int:
        """Take off it what blocks these records; how many of them were blocked."""
        count = sum(self.has(records))
        if count:
            with self._locks.writer, self._writer.writing():
                self._writer.allow({digest for record in records for digest in digests_of(record)})
        return count

    def has(self, records: Sequence[Record]) -> list[bool]:
        """For each record, whether it or its source is on the list."""
        held = self.digests()
        return [bool(held) and not held.isdisjoint(digests_of(record)) for record in records]


def digests_of(record: Record) -> set[str]:
    """What a record may be blocked by: itself, its source, and what that lies in."""
    source = PurePosixPath(record.source)
    above = [] if "://" in record.source else [str(folder) for folder in source.parents]
    return {key_digest(record), *map(source_digest, [record.source, *above])}


def source_digest(source: str) -> str:
    """SHA-256, as hex, of a source."""
    return hashlib.sha256(b"source\0" + source.encode()).hexdigest()
