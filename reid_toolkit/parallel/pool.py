"""The interface of the pools, and the pool that is only this process.

A *unit* is a piece of work, such as a recording or a block of crops. A *worker* is made once by a function without
arguments, which may take long (it loads a model), and is then called with one unit after the other. Both are pickled if
the pool has other processes.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

Unit = TypeVar("Unit")
Result = TypeVar("Result")

MOST_TRIES = 3
"""A unit is given up if so many workers died while they worked on it: it is probably the cause."""
IN_FLIGHT = 2
"""Units that are sent to each worker ahead of time. More are not sent, so that memory stays bounded."""
LOOK_SECONDS = 0.5
"""Seconds between two calls of ``on_wait``."""


class Finished(NamedTuple):
    """A finished unit."""

    position: int
    """The unit's position, from 0."""
    result: Any


class Pool(Protocol):
    """Does work on units."""

    @property
    def cores(self) -> int | None:
        """How many cores each worker may use. None for all."""

    @property
    def elsewhere(self) -> bool:
        """Whether workers may run on other machines, which do not have this machine's files."""

    def run(
        self,
        start: Callable[[], Callable[[Unit], Result]],
        units: Iterable[Unit],
        on_wait: Callable[[], None] = lambda: None,
    ) -> Iterator[Finished]:
        """Yield each unit's result once, in the order in which they are finished.

        A unit whose worker died is done again by another worker. ``on_wait`` is called about twice a second if this
        process has nothing else to do. An error that a worker raises is raised here, and ends the work.

        Raises :class:`RunError` if :data:`MOST_TRIES` workers died of the same unit.
        """


class ThisProcess:
    """Does the units one after the other, in this process."""

    cores = None
    elsewhere = False

    def run(
        self,
        start: Callable[[], Callable[[Unit], Result]],
        units: Iterable[Unit],
        on_wait: Callable[[], None] = lambda: None,
    ) -> Iterator[Finished]:
        """See :class:`Pool`."""
        worker: Callable[[Unit], Result] | None = None
        for position, unit in enumerate(units):
            worker = worker or start()  # without units, nothing is loaded
            yield Finished(position, worker(unit))


def in_order(finished: Iterable[Finished]) -> Iterator[Any]:
    """Yield the results in the order of their units. Results that come too early are kept until their turn."""
    early: dict[int, Any] = {}
    following = 0
    for position, result in finished:
        early[position] = result
        while following in early:
            yield early.pop(following)
            following += 1
