"""Rows of the people of a gallery in Milvus: memberships, names, corrections and more, each with the value before it.

A row has two values: the current one, with the number of the write that put it there, and the one before. The head is a
row of its own with the number of the last write that was finished. If a row's current value is of a later write, that
write was not finished, and the value before counts. So the upsert of the head makes a whole write count at once.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from reid_toolkit.gallery.milvus.rows import Row
from reid_toolkit.gallery.people_table import Correction, Membership, People, Undone, held_names

WIDTH = 2
"""Width of the vector that Milvus demands in every row."""
MEMBER, NAME, CORRECTION, UNDONE, WAITING = "member", "name", "correction", "undone", "waiting"
LEAST, RATE, HEAD, WORK = "least", "rate", "head", "work"
"""Kinds of rows, in the field "camera". Those of a least time hold one pair of cameras, and one row holds the rate of
false matches."""
STORED = f'camera in ["{MEMBER}", "{NAME}", "{CORRECTION}", "{UNDONE}", "{WAITING}", "{LEAST}", "{RATE}"]'
"""The expression for rows with values."""
LINKS = f'camera in ["{CORRECTION}", "{UNDONE}", "{WAITING}"]'
"""The expression for rows about records, other than memberships."""
CONTROL = f'camera in ["{HEAD}", "{WORK}"]'
"""The expression for the head, and for the marks of processes that work (``people_work.py``)."""
FIELDS = ("id", "camera", "tracklet", "source", "image", "thumbnail", "start_time", "end_time", "place", "checksum")
NOTHING = ""
"""The value of a row that does not count, such as a name that was taken away."""
DAMAGED = (ValueError, TypeError, LookupError)
"""Errors of text that was not written by this module."""
Value = Membership | Correction | Undone | tuple[int, str] | tuple[str, str] | tuple[str, str, float] | float
"""What a row may hold. A name comes with the person's number, a waiting name with the record's digest, and a least time
with the two cameras. The number alone is the rate of false matches."""


class Head(NamedTuple):
    """What the last write that was finished has stored."""

    number: int = 0
    """Of the write, from 1."""
    token: int = 0
    """Random, because two writers may use one number."""
    last_person: int = 0
    last_correction: int = 0

    @property
    def write(self) -> tuple[int, int]:
        """What tells the write from all others."""
        return self.number, self.token

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


def id_of(kind: str, *key: str | float) -> str:
    """The id of a row, by what tells it from others of its kind. A membership's id is the digest of its record. All are
    hexadecimal, because pages are read by hexadecimal prefixes."""
    return hashlib.sha256(json.dumps([kind, *key]).encode()).hexdigest()


def members_of(person: int) -> str:
    """The expression for the memberships of a person."""
    return f'camera == "{MEMBER}" and start_time == {float(person)!r}'


def text_of(value: Value | None) -> str:
    """A value as it is stored."""
    if value is None:
        return NOTHING
    if isinstance(value, Membership):
        return f"{value.person} {value.strict} {value.loose}"
    if isinstance(value, Correction | Undone):
        one = value if isinstance(value, Correction) else value.correction
        more = [value.regroup] if isinstance(value, Undone) else []
        whole = [one.number, one.kind, one.first, one.second, one.who, one.time, *more]
        return json.dumps(whole, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def value_of(kind: str, text: str) -> Value | None:
    """The opposite of :func:`text_of`. Raises one of ``DAMAGED`` for damaged text."""
    if text == NOTHING:
        return None
    if kind == MEMBER:
        return Membership(*(int(number) for number in text.split()))
    held: Any = json.loads(text)
    if kind == RATE:
        return float(held)
    if kind == CORRECTION:
        return Correction(*held)
    if kind == UNDONE:
        return Undone(Correction(*held[:-1]), bool(held[-1]))
    if kind == WAITING:
        return str(held[0]), str(held[1])
    if kind == LEAST:
        return str(held[0]), str(held[1]), float(held[2])
    return int(held[0]), str(held[1])


def value_row(identity: str, kind: str, value: str, before: str, version: Head) -> Row:
    """A row with a value, and the value before it, as :func:`text_of` gives them, of the write ``version``.

    The people of both values are numbers in the row, and the records of a correction or waiting name are texts, so that
    they are found without reading values.
    """
    first, second = (*_ends(kind, value or before), "", "")[:2]
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
    return (row["id"],) if kind == MEMBER else _ends(kind, text)


def people_of(rows: Iterable[Row], head: Head) -> People:
    """Everything but ``state``. A name without records is left out. Raises one of ``DAMAGED`` for damaged
    rows."""
    members: dict[str, Membership] = {}
    others: defaultdict[str, list[Any]] = defaultdict(list)
    for row in rows:
        kind, value = row["camera"], value_of(row["camera"], head.text(row))
        if isinstance(value, Membership):
            members[row["id"]] = value
        elif value is not None:
            others[kind].append(value)
    return People(
        members,
        held_names(members, dict(others[NAME])),
        tuple(sorted(others[CORRECTION], key=lambda one: one.number)),
        head.last_person,
        head.last_correction,
        tuple(sorted(others[UNDONE], key=lambda one: (one.correction.number, one.key))),
        dict(others[WAITING]),
        {(first, second): seconds for first, second, seconds in others[LEAST]},
        next(iter(others[RATE]), None),
    )


def _ends(kind: str, text: str) -> tuple[str, ...]:
    if text == NOTHING or kind not in (CORRECTION, UNDONE, WAITING):
        return ()
    held = json.loads(text)
    return (held[0],) if kind == WAITING else (held[2], held[3])


def _person(kind: str, text: str) -> float:
    if text == NOTHING or kind not in (MEMBER, NAME):
        return 0.0
    return float(text.split()[0] if kind == MEMBER else json.loads(text)[0])


def _row(identity: str, kind: str, **fields: str | int | float) -> Row:
    empty: Row = {
        "tracklet": "", "source": "", "image": "", "thumbnail": "", "start_time": 0.0, "end_time": 0.0,
        "tags": {"tags": []}, "checksum": 0, "place": 0,
    }  # fmt: skip
    return {"id": identity, "camera": kind, "vector": np.eye(1, WIDTH, dtype=np.float32)[0], **empty, **fields}
