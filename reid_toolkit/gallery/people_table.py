"""Where a gallery keeps which records show the same person, what people are called, and the corrections by users.

Everything refers to records by the digest of their key (tracklet, camera and source), never by their place in a list.
What refers to a record is deleted with the record.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery.types import Batch
from reid_toolkit.records import Record

Kind = Literal["same", "different"]


class Membership(NamedTuple):
    """The person of a record, and its groups when grouping is stricter and looser."""

    person: int
    """Number of the person, from 1. A number is never given to another person."""
    strict: int
    """Its group if grouping stops earlier. Numbers mean nothing; equal numbers are one group."""
    loose: int
    """Its group if grouping stops later."""

    @classmethod
    def proposed(cls, person: int) -> "Membership":
        """The person that a watch took a record for. Grouping decides about the record as about a new one."""
        return cls(person, -person, -person)

    @property
    def is_proposed(self) -> bool:
        """Whether :meth:`proposed` made this, so that the record was never grouped."""
        return self.strict < 0


NOBODY = Membership(0, 0, 0)
"""Of a record that was never grouped."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What a user said about two records: they show the same person, or different people."""

    number: int
    """From 1. A number is never given to another correction."""
    kind: Kind
    first: str
    """Digest of a record's key."""
    second: str
    who: str
    time: float
    """Unix time."""

    @property
    def name(self) -> str:
        """What users call the correction, such as c-3."""
        return f"c-{self.number}"


@dataclass(frozen=True, slots=True)
class Undone:
    """A correction that was taken back. It is remembered, so that a sync does not bring it back."""

    correction: Correction
    regroup: bool = False
    """Whether its records must be grouped again, because the undo came from another gallery."""

    @property
    def key(self) -> "Said":
        """What tells the correction from all others, in every gallery."""
        return said(self.correction)


Said = tuple[str, str, str, float]
"""Kind, first and second record, and time: equal for one correction in several galleries. If a user says the same again
after an undo, the time is another."""


def said(one: Correction) -> Said:
    """What tells a correction from all others, in every gallery."""
    return one.kind, one.first, one.second, one.time


def deleted_meanwhile(where: str) -> GalleryError:
    """The error for a correction or a name whose records another process has deleted."""
    return GalleryError(
        f"{where}: records that this is about were deleted meanwhile, so nothing was changed now: run this again"
    )


@dataclass(frozen=True)
class People:
    """All that a gallery knows about people."""

    members: dict[str, Membership] = field(default_factory=dict)
    """By the digest of the record's key. Records that were never grouped are missing."""
    names: dict[int, str] = field(default_factory=dict)
    """What users call people, by the person's number."""
    corrections: tuple[Correction, ...] = ()
    """The oldest first."""
    last_person: int = 0
    """The largest number that a person ever had."""
    last_correction: int = 0
    undone: tuple[Undone, ...] = ()
    """Corrections that were taken back."""
    waiting: dict[str, str] = field(default_factory=dict)
    """Names that another gallery gave to records without a person, by the record's digest. The person who gets most of
    the records of a name gets the name."""
    least_times: dict[tuple[str, str], float] = field(default_factory=dict)
    """The least seconds that anybody needs between two cameras; the names of a pair are sorted. Grouping obeys them."""
    false_match_rate: float | None = None
    """The rate of false matches at which users want records linked. None if nobody said any."""
    state: Any = None
    """Tells :meth:`PeopleTable.write` whether records were deleted since this was read."""

    def among(self, there: Container[str]) -> "People":
        """What refers only to the records ``there``, which are digests of keys. A name without records is left out."""

        def known(one: Correction) -> bool:
            return one.first in there and one.second in there

        members = {digest: one for digest, one in self.members.items() if digest in there}
        return replace(
            self,
            members=members,
            names=held_names(members, self.names),
            corrections=tuple(one for one in self.corrections if known(one)),
            undone=tuple(one for one in self.undone if known(one.correction)),
            waiting={digest: name for digest, name in self.waiting.items() if digest in there},
        )


def held_names(members: Mapping[str, Membership], names: Mapping[int, str]) -> dict[int, str]:
    """The names of people who have records."""
    held = {one.person for one in members.values()}
    return {person: name for person, name in names.items() if person in held}


class Descriptors(NamedTuple):
    """Numbers, cameras and descriptors (B, D) float32 of some records."""

    numbers: list[int]
    cameras: list[str]
    vectors: NDArray[np.float32]


class Parts(Protocol):
    """Reads parts of a gallery, for groupings that do not need all of it."""

    def digests(self, since: float | None) -> Iterator[tuple[int, str]]:
        """The number in the gallery and the digest of the key of each record that was not last seen, or enrolled,
        before the Unix time ``since``. Quick: no descriptor is read. Damaged records may be among them."""

    def descriptors(self) -> Iterator[Descriptors]:
        """All descriptors, without anything else of the records. Quicker than reading the records, but damage is not
        noticed, so only take from them which records to read."""

    def chosen(self, numbers: Sequence[int]) -> Iterator[tuple[list[int], Batch]]:
        """The undamaged records of these numbers, ascending, with their descriptors."""


class PeopleTable(ABC):
    """The people of a gallery. Raises :class:`GalleryError` as the gallery does."""

    @abstractmethod
    def read(self) -> People:
        """Read everything."""

    @abstractmethod
    def changed(self, was: People) -> bool:
        """Whether people were changed, or records deleted, since :meth:`read` gave ``was``. Quick."""

    def persons(self, digests: Collection[str]) -> dict[str, tuple[int, str | None]] | None:
        """The persons of a few records now: the number, and the name that a user gave. Records without a person are
        missing. Quick, because nothing else is read. None if this kind of gallery can only :meth:`read` everything."""
        return None

    @property
    def parts(self) -> "Parts | None":
        """Reads parts of the gallery. None if this kind of gallery can only be read as a whole."""
        return None

    @abstractmethod
    def note(self, event: Mapping[str, Any]) -> bool:
        """Write an event about people into the audit log. False if the log is off, so that it was not written.

        Raises :class:`AuditError` if the log is on and cannot be written.
        """

    @abstractmethod
    def reserve(self, count: int) -> int:
        """Set ``count`` numbers of people aside, for whoever calls this. Returns the first of them.

        New people get numbers in no other way, so no two processes give the same number. :meth:`changed` takes no
        notice of this call, and a :meth:`write` that runs beside it is not disturbed.
        """

    @abstractmethod
    def propose(
        self, was: People, people: Sequence[tuple[Record, int]], new: Collection[int]
    ) -> tuple[list[bool], People]:
        """Store whom records were taken for before they were grouped. Records that have a person are left alone.

        ``new`` are people without a record so far. Others who have no record are gone, because they were forgotten or
        united with somebody: they do not come back, so what is proposed for them is left out.

        A :meth:`write` that runs beside this is not disturbed. Returns whether each record is stored in the gallery,
        and ``was``, for which :meth:`changed` takes no notice of this call.
        """

    @abstractmethod
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
        """Change what is stored, all or nothing.

        Args:
            was: what :meth:`read` gave before.
            members: records to put in, or to give to another person. Records that were deleted meanwhile are left out.
            names: new names of people; None takes a name away.
            put: corrections to add. Those whose records are not stored are left out.
            take: numbers of corrections to take away.
            undone: corrections that were taken back, to be remembered; each replaces what is remembered of it.
            waiting: names for records without a person, by the record's digest; None takes one away. A name is given
                when its records have a person, if that person has none and nobody is called so.
            least_times: the least times between cameras instead of those that are stored; empty for none.
            false_match_rate: instead of the rate that is stored.
            event: what the audit log says about it, if it is on.
            whole: leave out no correction and no name, because a user waits to hear that they are stored.

        Raises :class:`GalleryError`, and changes nothing, if another process has changed the people since ``was`` was
        read, or with ``whole`` if it has deleted a record of ``put`` or all records of a person in ``names``.
        """
