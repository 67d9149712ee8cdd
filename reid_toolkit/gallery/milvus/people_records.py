"""Reads the records of a gallery in Milvus for grouping: their digests, all descriptors, and chosen records.

Records of a folder have numbers, which grouping uses. Here they get numbers for as long as the gallery is open.
"""

import threading
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.gallery.milvus.collection import IDS, NARROW, Collection
from reid_toolkit.gallery.milvus.rows import ALL, is_whole, record_of, vectors_of
from reid_toolkit.gallery.people_table import Descriptors
from reid_toolkit.gallery.types import DATED_FROM, Batch

DIGEST = "S64"
UNKNOWN = -1


class Numbers:
    """Numbers of records, from 0. A record keeps its number. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The digests by number, and the numbers in the order of the digests. Replaced together.
        self._known = np.empty(0, DIGEST), np.empty(0, np.int64)

    def add(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The numbers (N,) of records, new ones for those that have none. ``ids`` are digests, each once."""
        with self._lock:
            found, known = self.of(ids), self._known[0]
            new = found == UNKNOWN
            found[new] = np.arange(len(known), len(known) + new.sum())
            known = np.concatenate([known, np.array(ids, DIGEST)[new]])
            self._known = known, np.argsort(known)
            return found

    def of(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The numbers (N,) of records, UNKNOWN for those that have none."""
        (known, order), keys = self._known, np.array(ids, DIGEST)
        if not len(known):
            return np.full(len(keys), UNKNOWN, np.int64)
        found = order[np.minimum(np.searchsorted(known, keys, sorter=order), len(order) - 1)]
        return np.where(known[found] == keys, found, UNKNOWN)

    def ids(self, numbers: Sequence[int]) -> list[str]:
        """The digests of records by their numbers."""
        return [str(digest.decode()) for digest in self._known[0][np.array(numbers, np.int64)]]


def digests(main: Collection, numbers: Numbers, since: float | None) -> Iterator[tuple[int, str]]:
    """Number and digest of each record that was not last seen before the Unix time ``since``."""
    expr = "" if since is None else f"end_time < {DATED_FROM!r} or end_time >= {since!r}"
    ids = [row["id"] for part in main.parts(NARROW, expr) for row in main.page(part, ["id"])]
    yield from zip(numbers.add(ids).tolist(), ids, strict=True)


def descriptors(main: Collection, numbers: Numbers) -> Iterator[Descriptors]:
    """The descriptors of all records that have numbers, a part at a time. Checksums are not compared."""
    for rows in main.pages(("id", "camera", "vector")):
        found = numbers.of([row["id"] for row in rows]).tolist()
        known = [(number, row) for number, row in zip(found, rows, strict=True) if number != UNKNOWN]
        if known:
            held = [row for _, row in known]
            yield Descriptors([number for number, _ in known], [row["camera"] for row in held], vectors_of(held))


def chosen(main: Collection, numbers: Numbers, wanted: Sequence[int]) -> Iterator[tuple[list[int], Batch]]:
    """The records of these numbers with their descriptors, in parts, ascending. Damaged records are left out."""
    ordered = sorted(wanted)
    for at in range(0, len(ordered), IDS):
        part = ordered[at : at + IDS]
        ids = numbers.ids(part)
        rows = {row["id"]: row for row in main.look_up(ids, ALL) if is_whole(row)}
        found = [(number, rows[digest]) for number, digest in zip(part, ids, strict=True) if digest in rows]
        if found:
            held = [row for _, row in found]
            yield [number for number, _ in found], ([record_of(row) for row in held], vectors_of(held))
