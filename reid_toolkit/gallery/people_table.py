"""Where a gallery keeps which records show the same person, what people are called, and the corrections by users.

Everything refers to records by the digest of their key (tracklet, camera and source), never by their place in a list.
What refers to a record is deleted with the record.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["same", "different"]


class Membership(NamedTuple):
    """The person of a record, and its groups when grouping is stricter and looser."""

    person: int
    """Number of the person, from 1. A number is never given to another person."""
    strict: int
    """Its group if grouping stops earlier. Numbers mean nothing; equal numbers are one group."""
    loose: int
    """Its group if grouping stops later."""


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
    state: Any = None
    """Tells :meth:`PeopleTable.write` whether records were deleted since this was read."""


class PeopleTable(ABC):
    """The people of a gallery. Raises :class:`GalleryError` as the gallery does."""

    @abstractmethod
    def read(self) -> People:
        """Read everything."""

    @abstractmethod
    def changed(self, was: People) -> bool:
        """Whether people were changed, or records deleted, since :meth:`read` gave ``was``. Quick."""

    @abstractmethod
    def note(self, event: Mapping[str, Any]) -> bool:
        """Write an event about people into the audit log. False if the log is off, so that it was not written.

        Raises :class:`AuditError` if the log is on and cannot be written.
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
        event: Mapping[str, Any] | None = None,
    ) -> None:
        """Change what is stored, all or nothing.

        Args:
            was: what :meth:`read` gave before.
            members: records to put in, or to give to another person. Records that were deleted meanwhile are left out.
            names: new names of people; None takes a name away.
            put: corrections to add.
            take: numbers of corrections to take away.
            event: what the audit log says about it, if it is on.

        Raises :class:`GalleryError`, and changes nothing, if another process has changed the people since ``was`` was
        read.
        """
