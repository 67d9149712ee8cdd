"""Rows of the people of a gallery in Milvus: memberships, names and corrections, each with the value before it.

A row has two values: the current one, with the number of the write that put it there, and the one before. The head is a
row of its own with the number of the last write that was finished. If a row's current value is of a later write, that
write was not finished, and the value before counts. So the upsert of the head makes a whole write count at once.
"""

import hashlib
import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from reid_toolkit.gallery.milvus.rows import Row
from reid_toolkit.gallery.people_table import Correction, Membership, People

WIDTH = 2
"""Width of the vector that Milvus demands in every row."""
MEMBER, NAME, CORRECTION, HEAD, WORK = "member", "name", "correction", "head", "work"
"""Kinds of rows, in the field "camera"."""
STORED = f'camera in ["{MEMBER}", "{NAME}", "{CORRECTION}"]'
"""The expression for rows with values."""
CONTROL = f'camera in ["{HEAD}", "{WORK}"]'
"""The expression for the head, and for the marks of processes that work (``people_work.py``)."""
FIELDS = ("id", "camera", "tracklet", "source", "image", "thumbnail", "start_time", "end_time", "place", "checksum")
NOTHING = ""
"""The value of a row that does not count, such as a name that was taken away."""
DAMAGED = (ValueError, TypeError, LookupError)
"""Errors of text that was not written by this module."""
Value = Membership | Correction | tuple[int, str]
"""What a row may hold. A name comes with the person's number."""


class Head(NamedTuple):
    """What the last write that was finished has stored."""

    number: int = 0
    """Of the write, from 1."""
    token: int = 0
    """Random, because two writers may use one number."""
    last_person: int = 0
    last_correction: int = 0

    def row(self) -> Row:
        """The row of the head."""
        last = json.dumps([self.last_person, self.last_correction])
        return _row(id_of(HEAD, 0), HEAD, image=last, place=self.number, checksum=self.token)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Head":
        """The head among ``rows``. If there is none, nothing was written yet."""
        for row in rows:
            if row["camera"] == HEAD:
                last_person, last_correction = json.loads(row["image"])
                return cls(int(row["place"]), int(row["checksum"]), last_person, last_correction)
        return cls()

    def counts(self, row: Row) -> bool:
        """Whether the write that gave a row its current value was finished."""
        place = int(row["place"])
        return place < self.number or (place == self.number and int(row["checksum"]) == self.token)

    def text(self, row: Row) -> str:
        """The value of a row that counts, as stored."""
        return str(row["image"] if self.counts(row) else row["thumbnail"])


def id_of(kind: str, number: int) -> str:
    """The id of the row of a name, a correction, or the head. A membership's id is the digest of its record. All are
    hexadecimal, because pages are read by hexadecimal prefixes."""
    return hashlib.sha256(f"{kind} {number}".encode()).hexdigest()


def text_of(value: Value | None) -> str:
    """A value as it is stored."""
    if value is None:
        return NOTHING
    if isinstance(value, Membership):
        return f"{value.person} {value.strict} {value.loose}"
    if isinstance(value, Correction):
        whole = [value.number, value.kind, value.first, value.second, value.who, value.time]
        return json.dumps(whole, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def value_of(kind: str, text: str) -> Value | None:
    """The opposite of :func:`text_of`. Raises one of ``DAMAGED`` for damaged text."""
    if text == NOTHING:
        return None
    if kind == MEMBER:
        return Membership(*(int(number) for number in text.split()))
    held: list[Any] = json.loads(text)
    if kind == CORRECTION:
        return Correction(*held)
    return int(held[0]), str(held[1])


def value_row(identity: str, kind: str, value: str, before: str, version: Head) -> Row:
    """A row with a value, and the value before it, as :func:`text_of` gives them, of the write ``version``.

    The people of both values are numbers in the row, and so are the records of a correction, so that Milvus finds them.
    """
    first, second = _ends(kind, value or before)
    return _row(
        identity, kind, tracklet=first, source=second, image=value, thumbnail=before,
        start_time=_person(kind, value), end_time=_person(kind, before),
        place=version.number, checksum=version.token,
    )  # fmt: skip


def settled(row: Row, text: str) -> Row:
    """A row with only the value ``text``, which counts for every head."""
    return value_row(row["id"], row["camera"], text, NOTHING, Head())


def mark_row(identity: str, what: str, moment: float) -> Row:
    """The mark of a process that works since, or still at, a Unix time."""
    return _row(identity, WORK, tracklet=what, start_time=moment)


def referred(row: Row, text: str) -> tuple[str, ...]:
    """The digests of the records that a row's value ``text`` is about. Raises one of ``DAMAGED`` for damaged text."""
    kind = row["camera"]
    return (row["id"],) if kind == MEMBER else _ends(kind, text) if kind == CORRECTION else ()


def people_of(rows: Iterable[Row], head: Head) -> People:
    """Everything but ``state``. A name without records is left out. Raises one of ``DAMAGED`` for damaged
    rows."""
    members: dict[str, Membership] = {}
    names: dict[int, str] = {}
    corrections: list[Correction] = []
    for row in rows:
        value = value_of(row["camera"], head.text(row))
        if isinstance(value, Membership):
            members[row["id"]] = value
        elif isinstance(value, Correction):
            corrections.append(value)
        elif value is not None:
            names[value[0]] = value[1]
    ordered = tuple(sorted(corrections, key=lambda one: one.number))
    return People(members, _names_of(members, names), ordered, head.last_person, head.last_correction)


def among(people: People, there: Container[str]) -> People:
    """What refers only to the records ``there``, which are digests of keys. A name without records is left out."""
    members = {digest: one for digest, one in people.members.items() if digest in there}
    corrections = tuple(one for one in people.corrections if one.first in there and one.second in there)
    return replace(people, members=members, names=_names_of(members, people.names), corrections=corrections)


def _names_of(members: Mapping[str, Membership], names: Mapping[int, str]) -> dict[int, str]:
    held = {one.person for one in members.values()}
    return {person: name for person, name in names.items() if person in held}


def _ends(kind: str, text: str) -> tuple[str, str]:
    if kind != CORRECTION or text == NOTHING:
        return "", ""
    held = json.loads(text)
    return held[2], held[3]


def _person(kind: str, text: str) -> float:
    if text == NOTHING or kind == CORRECTION:
        return 0.0
    return float(text.split()[0] if kind == MEMBER else json.loads(text)[0])


def _row(identity: str, kind: str, **fields: str | int | float) -> Row:
    empty: Row = {
        "tracklet": "", "source": "", "image": "", "thumbnail": "", "start_time": 0.0, "end_time": 0.0,
        "tags": {"tags": []}, "checksum": 0, "place": 0,
    }  # fmt: skip
    return {"id": identity, "camera": kind, "vector": np.eye(1, WIDTH, dtype=np.float32)[0], **empty, **fields}
