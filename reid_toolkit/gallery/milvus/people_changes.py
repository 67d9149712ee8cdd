"""What a write changes of the people of a gallery in Milvus, as rows."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from reid_toolkit.gallery.milvus.people_rows import (
    CORRECTION,
    LEAST,
    MEMBER,
    NAME,
    RATE,
    UNDONE,
    WAITING,
    Head,
    Value,
    id_of,
    text_of,
    value_row,
)
from reid_toolkit.gallery.milvus.rows import Row
from reid_toolkit.gallery.people_table import Correction, Membership, People, Undone


@dataclass
class Changes:
    """The changes of a write to the people ``was``, as :meth:`PeopleTable.write` takes them."""

    was: People
    members: dict[str, Membership]
    names: dict[int, str | None]
    put: Collection[Correction]
    take: Collection[int]
    undone: Collection[Undone]
    waiting: dict[str, str | None]
    least_times: Mapping[tuple[str, str], float] | None
    false_match_rate: float | None

    def __post_init__(self) -> None:
        self.after = {**self.was.members, **self.members}
        self._give_waiting_names()

    def _give_waiting_names(self) -> None:
        """Give each waiting name to the person with most of its records, if that person has none and nobody is called
        so. The name waits no more then."""
        found: defaultdict[str, Counter[int]] = defaultdict(Counter)
        waiting = {digest: name for digest, name in (self.was.waiting | self.waiting).items() if name}
        for digest, name in waiting.items():
            if digest in self.after:
                found[name][self.after[digest].person] += 1
        for name, persons in found.items():
            person = min(persons, key=lambda one: (-persons[one], one))
            held = {**self.was.names, **self.names}
            if not held.get(person) and name not in held.values():
                self.names[person] = name
            self.waiting |= {digest: None for digest, one in waiting.items() if one == name}

    def head(self, before: Head, token: int) -> Head:
        """The head after the write."""
        return Head(
            before.number + 1,
            token,
            max([before.last_person, self.was.last_person, *(one.person for one in self.members.values())]),
            max([before.last_correction, self.was.last_correction, *(one.number for one in self.put)]),
        )

    def member_rows(self, version: Head) -> Iterator[Row]:
        """The rows of memberships."""
        for digest, one in self.members.items():
            yield value_row(digest, MEMBER, text_of(one), text_of(self.was.members.get(digest)), version)

    def other_rows(self, version: Head) -> Iterator[Row]:
        """All other rows."""
        for kind, key, value, before in self._others():
            yield value_row(id_of(kind, *key), kind, text_of(value), text_of(before), version)

    def _others(self) -> Iterator[tuple[str, tuple[str | float, ...], Value | None, Value | None]]:
        """Kind, key, new value and value before of what is changed, other than memberships."""
        was = self.was
        for person, name in self.names.items():
            old = was.names.get(person)
            yield NAME, (person,), (person, name) if name else None, (person, old) if old else None
        values: dict[int, Correction | None] = dict.fromkeys(self.take) | {one.number: one for one in self.put}
        held = {one.number: one for one in was.corrections}
        for number, value in values.items():
            yield CORRECTION, (number,), value, held.get(number)
        undone = {one.key: one for one in was.undone}
        for one in self.undone:
            yield UNDONE, one.key, one, undone.get(one.key)
        for digest, name in self.waiting.items():
            old = was.waiting.get(digest)
            yield WAITING, (digest,), (digest, name) if name else None, (digest, old) if old else None
        if self.least_times is not None:
            for pair in sorted(was.least_times.keys() | self.least_times.keys()):
                now, then = self.least_times.get(pair), was.least_times.get(pair)
                if now != then:
                    yield LEAST, pair, None if now is None else (*pair, now), None if then is None else (*pair, then)
        if self.false_match_rate is not None:
            yield RATE, (), self.false_match_rate, was.false_match_rate

    @property
    def records(self) -> set[str]:
        """The records that the changes are about, and all records of people who get a name."""
        named = {person for person, name in self.names.items() if name}
        ends = {end for one in self.put for end in (one.first, one.second)}
        ends |= {end for one in self.undone for end in (one.correction.first, one.correction.second)}
        ends |= {digest for digest, name in self.waiting.items() if name}
        return self.members.keys() | ends | {digest for digest, one in self.after.items() if one.person in named}

    def loses_any(self, missing: Collection[str]) -> bool:
        """Whether a correction or a name is not stored if these records are ``missing``."""
        ends = {end for one in self.put for end in (one.first, one.second)}
        named = {person for person, name in self.names.items() if name}
        return not ends.isdisjoint(missing) or not named.isdisjoint(self.nobody(missing))

    def nobody(self, missing: Collection[str]) -> set[int]:
        """The people with a name who have no records, if these are ``missing``."""
        held = {one.person for digest, one in self.after.items() if digest not in missing}
        return {*self.was.names, *(person for person, name in self.names.items() if name)} - held
