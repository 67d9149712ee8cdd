"""Marks of processes that change the people of a gallery in Milvus, by which a second writer is refused.

A mark is a row. Milvus has no locks, but its reads see all writes that were acknowledged before. A writer first puts
its mark, and then looks for others: of two writers, at least one sees the mark of the other, and gives up.
"""

import hashlib
import secrets
import time
from typing import NamedTuple

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery.milvus.collection import Collection
from reid_toolkit.gallery.milvus.people_rows import CONTROL, FIELDS, WORK, Head, mark_row
from reid_toolkit.gallery.milvus.rows import Row

WRITE, DELETE = "write", "delete"
"""A process changes people, or deletes records with all that refers to them."""
LASTING = {WRITE: 300.0, DELETE: 1800.0}
"""Seconds after the last sign of life of a process, after which others take over."""
SIGN_SECONDS = 20.0
LEFT = 0.0
"""The time in the mark of a process that gave up, so that others take over at once."""


class Control(NamedTuple):
    """The head and all marks, as of one moment."""

    head: Head
    marks: tuple[Row, ...]

    @classmethod
    def read(cls, rows: Collection) -> "Control":
        found = rows.query(CONTROL, FIELDS)
        return cls(Head.of(found), tuple(row for row in found if row["camera"] == WORK))

    @property
    def stale(self) -> list[str]:
        """The ids of the marks of processes that were killed, or gave up."""
        return [row["id"] for row in self.marks if not _is_alive(row)]

    def others(self, mark: "Mark") -> bool:
        """Whether another process writes now."""
        return any(row["id"] != mark.id and row["tracklet"] == WRITE and _is_alive(row) for row in self.marks)


class Mark:
    """The mark of this process."""

    def __init__(self, rows: Collection, what: str, where: str) -> None:
        """Put the mark."""
        self.id = hashlib.sha256(secrets.token_bytes()).hexdigest()
        self._rows, self._what, self._where = rows, what, where
        self._put(time.time())

    def sign(self) -> None:
        """Raise :class:`GalleryError` if another process has taken over. Otherwise give a sign of life, if the last is
        old enough."""
        if not self._rows.find([self.id]):
            raise changed_meanwhile(self._where)
        if time.monotonic() >= self._shown + SIGN_SECONDS:
            self._put(time.time())

    def remove(self) -> None:
        """Take the mark away."""
        self._rows.delete_ids([self.id])

    def leave(self) -> None:
        """Let others take over at once, to mend what was left."""
        self._put(LEFT)

    def _put(self, moment: float) -> None:
        self._rows.upsert([mark_row(self.id, self._what, moment)])
        self._shown = time.monotonic()


def changed_meanwhile(where: str) -> GalleryError:
    """The error for people that another process has changed."""
    return GalleryError(
        f"{where}: another process has changed its people meanwhile, so nothing was changed now: run this again"
    )


def _is_alive(mark: Row) -> bool:
    # In both directions, because the clocks of two machines may differ.
    return abs(time.time() - float(mark["start_time"])) < LASTING.get(mark["tracklet"], LASTING[DELETE])
