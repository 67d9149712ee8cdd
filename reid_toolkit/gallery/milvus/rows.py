"""Records as rows of a Milvus collection, and back."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.gallery.digests import content_digest, key_digest
from reid_toolkit.gallery.milvus.filters import LARGEST
from reid_toolkit.records import Record

Row = dict[str, Any]

TEXTS = ("tracklet", "camera", "source", "image", "thumbnail")
LONGEST = 65_535
"""Bytes of UTF-8 that Milvus keeps in one text; a thumbnail is kept as base64, so it may have 49,149."""
LONGEST_TAGS = 60_000
"""Bytes of all tags of a record together: Milvus keeps 65,536 as JSON."""
SCALARS = ("id", *TEXTS, "start_time", "end_time", "tags")
"""All but the descriptor, the checksum and the order."""
ALL = (*SCALARS, "vector", "checksum", "place")


def encode(vectors: NDArray[np.float32], records: Sequence[Record], place: int) -> list[Row]:
    """Rows of records and their descriptors (N, D), of equal keys the last. The first is enrolled ``place``-th.

    Raises :class:`InputError` for text that is too long for Milvus, or not Unicode.
    """
    last = {key_digest(record): number for number, record in enumerate(records)}
    return [
        _row(digest, vectors[number], records[number], place + order)
        for order, (digest, number) in enumerate(sorted(last.items(), key=lambda item: item[1]))
    ]


def _row(digest: str, vector: NDArray[np.float32], record: Record, place: int) -> Row:
    row: Row = {
        "id": digest,
        "tracklet": record.tracklet,
        "camera": record.camera,
        "source": record.source,
        "image": record.image,
        "thumbnail": base64.b64encode(record.thumbnail).decode(),
        # Milvus has no NULL that all its versions know: without times, a start after every end.
        "start_time": LARGEST if record.start is None else float(record.start),
        "end_time": -LARGEST if record.end is None else float(record.end),
        "tags": {"tags": list(record.tags)},
        "vector": vector,
        "place": place,
    }
    for name in TEXTS:
        _fits(record, name, row[name], LONGEST)
    _fits(record, "tags", "".join(record.tags), LONGEST_TAGS)
    return {**row, "checksum": content_digest(record, vector)}


def _fits(record: Record, name: str, text: str, longest: int) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InputError(f"a record holds text that is not valid Unicode: {error.object!r}") from None
    if size > longest:
        raise InputError(
            f"tracklet {record.tracklet[:40]!r}: its {name} takes {size} bytes: expected {longest} at most, as Milvus "
            "keeps no more"
        )


def record_of(row: Row) -> Record:
    """The record of a row with all of ``SCALARS``."""
    timed = row["start_time"] <= row["end_time"]
    return Record(
        row["tracklet"],
        row["camera"],
        row["start_time"] if timed else None,
        row["end_time"] if timed else None,
        row["source"],
        row["image"],
        tuple(row["tags"]["tags"]),
        base64.b64decode(row["thumbnail"]),
    )


def vectors_of(rows: Sequence[Row]) -> NDArray[np.float32]:
    """The descriptors of rows, (N, D)."""
    return np.array([row["vector"] for row in rows], np.float32)


def is_whole(row: Row) -> bool:
    """Whether a row with all fields is what was stored."""
    vector = np.asarray(row["vector"], np.float32)
    return bool(content_digest(record_of(row), vector) == row["checksum"])
