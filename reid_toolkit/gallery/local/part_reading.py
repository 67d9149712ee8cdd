"""Reads parts of a gallery in a folder: keys without descriptors, descriptors without pictures, and chosen records.

All functions work within ``reading()`` of the table.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.local.record_table import (
    ASKED_ROWS,
    FIELDS,
    READ_ROWS,
    RecordTable,
    is_whole,
    record_of,
    vectors_of,
)
from reid_toolkit.gallery.people_table import Descriptors
from reid_toolkit.gallery.types import DATED_FROM, Batch
from reid_toolkit.records import Record


def digests(table: RecordTable, since: float | None) -> Iterator[tuple[int, str]]:
    """Number and digest of each record that was not last seen, or enrolled, before the Unix time ``since``. Reads
    indexes only."""
    first, gone = 0, set()
    if since is not None:
        query = "SELECT id FROM record WHERE end_time >= ? AND end_time < ?"
        gone = {row[0] for row in table.connection.execute(query, (DATED_FROM, since))}
        first = table.past(since).first_id
    rows = table.connection.execute("SELECT id, source, tracklet, camera FROM record INDEXED BY record_key")
    for number, source, tracklet, camera in rows:
        if number >= first and number not in gone:
            yield number, key_digest(Record(tracklet, camera, source=source))


def descriptors(table: RecordTable) -> Iterator[Descriptors]:
    """All descriptors, a part at a time. Checksums are not compared, so a damaged descriptor may be among them."""
    dimension, last = table.number("dimension"), table.number("last_id")
    query = "SELECT id, camera, vector FROM record WHERE id BETWEEN ? AND ? AND length(vector) = ?"
    for low in range(1, last + 1, READ_ROWS):
        rows = table.connection.execute(query, (low, low + READ_ROWS - 1, 2 * dimension)).fetchall()
        if rows:
            numbers, cameras, parts = zip(*rows, strict=True)
            halves = np.frombuffer(b"".join(parts), np.float16).reshape(len(rows), dimension)
            yield Descriptors(list(numbers), list(cameras), halves.astype(np.float32))


def chosen(table: RecordTable, numbers: Sequence[int]) -> Iterator[tuple[list[int], Batch]]:
    """The records of these numbers with their descriptors, in parts, ascending. Damaged records are left out."""
    ordered = sorted(numbers)
    dimension = table.number("dimension")
    for at in range(0, len(ordered), ASKED_ROWS):
        part = ordered[at : at + ASKED_ROWS]
        query = f"SELECT {FIELDS}, checksum FROM record WHERE id IN ({', '.join('?' * len(part))}) ORDER BY id"
        rows = [row for row in table.connection.execute(query, part) if is_whole(row) and len(row[9]) == 2 * dimension]
        if rows:
            vectors = vectors_of(rows, dimension).astype(np.float32)
            yield [row[0] for row in rows], ([record_of(row[:10]) for row in rows], vectors)
