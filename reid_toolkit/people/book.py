"""What a gallery knows about its people, and what users may change about it. Commands and services use this."""

import re
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from reid_toolkit.errors import InputError, did_you_mean
from reid_toolkit.files import as_name
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.hidden import hidden_of
from reid_toolkit.gallery.people_table import NOBODY, Correction, Kind, Membership, People
from reid_toolkit.gallery.types import OnProgress, Selection
from reid_toolkit.people.constraints import CropsOf, tracklet_of_crop
from reid_toolkit.people.corrections import Links, describe, new_correction
from reid_toolkit.people.naming import NUMBERED, check_name, find_person, name_of, unknown_person
from reid_toolkit.records import Record
from reid_toolkit.times import format_span

RANGE = re.compile(r"c-(\d{1,18})\.\.c-(\d{1,18})")
"""Several corrections, such as those of a split."""


@dataclass(frozen=True)
class Target:
    """What a user named: a person, or a record."""

    person: int | None
    """None for a record that was never grouped."""
    digest: str
    """The record, or the record that stands for the person."""
    text: str
    whole: bool = False
    """Whether the user named the person, and not a record."""


class Book:
    """The people of a gallery, as of when they were read. Error messages call the gallery ``where``."""

    def __init__(self, store: GalleryStore, where: str, now: float) -> None:
        """Read the people and the records, without descriptors. ``now`` is the Unix time that retention counts from."""
        self.store, self.where = store, where
        self.people: People = store.people.read()
        hidden = hidden_of(store, store.retention, now)
        everything = store.listed(Selection(before=float("inf")))
        # Without pictures, which could be larger than all else together.
        found = {key_digest(record): replace(record, thumbnail=b"") for record in everything}
        self.records: dict[str, Record] = {digest: one for digest, one in found.items() if digest not in hidden}

    @cached_property
    def by_person(self) -> dict[int, list[str]]:
        """The digests of each person's records, by number."""
        found: defaultdict[int, list[str]] = defaultdict(list)
        for digest in self.records:
            if digest in self.people.members:
                found[self.people.members[digest].person].append(digest)
        return dict(sorted(found.items()))

    @cached_property
    def called(self) -> dict[str, str]:
        """How messages name each record."""
        return {digest: f"{record.tracklet}@{record.camera}" for digest, record in self.records.items()}

    @property
    def grouped(self) -> list[tuple[Record, Membership]]:
        """The records that have a person."""
        members = self.people.members
        return [(record, members[digest]) for digest, record in self.records.items() if digest in members]

    @property
    def waiting(self) -> int:
        """How many records have no person yet."""
        return len(self.records) - len(self.grouped)

    def name(self, person: int) -> str:
        """What a person is called."""
        return name_of(person, self.people.names)

    def records_of(self, person: int) -> list[Record]:
        """The records of a person, without pictures. Empty if nobody has that number."""
        return [self.records[digest] for digest in self.by_person.get(person, ())]

    def keys_of(self, person: int) -> list[Record]:
        """All records of a person with nothing but source, tracklet and camera: damaged records and records past the
        retention are among them."""
        keys, members = self.store.keys(Selection(before=float("inf"))), self.people.members
        return [key for key in keys if members.get(key_digest(key), NOBODY).person == person]

    def pictured(self, person: int) -> list[Record]:
        """The records of a person, with the pictures that the gallery stores."""
        return [one.record for one in self.store.held(self.by_person.get(person, ())).values()]

    def person(self, text: str) -> int:
        """The number of the person that ``text`` names. Raises :class:`InputError` if nobody is called so."""
        number = self.anybody(text)
        if number not in self.by_person:
            raise self.not_shown(number)
        return number

    def anybody(self, text: str) -> int:
        """As :meth:`person`, also if all records of that person are damaged or past the retention."""
        self.refuse_ungrouped()
        number = find_person(text, self.people)
        if number is None:
            raise unknown_person(text, self.people, self.where)
        return number

    def not_shown(self, person: int) -> InputError:
        """The error for a person of whom no record is shown."""
        return InputError(
            f"{self.where}: all records of {self.name(person)} are damaged or past the retention: expected records "
            f"that are shown; `reid people forget {self.where} {name_of(person, {})}` deletes them now"
        )

    def refuse_ungrouped(self) -> None:
        """Raise :class:`InputError` if no record has a person."""
        if not self.people.members:
            raise InputError(f"{self.where}: nobody was grouped yet: run `reid people {self.where}` first")

    def target(self, text: str) -> Target:
        """The person or the record that ``text`` names: a name, a tracklet, TRACKLET@CAMERA or TRACKLET@CAMERA@SOURCE.

        Crops of one tracklet that were enrolled singly stay together, so the first of them stands for all. Raises
        :class:`InputError` if nothing is called so, or more than one record.
        """
        number = find_person(text, self.people)
        if number is not None and number in self.by_person:
            return Target(number, self.stands_for(number), self.name(number), whole=True)
        wanted = as_name(text)
        found = [
            key for key, one in self.records.items() if wanted.startswith(one.tracklet) and wanted in names_of(one)
        ]
        if not found and number is not None:
            raise self.not_shown(number)
        if not found and NUMBERED.fullmatch(wanted):
            raise unknown_person(text, self.people, self.where)
        if not found:
            near = did_you_mean(text, [*self.people.names.values(), *(one.tracklet for one in self.records.values())])
            raise InputError(
                f"{self.where}: no person and no tracklet is called {text!r}{near}: `reid people list {self.where}` "
                "shows everybody"
            )
        if len(found) > 1 and set(found) != set(self.crops_beside(found[0])):
            first = self.records[found[0]]
            alike = len({self.called[key] for key in found}) < len(found)
            form, example = ("TRACKLET@CAMERA@SOURCE" if alike else "TRACKLET@CAMERA"), names_of(first)[1 + alike]
            raise InputError(
                f"{self.where}: {len(found)} records are called {text!r}: expected one; give {form}, such as "
                f"{example!r}"
            )
        member = self.people.members.get(found[0])
        return Target(None if member is None else member.person, found[0], self.called[found[0]])

    def crops_beside(self, digest: str) -> list[str]:
        """The crops of one tracklet that were enrolled singly, if this record is one of them. Otherwise only itself."""
        tracklet = tracklet_of_crop(self.records[digest])
        return [digest] if tracklet is None else self.crops[tracklet]

    @cached_property
    def crops(self) -> dict[CropsOf, list[str]]:
        """The records that are single crops, by their tracklet."""
        found: defaultdict[CropsOf, list[str]] = defaultdict(list)
        for digest, record in self.records.items():
            tracklet = tracklet_of_crop(record)
            if tracklet is not None:
                found[tracklet].append(digest)
        return found

    def stands_for(self, person: int, without: Collection[str] = ()) -> str:
        """The record that corrections about a person name: its earliest, if possible none of ``without``."""
        return min(self.by_person[person], key=lambda key: (key in without, self.records[key].start or 0.0, key))

    def pair(self, one: str, other: str) -> tuple[Target, Target]:
        """The two things that a user compares. Of a person and one of its own records, the person comes first, and
        another record stands for the person."""
        first, second = self.target(one), self.target(other)
        person = first.person
        if person is None or person != second.person or first.whole == second.whole:
            return first, second
        if second.whole:
            first, second = second, first
        return replace(first, digest=self.stands_for(person, self.crops_beside(second.digest))), second

    def say(self, kind: Kind, one: str, other: str, who: str) -> Correction:
        """Store that two people or records are the same person, or different people.

        Said to be the same, two people become one at once: with the name that a user gave, or else with the number of
        the person with more records. Said to be different, two records of one person are only marked: the next
        ``update`` separates them, and the person stays with the first. If a user says that a person and one of its
        records are different, the record leaves. What agrees with the groups is stored too, so that later groupings
        obey it.

        Raises :class:`InputError` if something is unknown, or if earlier corrections say or contradict it. Raises
        :class:`GalleryError` if another process has changed the people or deleted one of the records meanwhile.
        """
        first, second = self.pair(one, other)
        if first.digest == second.digest:
            what = "person" if first.whole and second.whole else "record"
            raise InputError(f"{one} and {other} are the same {what}: name two people or two tracklets")
        people = self.people
        known = Links.of(people.corrections).saying(kind, first.digest, second.digest)
        if known:
            said = "; ".join(describe(link, self.called) for link in known)
            raise InputError(f"{first.text} and {second.text}: nothing to store, because it is known: {said}")
        if kind == "different" and second.digest in self.crops_beside(first.digest):
            raise InputError(
                f"{first.text} and {second.text} cannot be different people: they are crops of one tracklet: expected "
                "records of two tracklets"
            )
        joined: tuple[int, int] | None = None
        if kind == "same" and first.person is not None and second.person is not None and first.person != second.person:
            joined = first.person, second.person
        if joined and self._kept(*joined) == second.person:
            first, second = second, first  # the person stays with the first if this is undone
        made = new_correction(
            kind, first.digest, second.digest, people.corrections, people.last_correction, who, self.called
        )
        members: dict[str, Membership] = {}
        names: dict[int, str | None] = {}
        if joined:
            members, names = self._joined(*joined)
        event = {"action": kind, "first": first.text, "second": second.text, "correction": made.name}
        self.store.people.write(people, members=members, names=names, put=[made], event=event, whole=True)
        return made

    def _kept(self, one: int, other: int) -> int:
        """Of two people who become one, the one who stays: with a name, else with more records."""
        names = self.people.names
        return min((one, other), key=lambda person: (person not in names, -len(self.by_person[person]), person))

    def _joined(self, one: int, other: int) -> tuple[dict[str, Membership], dict[int, str | None]]:
        names = self.people.names
        kept = self._kept(one, other)
        gone = other if kept == one else one
        if gone in names and kept in names:
            raise InputError(
                f"{names[kept]} and {names[gone]} both have a name: take one away first, with `reid people name "
                f"{self.where} PERSON --none`"
            )
        held = self.people.members
        model = held[self.stands_for(kept)]
        return {digest: Membership(kept, model.strict, model.loose) for digest in self.by_person[gone]}, {
            gone: None
        } if gone in names else {}

    def split(self, text: str, tracklets: Sequence[str], who: str) -> tuple[list[Correction], int]:
        """Make a new person of some records of a person. Returns the corrections and the new person's number."""
        person = self.person(text)
        chosen = [self.target(tracklet) for tracklet in tracklets]
        for one in chosen:
            if one.person != person or find_person(one.text, self.people) is not None:
                raise InputError(f"{one.text}: is not a record of {self.name(person)}: expected its tracklets")
        digests = list(dict.fromkeys(key for one in chosen for key in self.crops_beside(one.digest)))
        rest = [digest for digest in self.by_person[person] if digest not in set(digests)]
        if not rest:
            raise InputError(f"{self.name(person)}: these are all its records: expected some of them")
        self._refuse_split(digests, rest)
        pairs = self._split_pairs(digests, rest)
        last, now = self.people.last_correction, time.time()
        made = [Correction(at, *pair, who, now) for at, pair in enumerate(pairs, start=last + 1)]
        number = self.store.people.reserve(1)
        level = 1 + max(max(one.strict, one.loose) for one in self.people.members.values())
        members = {digest: Membership(number, level, level) for digest in digests}
        event = {"action": "split", "person": self.name(person), "records": len(digests), "into": name_of(number, {})}
        self.store.people.write(self.people, members=members, put=made, event=event, whole=True)
        return made, number

    def _split_pairs(self, digests: Sequence[str], rest: Sequence[str]) -> list[tuple[Kind, str, str]]:
        """What keeps ``digests`` together, and apart from the ``rest`` of their person.

        Each tracklet of the rest needs its own cannot-link, because otherwise it could join the new person. The rest is
        not tied together instead, because it may show several people. What earlier corrections say already is left out,
        as in :meth:`say`, and crops of one tracklet stay together in any case.
        """
        first, links = digests[0], Links.of(self.people.corrections)
        known: set[str] = set(self.crops_beside(first))
        pairs: list[tuple[Kind, str, str]] = []
        wanted: list[tuple[Kind, str]] = [("same", digest) for digest in digests]
        for kind, digest in wanted + [("different", digest) for digest in rest]:
            if digest not in known and not links.saying(kind, first, digest):
                pairs.append((kind, first, digest) if kind == "same" else (kind, digest, first))
                links.add(Correction(0, *pairs[-1], "", 0.0))
            known.update(self.crops_beside(digest))
        return pairs or [("different", rest[0], first)]

    def rename(self, text: str, name: str | None) -> str:
        """Give a person a name, or take it away with None. Returns what the person is called now.

        A name can be taken away from everybody, because it may be wanted for another person.
        """
        person = self.anybody(text) if name is None else self.person(text)
        new = None if name is None else check_name(name, person, self.people, self.by_person)
        event = {"action": "name", "person": name_of(person, {}), "name": new}
        self.store.people.write(self.people, names={person: new}, event=event, whole=True)
        return new or name_of(person, {})

    def _refuse_split(self, digests: Sequence[str], rest: Sequence[str]) -> None:
        """Raise :class:`InputError` if corrections keep some of ``digests`` apart, or tie them to the rest."""
        said = self.people.corrections
        links = Links.of(said)
        tied = {other: digest for digest in digests for other in links.group(digest)}
        wrong: list[tuple[Kind, str, str]] = [
            ("same", tied[one.first], tied[one.second])
            for one in links.different
            if one.first in tied and one.second in tied
        ]
        wrong += [("different", digest, tied[digest]) for digest in rest if digest in tied]
        for kind, first, second in wrong:
            new_correction(kind, first, second, said, 0, "", self.called)  # raises, with the chain of corrections

    def corrections_called(self, names: Collection[str]) -> list[Correction]:
        """The corrections of these names, such as c-3, or of a range, such as c-3..c-9, by number.

        Raises :class:`InputError` if there is none of a name or in a range.
        """
        found: dict[int, Correction] = {}
        for name in names:
            ends = RANGE.fullmatch(name)
            first, last = map(int, ends.groups()) if ends else (0, 0)
            these = [one for one in self.people.corrections if one.name == name or first <= one.number <= last]
            if not these:
                near = did_you_mean(name, [one.name for one in self.people.corrections])
                raise InputError(
                    f"{self.where}: no correction is called {name!r}{near}: `reid people corrections {self.where}` "
                    "lists them"
                )
            found |= {one.number: one for one in these}
        return [found[number] for number in sorted(found)]

    def forget(self, person: int, on_progress: OnProgress | None = None) -> int:
        """Delete all records of a person for good, with the name and the links. Returns how many there were.

        The records go on the block list, so that nothing brings them back.
        """
        records = self.keys_of(person)
        self.store.block_list.add(records)
        gone = self.store.delete_records(records)
        self.store.compact(on_progress)
        return gone

    def describe(self, digest: str) -> str:
        """A record as text: tracklet, camera and time."""
        record = self.records[digest]
        when = format_span(record.start, record.end)
        return f"{self.called[digest]}{f', {when}' if when else ''}"


def names_of(record: Record) -> tuple[str, str, str]:
    """What users may call a record, from the shortest to the most exact."""
    return record.tracklet, f"{record.tracklet}@{record.camera}", f"{record.tracklet}@{record.camera}@{record.source}"
