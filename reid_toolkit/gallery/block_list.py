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
        """Put records on the list, and sources with everything below them, as a folder with its files.

        What was allowed to pass them before is blocked again, also if it is no longer stored.
        """
        if put := {*map(key_digest, records), *map(source_digest, sources)}:
            self.change(put, take={one for one in self.digests() if passed_by(one) in put})

    def add_digests(self, digests: Iterable[str]) -> None:
        """Put the digests of another list on this list."""
        if digests := set(digests):
            self.change(put=digests)

    def allow(self, records: Sequence[Record]) -> None:
        """Let exactly these records pass, even if their source or tracklet is on the list."""
        held = self.held({digest for record in records for digest in asked_of(record)})
        put = {pass_digest(whole, record) for record in records for whole in wholes(record) & held} - held
        take = held.intersection(map(key_digest, records))
        if put or take:
            self.change(put, take)

    def has(self, records: Sequence[Record]) -> list[bool]:
        """For each record, whether it is blocked: it or its source is on the list, and it was not allowed since."""
        held = self.held({digest for record in records for digest in asked_of(record)})
        return [is_blocked(record, held) for record in records]


def is_blocked(record: Record, held: set[str]) -> bool:
    """Whether a record is blocked. ``held`` are the digests on the list that :func:`asked_of` gives for it.

    It is blocked by its own digest, or by the digest of something that contains it unless it was allowed since.
    """
    return key_digest(record) in held or any(pass_digest(one, record) not in held for one in wholes(record) & held)


def asked_of(record: Record) -> set[str]:
    """All digests that decide whether a record is blocked."""
    above = wholes(record)
    return {key_digest(record), *above, *(pass_digest(one, record) for one in above)}


def wholes(record: Record) -> set[str]:
    """Digests of everything that contains a record: its source, the folders above it, and the record's tracklet in each
    of these folders, because the record may be a crop of that tracklet."""
    above = [] if "://" in record.source else [str(folder) for folder in PurePosixPath(record.source).parents]
    tracklets = {key_digest(Record(record.tracklet, record.camera, source=folder)) for folder in above}
    return tracklets | set(map(source_digest, [record.source, *above]))


def pass_digest(whole: str, record: Record) -> str:
    """The digest that lets a record pass although ``whole``, the digest of something that contains it, is on the
    list."""
    return f"+{whole}+{key_digest(record)}"


def passed_by(digest: str) -> str | None:
    """The digest that a :func:`pass_digest` lets pass. None if it is another digest."""
    return digest.split("+")[1] if digest.startswith("+") else None


def source_digest(source: str) -> str:
    """SHA-256, as hex, of a source."""
    return hashlib.sha256(b"source\0" + source.encode()).hexdigest()
