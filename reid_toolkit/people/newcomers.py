"""New people whom a watch has seen: they get their lasting numbers at once, before ``reid people`` has grouped them."""

import time
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from reid_toolkit.errors import UnavailableError
from reid_toolkit.gallery.people_table import People, PeopleTable
from reid_toolkit.records import Record

BLOCK = 20
"""So many numbers are set aside at once, because each time waits for the disk."""
RETRY_SECONDS = 30.0
"""Between two attempts while the gallery cannot be written, because each may wait for other writers."""
MOST, PATIENCE = 1000, 600.0
"""At most so many records wait until they are stored in the gallery, and at most so many seconds."""


class Waiting(NamedTuple):
    """A record whose person is not stored yet."""

    record: Record
    person: int
    since: float


class Newcomers:
    """Sets numbers aside for new people, and stores whom records were taken for."""

    def __init__(self, table: PeopleTable, clock: Callable[[], float] = time.monotonic) -> None:
        self._table, self._clock = table, clock
        self._numbers: Iterator[int] = iter(())
        self._again = 0.0
        """When numbers may be asked for again."""
        self.waiting: list[Waiting] = []
        self._new: set[int] = set()
        """Numbers that were given to nobody in the gallery yet."""

    def number(self) -> int | None:
        """A number that nobody has. None if the gallery cannot be written now."""
        found = next(self._numbers, None)
        if found is None and self._clock() >= self._again:
            try:
                first = self._table.reserve(BLOCK)
            except UnavailableError:
                self._again = self._clock() + RETRY_SECONDS
                return None
            self._numbers = iter(range(first, first + BLOCK))
            found = next(self._numbers)
        if found is not None:
            self._new.add(found)
        return found

    def is_new(self, person: int) -> bool:
        """Whether a person has a number from here, and no record in the gallery yet."""
        return person in self._new

    def drop_gone(self, there: Collection[int]) -> None:
        """Forget what waits for people who are neither new nor among ``there``: they were forgotten meanwhile."""
        self.waiting = [one for one in self.waiting if one.person in there or one.person in self._new]

    def put(self, record: Record, person: int) -> None:
        """Take a record for a person. The next :meth:`store` stores that."""
        self.waiting = [*self.waiting[1 - MOST :], Waiting(record, person, self._clock())]

    def store(self, was: People) -> People:
        """Store whom records were taken for, as far as they are in the gallery. Returns ``was`` as
        :meth:`PeopleTable.propose` does. Raises :class:`UnavailableError` if the gallery cannot be written now."""
        if not self.waiting:
            return was
        there, was = self._table.propose(was, [(one.record, one.person) for one in self.waiting], self._new)
        self._new -= {one.person for one, is_there in zip(self.waiting, there, strict=True) if is_there}
        late = self._clock() - PATIENCE
        self.waiting = [
            one for one, is_there in zip(self.waiting, there, strict=True) if not is_there and one.since > late
        ]
        return was
