"""A search in a gallery in a folder: it searches rows in memory that match the database, which gives the records."""

import time
from collections.abc import Callable, Collection, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import AuditError, GalleryError, InputError
from reid_toolkit.gallery.local import audit
from reid_toolkit.gallery.local.record_table import ExpiryCutoff, RecordTable, key_of
from reid_toolkit.gallery.local.search import Locks, Searcher
from reid_toolkit.gallery.types import Filter
from reid_toolkit.records import Match

Find = Callable[[Collection[int], ExpiryCutoff | None], Sequence["Numbers"]]
"""Searches without the records of these ids, and without records past the retention."""
Numbers = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Ids and distances, nearest first."""


def answer(
    store: RecordTable,
    lock: Lock,
    searcher: Searcher,
    queries: NDArray[np.float32],
    where: Filter,
    find: Find,
    *,
    by_index: bool,
) -> tuple[list[list[tuple[int, Match]]], bool]:
    """For each of ``queries`` (B, D), the matches that ``find`` finds, each with its record's id; and whether the audit
    log is on.

    by_index: whether ``find`` can use an index. Searches that cannot are no reason to read it, which takes seconds.

    ``find`` is called with the ids to leave out and the cutoff of the retention. It is called again if a record that it
    found was deleted meanwhile or is damaged. Raises :class:`GalleryError` if there is nothing to search, and
    :class:`InputError` for queries of another width.
    """
    while True:
        with lock, store.reading():
            version, retention, audited = store.state()
            searcher.sync(store, version, len(queries) if by_index else 0)
            without = store.ids_of(map(key_of, where.exclude)).values()
            past = None if retention is None else store.past(time.time() - retention)
        held, dimension = searcher.size
        if not held:
            raise GalleryError(f"{store.folder}: {searcher.why_nothing()}")
        if queries.shape[1] != dimension:
            raise InputError(f"query has width {queries.shape[1]}: expected {dimension}, the width of this gallery")
        found = find(without, past)
        ids = {number for numbers, _ in found for number in numbers.tolist()}
        with lock, store.reading():
            records = store.records(ids)
            unchanged = len(records) < len(ids) and store.version() == version
        if len(records) == len(ids):
            answers = [
                [
                    (number, Match(rank, distance, records[number]))
                    for rank, (number, distance) in enumerate(
                        zip(numbers.tolist(), distances.tolist(), strict=True), start=1
                    )
                ]
                for numbers, distances in found
            ]
            return answers, audited
        # Some records were deleted or damaged since the rows were read, so search again for others.
        if unchanged:
            searcher.exclude_records(ids - records.keys())


def log(writer: RecordTable, locks: Locks, events: Sequence[audit.Event]) -> bool:
    """Write events into the audit log, if it is on. False if it is off.

    Raises :class:`AuditError` if that fails, so that the caller gives out nothing that is not logged.
    """
    try:
        with locks.writer:
            with writer.reading():
                on = writer.audit_head().on
            if on:
                with writer.writing():
                    writer.log(*events)
            return on
    except GalleryError as error:
        raise AuditError(f"not answered, because the audit log could not be written: {error}") from error
