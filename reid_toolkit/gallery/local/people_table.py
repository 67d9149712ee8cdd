"""The people of a gallery in a folder."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.local import part_reading, people_rows
from reid_toolkit.gallery.local.query import log
from reid_toolkit.gallery.local.record_table import RecordTable, key_of
from reid_toolkit.gallery.local.search import Locks
from reid_toolkit.gallery.people_table import (
    Correction,
    Descriptors,
    Membership,
    Parts,
    People,
    PeopleTable,
    Undone,
    deleted_meanwhile,
)
from reid_toolkit.gallery.types import Batch
from reid_toolkit.records import Record


class FolderPeopleTable(PeopleTable):
    """The people of a gallery in a folder."""

    def __init__(self, reader: RecordTable, writer: RecordTable, locks: Locks) -> None:
        self._reader, self._writer, self._locks = reader, writer, locks

    def read(self) -> People:
        """Read everything, as of one moment."""
        with self._locks.reader, self._reader.reading():
            return replace(
                people_rows.read(self._reader.connection),
                last_person=self._reader.number("last_person"),
                last_correction=self._reader.number("last_correction"),
                least_times={
                    (one, other): seconds
                    for one, other, seconds in json.loads(self._reader.meta("least_times") or "[]")
                },
                false_match_rate=json.loads(self._reader.meta("false_match_rate") or "null"),
                state=self._state(self._reader),
            )

    def changed(self, was: People) -> bool:
        """Whether people were changed, or records deleted, since then."""
        with self._locks.reader, self._reader.reading():
            return self._state(self._reader) != was.state

    def persons(self, digests: Collection[str]) -> dict[str, tuple[int, str | None]]:
        """The persons of a few records now."""
        with self._locks.reader, self._reader.reading():
            return people_rows.persons(self._reader.connection, sorted(digests))

    @property
    def parts(self) -> Parts:
        """This table reads parts too."""
        return self

    def digests(self, since: float | None) -> Iterator[tuple[int, str]]:
        """Number and digest of each record that is not past ``since``."""
        with closing(self._reader.again()) as table, table.reading():
            yield from part_reading.digests(table, since)

    def descriptors(self) -> Iterator[Descriptors]:
        """All descriptors, a part at a time, as of when the reading began."""
        log(self._writer, self._locks, [{"action": "read all"}])
        with closing(self._reader.again()) as table, table.reading():
            yield from part_reading.descriptors(table)

    def chosen(self, numbers: Sequence[int]) -> Iterator[tuple[list[int], Batch]]:
        """The undamaged records of these numbers."""
        with closing(self._reader.again()) as table, table.reading():
            yield from part_reading.chosen(table, numbers)

    def note(self, event: Mapping[str, Any]) -> bool:
        """Write an event into the audit log. False if it is off."""
        return log(self._writer, self._locks, [dict(event)])

    def reserve(self, count: int) -> int:
        """Set numbers of people aside. Returns the first of them."""
        writer = self._writer
        with self._locks.writer, writer.writing():
            last = writer.number("last_person")
            writer.set_meta("last_person", str(last + count))
        return last + 1

    def propose(
        self, was: People, people: Sequence[tuple[Record, int]], new: Collection[int]
    ) -> tuple[list[bool], People]:
        """Store whom records were taken for before they were grouped."""
        writer = self._writer
        keys = [key_of(record) for record, _ in people]
        with self._locks.writer, writer.writing():
            there = writer.ids_of(keys)
            found = {key_digest(record): who for key, (record, who) in zip(keys, people, strict=True) if key in there}
            before = self._state(writer)
            people_rows.propose(writer.connection, {one: Membership.proposed(who) for one, who in found.items()}, new)
            writer.set_meta("people_proposed", str(before[2] + 1))
            state = self._state(writer)
        return [key in there for key in keys], replace(was, state=state) if was.state == before else was

    def write(
        self,
        was: People,
        *,
        members: Mapping[str, Membership] | None = None,
        names: Mapping[int, str | None] | None = None,
        put: Collection[Correction] = (),
        take: Collection[int] = (),
        undone: Collection[Undone] = (),
        waiting: Mapping[str, str | None] | None = None,
        least_times: Mapping[tuple[str, str], float] | None = None,
        false_match_rate: float | None = None,
        event: Mapping[str, Any] | None = None,
        whole: bool = False,
    ) -> None:
        """Change what is stored, in one transaction."""
        members, writer = dict(members or {}), self._writer
        with self._locks.writer, writer.writing():
            changes, removed, _ = was.state
            if self._state(writer)[0] != changes:
                raise GalleryError(
                    f"{writer.folder}: another process has changed its people meanwhile, so nothing was changed now: "
                    "run this again"
                )
            # What is put in may come from another gallery, which has other records.
            if put or undone or waiting or self._state(writer)[1] != removed:
                keys = writer.keys().values()
                there = {key_digest(Record(tracklet, camera, source=source)) for source, tracklet, camera in keys}
                members = {digest: one for digest, one in members.items() if digest in there}
                if whole and any({one.first, one.second} - there for one in put):
                    raise deleted_meanwhile(str(writer.folder))
                put = [one for one in put if {one.first, one.second} <= there]
                undone = [one for one in undone if {one.correction.first, one.correction.second} <= there]
                waiting = {digest: name for digest, name in (waiting or {}).items() if digest in there}
            people_rows.write(writer.connection, members, names or {}, put, take, undone, waiting)
            given = [person for person, name in (names or {}).items() if name]
            if whole and not people_rows.have_names(writer.connection, given):
                raise deleted_meanwhile(str(writer.folder))
            if least_times is not None:
                writer.set_meta("least_times", json.dumps([[*pair, one] for pair, one in sorted(least_times.items())]))
            if false_match_rate is not None:
                writer.set_meta("false_match_rate", json.dumps(false_match_rate))
            highest = [one.person for one in members.values()], [one.number for one in put]
            for key, numbers, last in zip(
                ("last_person", "last_correction"), highest, (was.last_person, was.last_correction), strict=True
            ):
                # The stored number may be higher than ``was`` says, because numbers were set aside meanwhile.
                writer.set_meta(key, str(max([last, writer.number(key), *numbers])))
            writer.set_meta("people_changes", str(changes + 1))
            if event:
                writer.log(dict(event))
        with self._locks.writer:
            writer.empty_log()  # it may hold names and links that were taken away

    @staticmethod
    def _state(table: RecordTable) -> tuple[int, int, int]:
        return table.number("people_changes"), table.number("removed"), table.number("people_proposed")
