"""Who was forgotten, and must not come back: digests of records and of whole sources, kept beside the records.

A digest is of what makes a record the same record (tracklet, camera and source), so the list names nobody. It knows
records, and not people: another recording of somebody is another record.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath

from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.records import Record


class BlockList(ABC):
    """The list of one gallery, wherever that is kept. Raises :class:`GalleryError` as the gallery does."""

    @abstractmethod
    def digests(self) -> set[str]:
        """All that is on it."""

    @abstractmethod
    def held(self, digests: Collection[str]) -> set[str]:
        """Those of ``digests`` that are on it."""

    @abstractmethod
    def change(self, put: Collection[str] = (), take: Collection[str] = ()) -> None:
        """Put digests on it, and take others off."""

    def add(self, records: Iterable[Record] = (), sources: Iterable[str] = ()) -> None:
        """Put records on it, and sources with everything below them, as a folder stands for its files."""
        records = list(records)
        whole = set(map(source_digest, sources))
        self.add_digests({*map(key_digest, records), *whole})
        if passes := self.held(set(map(pass_digest, records))):
            self.change(take=passes)

    def add_digests(self, digests: Iterable[str]) -> None:
        """Put on it what is on another list."""
        if digests := set(digests):
            self.change(put=digests)

    def allow(self, records: Sequence[Record]) -> None:
        """Let these records pass, and no others of a source or a tracklet that is on the list."""
        blocked = [record for record, has in zip(records, self.has(records), strict=True) if has]
        if blocked:
            self.change(put=set(map(pass_digest, blocked)), take=set(map(key_digest, blocked)))

    def has(self, records: Sequence[Record]) -> list[bool]:
        """For each record, whether it or its source is on the list, and it was not allowed since."""
        held = self.held({digest for record in records for digest in asked_of(record)})
        return [is_blocked(record, held) for record in records]


def is_blocked(record: Record, held: set[str]) -> bool:
    """By itself, or by what it is a part of where it was not allowed since."""
    return key_digest(record) in held or (pass_digest(record) not in held and not held.isdisjoint(wholes(record)))


def asked_of(record: Record) -> set[str]:
    """All digests that :func:`is_blocked` looks for."""
    return {key_digest(record), pass_digest(record), *wholes(record)}


def wholes(record: Record) -> set[str]:
    """Digests of what a record is a part of: its source, the folders that this lies in, and its tracklet in each of
    these, since the record may be a crop of it."""
    above = [] if "://" in record.source else [str(folder) for folder in PurePosixPath(record.source).parents]
    tracklets = {key_digest(Record(record.tracklet, record.camera, source=folder)) for folder in above}
    return tracklets | set(map(source_digest, [record.source, *above]))


def pass_digest(record: Record) -> str:
    """What lets a record pass though something that it is a part of is on the list."""
    return f"+{key_digest(record)}"


def source_digest(source: str) -> str:
    """SHA-256, as hex, of a source."""
    return hashlib.sha256(b"source\0" + source.encode()).hexdigest()
