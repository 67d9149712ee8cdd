"""Where events go: the interface, and what all destinations count."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reid_toolkit.live.events.event import Event


@dataclass
class SinkCount:
    """Counts of one destination, since the watch began."""

    sent: int = 0
    """Events that were written, or whose receipt was confirmed."""
    waiting: int = 0
    """Events that wait on the disk until the destination can be reached."""
    dropped: int = 0
    """Events that were lost: they could not be written, or too many waited."""
    refused: int = 0
    """Events that the destination refused for good."""


class EventSink(Protocol):
    """Takes events, in order. All methods are called by one thread."""

    name: str
    """The destination as messages show it, without secrets."""
    count: SinkCount

    def put(self, events: Sequence[Event]) -> None:
        """Take events. Does not wait for the network, and raises nothing if they cannot be taken: it warns
        (RuntimeWarning) once, and counts them."""

    def poll(self) -> None:
        """Pass on what happened in the background, as warnings."""

    def close(self) -> None:
        """Send what can still be sent in a short time, and close. Warns if events stay unsent."""
