"""Convert records to rows of a Milvus collection, and back."""

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
"""Bytes of UTF-8 that Milvus stores in a text. A thumbnail is stored as base64, so it may have 49,149 bytes."""
LONGEST_TAGS = 60_000
"""Bytes of all tags of a record together. Milvus stores up to 65,536 bytes of JSON."""
SCALARS = ("id", *TEXTS, "start_time", "end_time", "tags")
"""All fields except the descriptor, the checksum and the place in the order of enrolment."""
ALL = (*SCALARS, "vector", "checksum", "place")


def encode(vectors: NDArray[np.float32], records: Sequence[Record], place: int) -> list[Row]:
    """The rows of records and their descriptors (N, D). Of equal keys, the last is used. The first row gets ``place``,
    and the others follow.

    Raises :class:`InputError` for text that is too long for Milvus, or not valid Unicode.
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
        # Not all versions of Milvus have NULL, so a record without times gets a start after its end.
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
            f"tracklet {record.tracklet[:40]!r}: its {name} takes {size} bytes: expected at most {longest}, the limit "
            "of Milvus"
        )


def record_of(row: Row) -> Record:
    """The record of a row, which must have all ``SCALARS``."""
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
    """The descriptors of rows, (N, D) float32."""
    return np.array([row["vector"] for row in rows], np.float32)


def is_whole(row: Row) -> bool:
    """Whether a row with all fields matches its checksum."""
    vector = np.asarray(row["vector"], np.float32)
    return bool(content_digest(record_of(row), vector) == row["checksum"])
