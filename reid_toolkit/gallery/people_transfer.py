"""People between galleries: a copy has all of them, and a sync sends corrections, undone corrections and names."""

import hashlib
import sqlite3
import warnings
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.people_table import Correction, People, PeopleTable, Undone, said
from reid_toolkit.gallery.types import Selection

SENT_NAME_TABLE = """CREATE TABLE IF NOT EXISTS sent_name (
    target TEXT, person INTEGER, name TEXT, PRIMARY KEY (target, person)
) WITHOUT ROWID"""
"""In the file of what was sent: a digest of the name that each person of the edge has at a target because of it."""


def copy_people(source: GalleryStore, target: GalleryStore, there: Container[str]) -> None:
    """Give ``target`` all that ``source`` knows about people, as far as it has their records.

    ``there`` has the digests of the target's records.
    """
    found = both(source, target)
    if found is None:
        return
    people, table = found[0].among(there), found[1]
    was = table.read()
    put = [one for one in people.corrections if one not in was.corrections]
    undone = [one for one in people.undone if one not in was.undone]
    names: dict[int, str | None] = {person: None for person in was.names if person not in people.names}
    waiting: dict[str, str | None] = {digest: None for digest in was.waiting if digest not in people.waiting}
    if (
        (was.members, was.names, was.waiting, was.least_times, was.false_match_rate)
        == (people.members, people.names, people.waiting, people.least_times, people.false_match_rate)
        and not put
        and not undone
        and len(people.corrections) == len(was.corrections)
    ):
        return
    table.write(
        # Numbers that were given in the source are not given again in the copy, even if nobody has them now.
        replace(
            was,
            last_person=max(was.last_person, people.last_person),
            last_correction=max(was.last_correction, people.last_correction),
        ),
        members=people.members,
        names=names | dict(people.names),
        put=put,
        take=[one.number for one in was.corrections if one not in people.corrections],
        undone=undone,
        waiting=waiting | dict(people.waiting),
        least_times=people.least_times,
        false_match_rate=people.false_match_rate,
        event={"action": "people copied"},
    )


def send_people(source: GalleryStore, target: GalleryStore, where: str, journal: sqlite3.Connection) -> None:
    """Tell ``target``, which is at ``where``, what users of ``source`` said about people. People are not sent: the
    target groups the records of all its cameras by itself.

    - Corrections that the target lacks and whose records it has, with new numbers. Its next grouping obeys them.
    - Corrections that were taken back: the target takes them back too, and groups their records again the next time.
      What the target itself took back stays so.
    - Names: the person at the target who has most of the records of a named person gets the name. If these records have
      no person there yet, the name waits for it. ``journal`` remembers what was sent, so that a name that is changed or
      taken away at the source changes at the target too. A name that the target gave stays.

    Warns (RuntimeWarning) about what is not sent because the target says something else.
    """
    before = dict(journal.execute("SELECT person, name FROM sent_name WHERE target = ?", (where,)).fetchall())
    found = both(source, target, anything=bool(before))
    if found is None:
        return
    people, table = found
    was = table.read()
    undone = undone_here(people, was)
    gone = {one.key for one in undone}
    left = [one for one in was.corrections if said(one) not in gone]
    news = new_corrections(people, left, {*gone, *(one.key for one in was.undone)})
    names = Names.of(people, was, before)
    for message in names.conflicts:
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    named = [digest for digest, name in names.waiting.items() if name]
    about = [end for one in (*news, *(each.correction for each in undone)) for end in (one.first, one.second)]
    there = records_at(target, source, {*about, *named})
    # What is about other records waits until they come. Without it, there may be nothing to write.
    undone = [one for one in undone if {one.correction.first, one.correction.second} <= there]
    put = consistent_ones(left, [one for one in news if {one.first, one.second} <= there], was.last_correction)
    waiting = {digest: name for digest, name in names.waiting.items() if not name or digest in there}
    now = was
    if undone or put or names.given or waiting:
        numbers = [one.number for one in was.corrections if said(one) in gone]
        counts = {"corrections": len(put), "undone": len(numbers), "names": len(names.given)}
        table.write(
            was, names=names.given, put=put, take=numbers, undone=undone, waiting=waiting,
            event={"action": "corrections received", **counts},
        )  # fmt: skip
        now = table.read()
    arrived = set(map(digest_of, [*now.names.values(), *now.waiting.values()]))
    # Names of records that the target lacks have not arrived: they are sent again.
    names.sent = {who: name for who, name in names.sent.items() if name in arrived or before.get(who) == name}
    if names.sent != before:
        # Afterwards: if this is lost, the names count as the target's own.
        note_names(journal, where, names.sent)


def undone_here(people: People, was: People) -> list[Undone]:
    """What the source took back and the target did not hear of yet. If the target has the correction, its records are
    to be grouped again."""
    there, heard = {said(one): one for one in was.corrections}, {one.key for one in was.undone}
    return [
        Undone(there.get(one.key, one.correction), regroup=one.key in there)
        for one in people.undone
        if one.key not in heard or one.key in there
    ]


def records_at(target: GalleryStore, source: GalleryStore, digests: Set[str]) -> set[str]:
    """Those of ``digests``, which are of records of ``source``, whose records ``target`` has too."""
    if not digests:
        return set()
    keys = {key_digest(key): key for key in source.keys(Selection(before=float("inf")))}
    wanted = [digest for digest in keys if digest in digests]
    found = target.enrolled([keys[digest] for digest in wanted])
    return {digest for digest, there in zip(wanted, found, strict=True) if there}


def new_corrections(people: People, held: Sequence[Correction], undone: Container[object]) -> list[Correction]:
    """The source's corrections that are not among the target's, ``held``, and that it did not take back."""
    known = {(one.kind, one.first, one.second) for one in held}
    return [
        one for one in people.corrections if (one.kind, one.first, one.second) not in known and said(one) not in undone
    ]


def consistent_ones(held: Sequence[Correction], news: Sequence[Correction], last: int) -> list[Correction]:
    """The ``news`` that do not contradict the target's corrections ``held``, with numbers after ``last``. Warns about
    the others."""
    sent = consistent(held, news)
    if len(sent) < len(news):
        names = ", ".join(one.name for one in news if one not in sent)
        warnings.warn(
            f"corrections {names} were not sent, because they contradict corrections of the target: undo them with "
            "`reid people undo` in one of the two galleries",
            RuntimeWarning,
            stacklevel=4,
        )
    return [replace(one, number=last + place) for place, one in enumerate(sent, start=1)]


@dataclass
class Names:
    """What a sync does about names at the target."""

    given: dict[int, str | None] = field(default_factory=dict)
    """Names of the target's people; None takes one away."""
    waiting: dict[str, str | None] = field(default_factory=dict)
    """Names for records that have no person there, by digest."""
    sent: dict[int, str] = field(default_factory=dict)
    """By person of the source: the digest of the name that is at the target because of it."""
    conflicts: list[str] = field(default_factory=list)
    """What is not sent, and why."""

    @classmethod
    def of(cls, people: People, was: People, before: Mapping[int, str]) -> "Names":
        """Compare the names of the source's ``people`` with those of the target. ``before`` is :attr:`sent` of the last
        sync."""
        made = cls()
        ours = {one for person, one in before.items() if digest_of(people.names.get(person)) != one}
        for who, name in was.names.items():
            if digest_of(name) in ours:
                made.given[who] = None
        made.waiting |= {digest: None for digest, name in was.waiting.items() if digest_of(name) in ours}
        records: defaultdict[int, list[str]] = defaultdict(list)
        for digest, member in people.members.items():
            records[member.person].append(digest)
        for person, name in sorted(people.names.items()):
            made._send(person, name, records[person], was, before.get(person) == digest_of(name))
        return made

    def _send(self, person: int, name: str, records: Sequence[str], was: People, known: bool) -> None:
        """Send a name, if the target does not say something else. ``known`` if it was sent before."""
        now = {who: held for who, held in (was.names | self.given).items() if held}
        owner = next((who for who, held in now.items() if held == name), None)
        found = Counter(was.members[digest].person for digest in records if digest in was.members)
        who = min(found, key=lambda one: (-found[one], one), default=None)
        waits = any(was.waiting.get(digest) == name for digest in records)
        if owner is not None:
            if known:  # also in a conflict, so that the name goes when the source takes it away
                self.sent[person] = digest_of(name)
            if who not in (None, owner):
                self.conflicts.append(f"the name {name} was not sent: at the target, another person is called so")
        elif who in now:
            self.conflicts.append(f"the name {name} was not sent: at the target, this person is called {now[who]}")
        else:
            if who is not None and not known:
                self.given[who] = name
            elif who is None and (waits or not known):
                self.waiting |= {digest: name for digest in records if was.waiting.get(digest) != name}
            # Otherwise the target has taken the name away, which stays so.
            self.sent[person] = digest_of(name)


def digest_of(name: str | None) -> str:
    """What the file of what was sent keeps of a name, so that no name stays in it when a person is forgotten."""
    return "" if name is None else hashlib.sha256(name.encode()).hexdigest()


def note_names(journal: sqlite3.Connection, where: str, sent: Mapping[int, str]) -> None:
    with journal:
        journal.execute("DELETE FROM sent_name WHERE target = ?", (where,))
        journal.executemany("INSERT INTO sent_name VALUES (?, ?, ?)", ((where, *item) for item in sent.items()))


def consistent(held: Sequence[Correction], news: Sequence[Correction]) -> list[Correction]:
    """The ``news`` that do not contradict ``held`` and the news before them."""
    parent: dict[str, str] = {}

    def root(digest: str) -> str:
        while digest in parent:
            digest = parent[digest]
        return digest

    def tie(one: Correction) -> None:
        first, second = root(one.first), root(one.second)
        if one.kind == "different":
            apart.append((one.first, one.second))
        elif first != second:
            parent[first] = second

    apart: list[tuple[str, str]] = []
    for one in held:
        tie(one)
    found = []
    for one in news:
        ends = {root(one.first), root(one.second)}
        if len(ends) == 1 if one.kind == "different" else any({root(a), root(b)} == ends for a, b in apart):
            continue
        tie(one)
        found.append(one)
    return found


def both(source: GalleryStore, target: GalleryStore, *, anything: bool = False) -> tuple[People, PeopleTable] | None:
    """The people of the source and the table of the target. None if there is nothing to bring. ``anything`` if there is
    something to bring even if the source has nothing now."""
    people = source.people.read()
    held = (people.members, people.corrections, people.undone, people.waiting)
    settings = (people.least_times, people.false_match_rate)
    return (people, target.people) if anything or any((*held, *settings)) else None
