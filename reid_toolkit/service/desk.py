"""The gallery that a service answers from: opened once, with what is costly to read kept in memory while it is true."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, NamedTuple

from reid_toolkit.calibration import beside
from reid_toolkit.errors import ReidError
from reid_toolkit.gallery import GalleryStore, open_gallery
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.hidden import hidden_of
from reid_toolkit.gallery.people_table import People
from reid_toolkit.gallery.types import Filter, Info, Selection, Stored, is_past
from reid_toolkit.people.book import Book, Target
from reid_toolkit.people.counting import Count, count_people
from reid_toolkit.people.naming import name_of
from reid_toolkit.people.visits import Route, routes_of, seen_of
from reid_toolkit.records import Record
from reid_toolkit.runtime import Embedder
from reid_toolkit.search import Search
from reid_toolkit.service.errors import Refusal, refusal_of
from reid_toolkit.service.settings import Settings

LATE, SELDOM = 5.0, 20.0
"""New records are counted, and appear among those without a person, after so many seconds, or in a large gallery after
so many times the seconds that reading all records takes. Searches find them at once."""
SOURCE_ID = 16
"""Digits of a source's id."""


class Named(NamedTuple):
    """Who some records show now, read for one answer."""

    persons: dict[str, str]
    """What the person of a record is called, by the record's digest."""
    stored_pictures: frozenset[str]
    """As in :class:`View`."""

    def person_of(self, digest: str) -> str | None:
        """What the person of a record is called. None if it has no person."""
        return self.persons.get(digest)


class View(Book):
    """The people of a gallery, with records that were read before."""

    def __init__(
        self, store: GalleryStore, where: str, people: People, records: dict[str, Record], pictured: frozenset[str]
    ) -> None:
        self.store, self.where, self.people, self.records = store, where, people, records
        self._counts: dict[tuple[str, ...], list[Count]] = {}
        self.stored_pictures = pictured
        """The digests of those records of which the gallery stores a picture."""

    def person_of(self, digest: str) -> str | None:
        """What the person of a record is called. None if it has no person."""
        member = self.people.members.get(digest)
        return None if member is None else self.name(member.person)

    @cached_property
    def waiting(self) -> int:
        """How many records have no person yet."""
        return len(self.records) - sum(map(self.people.members.__contains__, self.records))

    def target(self, text: str) -> Target:
        """What ``text`` names: the id of a record, or what a user may name at the command line."""
        if text in self.records:
            member = self.people.members.get(text)
            return Target(None if member is None else member.person, text, self.called[text])
        return super().target(text)

    @cached_property
    def camera_times(self) -> dict[str, tuple[float | None, float | None]]:
        """The first and the last time of each camera, None if unknown."""
        found: defaultdict[str, list[Record]] = defaultdict(list)
        for one in self.records.values():
            found[one.camera].append(one)
        return {camera: seen_of(records) for camera, records in found.items()}

    @cached_property
    def routes(self) -> list[Route]:
        """The routes between cameras. They take a second for a hundred thousand records."""
        return routes_of({person: self.records_of(person) for person in self.by_person})

    def counts(self, parts: Sequence[str]) -> list[Count]:
        """The counts by these parts. They take two seconds for a hundred thousand records, once."""
        key = tuple(parts)
        if key not in self._counts:
            self._counts[key] = count_people(self.grouped, key)
        return self._counts[key]


def read_records(store: GalleryStore, kept: float | None) -> tuple[dict[str, Record], frozenset[str]]:
    """All records that are not past the retention ``kept``, without their pictures, and which of them have one."""
    records, pictured = {}, set()
    hidden = hidden_of(store, kept, time.time())
    for record in store.listed(Selection(before=float("inf"))):
        digest = key_digest(record)
        if digest not in hidden:
            if record.thumbnail:
                pictured.add(digest)
                record = replace(record, thumbnail=b"")
            records[digest] = record
    return records, frozenset(pictured)


def deletions(people: People) -> object:
    """A value that changes when records were deleted. It may change at other times, too."""
    state = people.state
    return state[1:] if isinstance(state, tuple) else state


class Desk:
    """The gallery of a service. Threads may share it."""

    def __init__(self, settings: Settings) -> None:
        """Open the gallery. Raises :class:`GalleryError` if it does not exist or cannot be read."""
        self.settings = settings
        self.store = open_gallery(settings.gallery, create=False)
        self.label = label_of(settings.gallery) or "gallery"
        """What answers call the gallery, because its path is a secret of the server."""
        self.writing = Lock()
        """Held while people are changed, so that the service does not get in its own way. A grouping holds it for up to
        an hour, so nothing that shares its threads with searches may wait for it."""
        self.storing = Lock()
        """Held while a record is looked for and then stored, so that it is not stored twice."""
        self._reading, self._loading, self._informing = Lock(), Lock(), Lock()
        self._embedder: Embedder | None = None
        self._book: View | None = None
        self._state: object = None
        """What changes when records come or go, as of when the book was read."""
        self._hidden = 0
        """How many records were past the retention when that was last asked."""
        self._next_read = 0.0
        self._next_expiry = 0.0
        """When it is looked again for records that are past the retention."""
        self._info: Info | None = None
        self._info_at = 0.0
        self.model_file = settings.model or self.store.model_file

    def close(self) -> None:
        """Close the gallery."""
        self.store.close()

    def warm_up(self) -> None:
        """Read what the first requests need: people, descriptors and the model. Raises :class:`ReidError` if the model
        cannot be used, after all else was read."""
        book = self.book()
        _ = book.by_person, book.camera_times, book.waiting
        self.store.held(["0" * 64])
        self.store.count_passing(Filter())
        self.info()
        if len(self.store):
            _ = self.embedder

    @property
    def embedder(self) -> Embedder:
        """The gallery's model, loaded once."""
        with self._loading:
            if self._embedder is None:
                self._embedder = Search(self.store, self.label, self.settings.model, trial=True).embedder
            return self._embedder

    def search(self) -> Search:
        """A search as of now."""
        statistics = self.settings.camera_statistics
        return Search(self.store, self.label, self.settings.model, statistics, loaded=self.embedder)

    def known(self, records: Sequence[Record]) -> Named | View:
        """Who these records show now.

        Reads nothing else if it can: while a camera is watched, people change with each record."""
        found = self.store.people.persons([key_digest(record) for record in records])
        if found is None:
            return self.book(new_records=False)
        persons = {digest: name_of(number, {number: name} if name else {}) for digest, (number, name) in found.items()}
        return Named(persons, self._book.stored_pictures if self._book else frozenset())

    def book(self, *, new_records: bool = True, at_once: bool = False) -> View:
        """The people of the gallery now.

        Corrections and deletions by anybody show at once: a deleted record has no person any more.

        new_records: also read records that were added since, if that was not done a moment ago. at_once: even then.
        """
        with self._reading:
            held, store, kept = self._book, self.store, self.store.retention
            changed = held is None or store.people.changed(held.people)
            people = store.people.read() if held is None or changed else held.people
            since = None if kept is None else time.time() - kept
            late = time.monotonic() >= self._next_read
            due = since is not None and time.monotonic() >= self._next_expiry
            if due:
                self._next_expiry = time.monotonic() + LATE
                self._hidden = store.count_of(Selection(before=since))
            state = len(store), deletions(people), self._hidden
            if held is None or (state != self._state and (at_once or (late and new_records))):
                records, pictured = self._read_records(kept)
                self._state = state
            elif changed or due:
                records, pictured = held.records, held.stored_pictures
                if since is not None:
                    records = {digest: one for digest, one in records.items() if not is_past(one, since)}
                    if not changed and len(records) == len(held.records):
                        return held
            else:
                return held
            self._book = View(store, self.label, people, records, pictured)
            return self._book

    def _read_records(self, kept: float | None) -> tuple[dict[str, Record], frozenset[str]]:
        began = time.monotonic()
        found = read_records(self.store, kept)
        # The records of a large gallery take seconds, so they are read more seldom.
        self._next_read = time.monotonic() + max(LATE, SELDOM * (time.monotonic() - began))
        return found

    def grouped(self, *, new_records: bool = True) -> View:
        """:meth:`book`. Raises :class:`Refusal` 409 if nobody was grouped yet."""
        book = self.book(new_records=new_records)
        if not book.people.members:
            raise Refusal(409, "nobody was grouped yet: an admin can group the records", "not_grouped")
        return book

    def info(self) -> Info:
        """What the gallery holds. A few seconds old at most, because it is read from all records."""
        with self._informing:
            if self._info is None or time.monotonic() - self._info_at > LATE:
                self._info, self._info_at = self.store.info(), time.monotonic()
            return self._info

    @property
    def calibrated(self) -> bool:
        """Whether there is a calibration beside the gallery's model."""
        return self.model_file is not None and beside(self.model_file).is_file()

    def refusal(self, error: ReidError, *, input_status: int = 400) -> Refusal:
        """The answer for an error of the library, without paths of the server."""
        places = (self.settings.gallery, self.settings.model, self.settings.tokens, self.settings.events)
        hidden = [str(place) for place in (*places, self.model_file) if place]
        return refusal_of(error, hidden, input_status=input_status)

    def note(self, event: Mapping[str, Any]) -> None:
        """Write an event into the audit log, if there is one and it is on."""
        self.store.people.note(event)

    def held(self, digest: str) -> Stored:
        """A record by its id. Raises :class:`Refusal` 404 if there is none."""
        found = self.store.held([digest]) if len(digest) == 64 and digest.isalnum() else {}
        if digest not in found:
            raise Refusal(404, "no such record: it may have been deleted")
        return found[digest]

    def card(self, record: Record, book: Named | View) -> dict[str, Any]:
        """What every answer says of a record besides its own fields: id, person, and picture."""
        digest = key_digest(record)
        stored = bool(record.thumbnail) or digest in book.stored_pictures
        return {
            "id": digest,
            "person": book.person_of(digest),
            "picture": f"/api/v1/records/{digest}/picture" if stored or has_file(record) else None,
        }

    def sources(self) -> dict[str, str]:
        """The sources by their ids."""
        return {source_id(source): source for source in self.info().sources}

    def chosen_sources(self, ids: Sequence[str]) -> list[str]:
        """The sources with these ids. Raises :class:`Refusal` 400 for an unknown id."""
        known = self.sources() if ids else {}
        for one in ids:
            if one not in known:
                raise Refusal(400, f"no source has the id {one[:40]!r}: expected an id from GET /api/v1/gallery")
        return [known[one] for one in ids]


def has_file(record: Record) -> bool:
    """Whether the file of a crop that shows a record is still there."""
    return bool(record.image) and Path(record.image).is_file()


def label_of(place: str) -> str:
    """The last part of a path or address, by which answers call it."""
    return PurePosixPath(place.replace("\\", "/").partition("?")[0].rstrip("/")).name


def source_id(source: str) -> str:
    """The id by which clients name a source."""
    return key_digest(Record("", "", source=source))[:SOURCE_ID]
