"""The block list: digests of forgotten records and sources, which must not come back. It is kept with the records.

A digest is made of a record's key (tracklet, camera and source), so the list names nobody. It blocks records, not
people: another recording of the same person is another record.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath

from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.records import Record


class BlockList(ABC):
    """The block list of a gallery of any kind. Raises :class:`GalleryError` as the gallery does."""

    @abstractmethod
    def digests(self) -> set[str]:
        """All digests on the list."""

    @abstractmethod
    def held(self, digests: Collection[str]) -> set[str]:
        """Those ``digests`` that are on the list."""

    @abstractmethod
    def change(self, put: Collection[str] = (), take: Collection[str] = ()) -> None:
        """Put the digests ``put`` on the list, and take the digests ``take`` off."""

    def add(self, records: Iterable[Record] = (), sources: Iterable[str] = ()) -> None:
        """Put records on the list, and sources with everything below them, as a folder with its files."""
        records = list(records)
        whole = set(map(source_digest, sources))
        self.add_digests({*map(key_digest, records), *whole})
        if passes := self.held(set(map(pass_digest, records))):
            self.change(take=passes)

    def add_digests(self, digests: Iterable[str]) -> None:
        """Put the digests of another list on this list."""
        if digests := set(digests):
            self.change(put=digests)

    def allow(self, records: Sequence[Record]) -> None:
        """Let exactly these records pass, even if their source or tracklet is on the list."""
        blocked = [record for record, has in zip(records, self.has(records), strict=True) if has]
        if blocked:
            self.change(put=set(map(pass_digest, blocked)), take=set(map(key_digest, blocked)))

    def has(self, records: Sequence[Record]) -> list[bool]:
        """For each record, whether it is blocked: it or its source is on the list, and it was not allowed since."""
        held = self.held({digest for record in records for digest in asked_of(record)})
        return [is_blocked(record, held) for record in records]


def is_blocked(record: Record, held: set[str]) -> bool:
    """Whether a record is blocked. ``held`` are the digests on the list that :func:`asked_of` gives for it.

    It is blocked by its own digest, or by the digest of something that contains it unless it was allowed since.
    """
    return key_digest(record) in held or (pass_digest(record) not in held and not held.isdisjoint(wholes(record)))


def asked_of(record: Record) -> set[str]:
    """All digests that decide whether a record is blocked."""
    return {key_digest(record), pass_digest(record), *wholes(record)}


def wholes(record: Record) -> set[str]:
    """Digests of everything that contains a record: its source, the folders above it, and the record's tracklet in each
    of these folders, because the record may be a crop of that tracklet."""
    above = [] if "://" in record.source else [str(folder) for folder in PurePosixPath(record.source).parents]
    tracklets = {key_digest(Record(record.tracklet, record.camera, source=folder)) for folder in above}
    return tracklets | set(map(source_digest, [record.source, *above]))


def pass_digest(record: Record) -> str:
    """The digest that lets a record pass although something that contains it is on the list."""
    return f"+{key_digest(record)}"


def source_digest(source: str) -> str:
    """SHA-256, as hex, of a source."""
    return hashlib.sha256(b"source\0" + source.encode()).hexdigest()
