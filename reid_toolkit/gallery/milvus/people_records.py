"""Reads parts of a gallery in Milvus for grouping: digests, all descriptors, and chosen records."""

from collections.abc import Iterator, Sequence

import numpy as np

from reid_toolkit.gallery.milvus.collection import IDS, NARROW, Collection
from reid_toolkit.gallery.milvus.filters import expression
from reid_toolkit.gallery.milvus.rows import ALL, is_whole, record_of, vectors_of
from reid_toolkit.gallery.people_table import Descriptors
from reid_toolkit.gallery.types import Batch, Filter

DIGEST = "S64"


class MilvusParts:
    """Reads parts of the gallery in the collection ``main``, which exists and is loaded.

    Records in Milvus have no numbers. They get numbers from 0 here, in the order of their digests, when
    :meth:`digests` is read. The other methods know only these numbers.
    """

    def __init__(self, main: Collection) -> None:
        self._main = main
        self._ids = np.empty(0, DIGEST)

    def digests(self, since: float | None) -> Iterator[tuple[int, str]]:
        """Number and digest of each record that was not last seen, or enrolled, before the Unix time ``since``."""
        expr = "" if since is None else expression(Filter(), since)
        found = (self._main.page(part, ["id"]) for part in self._main.parts(NARROW, expr))
        ids = sorted(row["id"] for rows in found for row in rows)
        self._ids = np.array(ids, DIGEST)
        yield from enumerate(ids)

    def descriptors(self) -> Iterator[Descriptors]:
        """All descriptors, a part at a time. Checksums are not compared."""
        for rows in self._main.pages(("id", "camera", "vector")) if len(self._ids) else ():
            keys = np.array([row["id"] for row in rows], DIGEST)
            places = np.minimum(np.searchsorted(self._ids, keys), len(self._ids) - 1)
            known = np.flatnonzero(self._ids[places] == keys)
            if len(known):
                held = [rows[at] for at in known.tolist()]
                yield Descriptors(places[known].tolist(), [row["camera"] for row in held], vectors_of(held))

    def chosen(self, numbers: Sequence[int]) -> Iterator[tuple[list[int], Batch]]:
        """The records of these numbers with their descriptors, in parts, ascending. Damaged records are left out."""
        ordered = sorted(numbers)
        for at in range(0, len(ordered), IDS):
            part = ordered[at : at + IDS]
            ids = [digest.decode() for digest in self._ids[part].tolist()]
            rows = {row["id"]: row for row in self._main.look_up(ids, ALL) if is_whole(row)}
            found = [(number, rows[digest]) for number, digest in zip(part, ids, strict=True) if digest in rows]
            if found:
                held = [row for _, row in found]
                yield [number for number, _ in found], ([record_of(row) for row in held], vectors_of(held))
