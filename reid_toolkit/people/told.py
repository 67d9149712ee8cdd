"""Whom a watch has said that its tracklets show, so that it can say when grouping decides otherwise."""

from collections.abc import Container, Mapping
from typing import NamedTuple

from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.records import Record

MOST = 5_000
"""So many tracklets are kept, the latest."""


class Told(NamedTuple):
    """What was said of a tracklet."""

    camera: str
    tracklet: str
    person: int | None
    """None if it was undecided."""


class ToldTracklets:
    """The latest tracklets that ended."""

    def __init__(self) -> None:
        self._told: dict[str, Told] = {}
        """By the digest of the record's key, the latest last."""

    def put(self, record: Record, person: int | None) -> None:
        """Note whom a tracklet was taken for. Its record is being enrolled."""
        digest = key_digest(record)
        self._told.pop(digest, None)
        self._told[digest] = Told(record.camera, record.tracklet, person)
        while len(self._told) > MOST:
            del self._told[next(iter(self._told))]

    def changed(self, members: Mapping[str, int], people: Container[int]) -> list[Told]:
        """The tracklets that show another person now than was said, with that person. Each change is given once.

        ``members`` are the people of all records, and ``people`` are those who have records. Undecided tracklets have
        nobody until they are grouped. A record that nobody has any more was forgotten, and so it is here.
        """
        found = []
        for digest, told in list(self._told.items()):
            person = members.get(digest)
            if person is None:
                if told.person is not None and told.person not in people:
                    del self._told[digest]
            elif person != told.person:
                self._told[digest] = told._replace(person=person)
                found.append(self._told[digest])
        return found
