"""What grouping reads of a gallery: all records, or new records and those that are near to them."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.hidden import hidden_of
from reid_toolkit.gallery.people_table import NOBODY, Parts, People
from reid_toolkit.gallery.types import Batch, OnProgress
from reid_toolkit.people.reach import Farthest, Reach, estimate_reach, some_groups
from reid_toolkit.records import Record

READ_ALL_BELOW = 50_000
"""Smaller galleries are read as a whole."""
MOST_NEW = 0.1
"""If more of the records have to be grouped, all records are read."""
NEAREST = 10
"""New records are compared with the people of so many nearest records."""
TRIM = 4_000_000
"""Near pairs that are kept in memory while more are searched for."""


@dataclass(frozen=True)
class Held:
    """Visible records of a gallery, and what they are compared with."""

    records: list[Record]
    vectors: NDArray[np.float32]
    """(N, D), unit rows, without their cameras' bias."""
    digests: list[str]
    near: frozenset[int] | None = None
    """The people whom records that have to be grouped may show. None if all records are here."""
    reach: Reach | None = None
    """Which records may be neighbours, estimated from a part of the gallery. None if all records are here."""
    others: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 3), np.int64))
    """(M, 3) the memberships of the visible records that have a person and are not here."""

    @classmethod
    def of(cls, store: GalleryStore, on_progress: OnProgress | None = None) -> "Held":
        """Read a gallery. Raises :class:`GalleryError` if it is empty."""
        total = len(store)
        held, done = [], 0
        for part in alike(store, visible(store)):
            held.append(part)
            done += len(part[0])
            if on_progress:
                on_progress(done, total)
        if not done:
            raise GalleryError(f"{store.info().path}: the gallery is empty: enroll people first, with `reid enroll`")
        return cls(*joined(held))

    @classmethod
    def around(
        cls, store: GalleryStore, people: People, again: set[int], farthest: Farthest | None = None
    ) -> "Held | None":
        """Read the records without a person, those of the people ``again``, and those of all people near to them.

        Distances are compared with those of some people, who are read too. None if the whole gallery should be read,
        because it is small or has many new records.
        """
        parts = store.people.parts
        if parts is None or not people.members or len(store) < READ_ALL_BELOW:
            return None
        numbers, levels = memberships(store, parts, people)
        person = levels[:, 0]
        # What a watch has proposed was never grouped, unless a user has named that person.
        proposed = (levels[:, 1] < 0) & ~np.isin(person, sorted(people.names))
        loose = (person == 0) | proposed | np.isin(person, sorted(again))
        if loose.sum() > MOST_NEW * len(numbers):
            return None
        own = Part.read(store, parts, numbers[loose])
        if not len(own.numbers):  # there are none, or they are damaged
            return cls([], np.empty((0, 1), np.float32), [], frozenset(), None, levels[~loose])
        grouped = np.flatnonzero(~loose & ~np.isin(person, sorted(united(people))))
        if not len(grouped):
            return None
        typical = numbers[grouped][some_groups(levels[grouped, 1])]
        known = Part.read(store, parts, typical)
        strict = levels[np.searchsorted(numbers, known.numbers), 1]
        reach = estimate_reach(known.vectors, [one.camera for one in known.records], farthest, strict)
        settled = numbers[~loose]
        close = people_near(store, parts, own, settled, person[~loose], reach.farthest)
        kept = Part.read(store, parts, settled[np.isin(person[~loose], sorted(close))])
        read = joined([(own.records, own.vectors), (kept.records, kept.vectors)])
        others = ~loose & ~np.isin(numbers, kept.numbers)
        return cls(*read, frozenset(close), reach, levels[others])


@dataclass(frozen=True)
class Part:
    """Some records of a gallery."""

    numbers: NDArray[np.int64]
    """(N,) in the gallery, ascending."""
    records: list[Record]
    vectors: NDArray[np.float32]
    """(N, D), without their cameras' bias."""

    @classmethod
    def read(cls, store: GalleryStore, parts: Parts, numbers: NDArray[np.int64]) -> "Part":
        """The undamaged records of these numbers."""
        found = list(parts.chosen(numbers.tolist()))
        there = [number for some, _ in found for number in some]
        return cls(np.array(there, np.int64), *joined(list(alike(store, (batch for _, batch in found))))[:2])


def united(people: People) -> set[int]:
    """The people whom a user has united, so that they may look different."""
    return {
        people.members[digest].person
        for one in people.corrections
        if one.kind == "same"
        for digest in (one.first, one.second)
        if digest in people.members
    }


def kept_since(store: GalleryStore) -> float | None:
    """Records that were last seen before this Unix time are hidden."""
    return None if store.retention is None else time.time() - store.retention


def visible(store: GalleryStore) -> Iterator[Batch]:
    """All records that are not past the retention."""
    hidden = hidden_of(store, store.retention, time.time())
    for batch, vectors in store.records():
        shown = [row for row, record in enumerate(batch) if not hidden or key_digest(record) not in hidden]
        yield [batch[row] for row in shown], vectors[shown]


def alike(store: GalleryStore, batches: Iterable[Batch]) -> Iterator[Batch]:
    """The records of batches, without pictures and without their cameras' bias."""
    statistics = store.statistics()
    for batch, vectors in batches:
        part = [replace(record, thumbnail=b"") for record in batch]  # pictures would take much memory
        cameras = [record.camera for record in part]
        yield part, statistics.apply(vectors, cameras) if statistics and part else vectors


def joined(parts: list[Batch]) -> tuple[list[Record], NDArray[np.float32], list[str]]:
    """The records, descriptors and digests of all parts."""
    records = [record for batch, _ in parts for record in batch]
    vectors = [vectors for _, vectors in parts if len(vectors)] or [np.empty((0, 1), np.float32)]
    return records, np.concatenate(vectors), [key_digest(record) for record in records]


def memberships(store: GalleryStore, parts: Parts, people: People) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of all visible records, (N,), ascending, and their memberships (N, 3), 0 for none."""
    members = people.members
    found = [(number, *members.get(digest, NOBODY)) for number, digest in parts.digests(kept_since(store))]
    table = np.array(found, np.int64).reshape(-1, 4)
    table = table[np.argsort(table[:, 0])]
    return table[:, 0], table[:, 1:]


def people_near(
    store: GalleryStore,
    parts: Parts,
    own: Part,
    settled: NDArray[np.int64],
    person: NDArray[np.int64],
    farthest: Farthest,
) -> set[int]:
    """The people of the records ``settled`` (M,) that are within reach of any of ``own``, and among its NEAREST.

    Reads all descriptors, a part at a time, because this takes less memory than an index.
    """
    names, kind = np.unique([record.camera for record in own.records], return_inverse=True)
    statistics = store.statistics()
    row, number = np.empty(0, np.int64), np.empty(0, np.int64)
    distance = np.empty(0, np.float32)
    for numbers, cameras, vectors in parts.descriptors():
        shown = np.flatnonzero(np.isin(numbers, settled, assume_unique=True))
        if not len(shown):
            continue
        here = [cameras[place] for place in shown.tolist()]
        there = statistics.apply(vectors[shown], here) if statistics else vectors[shown]
        known, place = np.unique(here, return_inverse=True)
        limits = np.array([[farthest(a or None, b or None) for b in known.tolist()] for a in names.tolist()])
        products = own.vectors @ there.T
        one, other = np.nonzero(products >= 1 - limits.max() ** 2 / 2)
        apart = np.sqrt(np.maximum(2 - 2 * products[one, other], 0))
        within = apart <= limits[kind[one], place[other]]
        row = np.concatenate([row, one[within]])
        distance = np.concatenate([distance, apart[within]])
        number = np.concatenate([number, np.array(numbers)[shown][other[within]]])
        if len(row) > TRIM:
            row, distance, number = nearest_of(row, distance, number)
    _, _, number = nearest_of(row, distance, number)
    return set(person[np.searchsorted(settled, number)].tolist())


def nearest_of(row: NDArray[np.int64], *values: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Of each row, the entries with the NEAREST smallest distances, which are the first of ``values``."""
    order = np.lexsort((values[-1], values[0], row))
    row = row[order]
    first = np.flatnonzero(np.diff(row, prepend=-1))
    place = np.arange(len(row)) - np.repeat(first, np.diff(first, append=len(row)))
    kept = place < NEAREST
    return (row[kept], *(value[order][kept] for value in values))
