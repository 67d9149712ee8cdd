"""A search of the embedded gallery: rows in step with the record are searched, and the record gives the answers."""

from collections.abc import Callable, Collection, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.gallery.criteria import Filter
from reid_toolkit.gallery.searcher import Searcher
from reid_toolkit.gallery.store import Store, key_of
from reid_toolkit.records import Match

Numbers = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Ids, nearest first, and distances."""


def answer(
    store: Store,
    lock: Lock,
    searcher: Searcher,
    queries: NDArray[np.float32],
    where: Filter,
    find: Callable[[Collection[int]], Sequence[Numbers]],
) -> list[list[tuple[int, Match]]]:
    """For each of ``queries`` (B, D), the matches that ``find`` finds, each with its record's id.

    find: called with the ids to leave out; again, when what it found was deleted meanwhile or is damaged.
    Raises :class:`GalleryError` when there is nothing to search, :class:`InputError` for queries of another width.
    """
    while True:
        with lock, store.reading():
            searcher.sync(store, len(queries))
            version = store.version()
            without = store.ids_of(map(key_of, where.exclude)).values()
        if not searcher.held:
            raise GalleryError(f"{store.folder}: {searcher.why_nothing()}")
        if queries.shape[1] != searcher.dimension:
            raise InputError(f"query has width {queries.shape[1]}: expected {searcher.dimension}, as enrolled")
        found = find(without)
        ids = {number for numbers, _ in found for number in numbers.tolist()}
        with lock, store.reading():
            records = store.records(ids)
            unchanged = store.version() == version
        if len(records) == len(ids):
            return [
                [
                    (number, Match(rank, distance, records[number]))
                    for rank, (number, distance) in enumerate(
                        zip(numbers.tolist(), distances.tolist(), strict=True), start=1
                    )
                ]
                for numbers, distances in found
            ]
        # Deleted since we looked, or else damaged since we read them: so there are others to answer with.
        if unchanged:
            searcher.leave_out(ids - records.keys())
