"""Who a person in view is: what a watch asks, and the answer."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.records import Record

State = Literal["known", "new", "undecided"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whom a tracklet shows, by what was seen of it so far."""

    state: State
    """``known``: seen before. ``new``: not seen before. ``undecided``: not enough was seen, or it is not clear."""
    person: str | None = None
    """The person's name. None if there is no name yet."""
    probability: float | None = None
    """How sure the decision is, 0-1. None if that is not known."""
    record: str | None = None
    """The tracklet of the gallery's record that decided."""
    alert: bool = False
    """Whether the person is on the watch list."""
    withdrawn: bool = False
    """Undecided, because another tracklet in view shows the person that was named before. That decision is taken back,
    while other undecided answers change nothing."""
    number: str | None = None
    """The person's lasting number, which stays when the name changes. None if there are no numbers: then a person with
    another name is another person."""

    def __post_init__(self) -> None:
        if self.state not in ("known", "new", "undecided"):
            raise ValueError(f"state {self.state!r}: expected known, new or undecided")
        if self.state == "known" and self.person is None:
            raise ValueError("a known person without a name: expected the name")
        if self.probability is not None and not (math.isfinite(self.probability) and 0 <= self.probability <= 1):
            raise ValueError(f"probability {self.probability}: expected 0 to 1")


class Correction(NamedTuple):
    """A tracklet that has ended shows another person than was said."""

    camera: str
    tracklet: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class Resemblance:
    """A tracklet looks like a picture of the watch list."""

    picture: str
    """As the user named it."""
    probability: float | None = None
    """How probable it is that both show one person, 0-1."""


class Recogniser(Protocol):
    """Recognises people while they are in view. All calls are made by one thread."""

    def recognise(
        self,
        descriptor: NDArray[np.float32],
        camera: str,
        start: float,
        end: float,
        frames: int,
        tracklet: str,
    ) -> Decision:
        """Say whom a tracklet shows. It is asked again each time that a crop was embedded.

        ``descriptor`` (D,) float32 of length 1 is the mean over the ``frames`` crops that were embedded so far.
        ``start`` and ``end`` are when the tracklet was first and last seen, seconds. The decision about a tracklet may
        change. It stays as it was when it is asked about other tracklets.
        """

    def ended(self, record: Record, decision: Decision) -> None:
        """A tracklet has ended. This is its record, which is being enrolled, and the latest decision about it."""

    def corrections(self) -> list[Correction]:
        """Of the tracklets that have ended, those that show another person than was said last. Each is given once."""


class Watching(Protocol):
    """Compares people in view with pictures of people who are watched for. All calls are made by one thread."""

    def look(
        self, descriptor: NDArray[np.float32], camera: str, end: float, frames: int, tracklet: str
    ) -> tuple[Resemblance, ...]:
        """All pictures that a tracklet has looked like so far. It is asked each time that a crop was embedded.

        The arguments are those of :meth:`Recogniser.recognise`.
        """

    def ended(self, tracklet: str) -> None:
        """A tracklet has ended."""
