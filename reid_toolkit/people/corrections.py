"""What users said about pairs of records, as must-links and cannot-links, and the contradictions among them."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reid_toolkit.errors import InputError
from reid_toolkit.gallery.people_table import Correction, Kind, People
from reid_toolkit.times import format_moment


@dataclass
class Links:
    """The graph of all corrections. Nodes are digests of records."""

    same: dict[str, list[Correction]] = field(default_factory=dict)
    """The must-links of each record."""
    different: list[Correction] = field(default_factory=list)

    @classmethod
    def of(cls, corrections: Sequence[Correction]) -> "Links":
        links = cls()
        for one in corrections:
            links.add(one)
        return links

    def add(self, one: Correction) -> None:
        if one.kind == "different":
            self.different.append(one)
        else:
            for digest in (one.first, one.second):
                self.same.setdefault(digest, []).append(one)

    def chain(self, first: str, second: str) -> list[Correction] | None:
        """The shortest chain of must-links between two records. None if there is none."""
        before: dict[str, Correction] = {}
        queue = deque([first])
        while queue:
            digest = queue.popleft()
            if digest == second:
                found = []
                while digest != first:
                    found.append(before[digest])
                    digest = other_end(before[digest], digest)
                return found[::-1]
            for link in self.same.get(digest, ()):
                other = other_end(link, digest)
                if other != first and other not in before:
                    before[other] = link
                    queue.append(other)
        return None

    def group(self, digest: str) -> set[str]:
        """All records that must-links tie to this record, and itself."""
        found, queue = {digest}, [digest]
        while queue:
            one = queue.pop()
            new = {other_end(link, one) for link in self.same.get(one, ())} - found
            found |= new
            queue += new
        return found

    def saying(self, kind: Kind, first: str, second: str) -> list[Correction] | None:
        """The corrections that say the same as a new one. None if none do."""
        if kind == "same":
            return self.chain(first, second)
        mine, theirs = self.group(first), self.group(second)
        for one in self.different:
            for a, b in ((one.first, one.second), (one.second, one.first)):
                if a in mine and b in theirs:
                    return [*(self.chain(first, a) or []), one, *(self.chain(b, second) or [])]
        return None

    def against(self, kind: Kind, first: str, second: str) -> list[Correction] | None:
        """The corrections that together contradict a new one. None if none do."""
        return self.saying("same" if kind == "different" else "different", first, second)


def other_end(link: Correction, digest: str) -> str:
    return link.second if link.first == digest else link.first


def new_correction(
    kind: Kind, first: str, second: str, corrections: Sequence[Correction], last: int, who: str, called: dict[str, str]
) -> Correction:
    """Make a correction about two records.

    ``called`` is how messages name records. Raises :class:`InputError` if both are one record, or if earlier
    corrections contradict it; the message shows their chain.
    """
    if first == second:
        word = "the same person" if kind == "same" else "different people"
        raise InputError(
            f"{called[first]} and {called[first]} cannot be {word}: it is the same record twice: expected two records, "
            "or two people"
        )
    links = Links.of(corrections)
    chain = links.against(kind, first, second)
    if chain is not None:
        said = "; ".join(describe(one, called) for one in chain)
        word = "the same person" if kind == "same" else "different people"
        raise InputError(
            f"{called[first]} and {called[second]} cannot be {word}: {said}: undo one of these first, with "
            "`reid people undo`"
        )
    return Correction(last + 1, kind, first, second, who, time.time())


def called_in(called: Mapping[str, str], digest: str) -> str:
    """What a record is called, or the beginning of its id if it is not shown: it is damaged or past the retention."""
    return called.get(digest, f"record {digest[:8]}")


def describe(one: Correction, called: dict[str, str]) -> str:
    """A correction as text."""
    first, second = (called_in(called, digest) for digest in (one.first, one.second))
    verb = "is the same person as" if one.kind == "same" else "is another person than"
    return f"{one.name}: {first} {verb} {second} ({one.who}, {format_moment(one.time, to='minutes')})"


def persons_to_mend(people: People) -> set[int]:
    """The people whose records do not obey the corrections, and those who are the same as a record without a person.
    Without the latter, a new record that looks different could not join its person."""
    found: set[int] = set()
    for one in people.corrections:
        ends = [people.members.get(digest) for digest in (one.first, one.second)]
        persons = {end.person for end in ends if end is not None}
        apart = len(persons) == 2 or None in ends
        if apart if one.kind == "same" else not apart:
            found |= persons
    return found
