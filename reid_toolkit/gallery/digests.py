"""Checksums, which detect damaged records and files, and digests of records, which are equal in every gallery."""

import hashlib
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.records import Record

NAN = float("nan")
BLOCK = 1 << 24
"""Bytes of a file that are read at a time."""

Fields = tuple[int, str, str, str, float | None, float | None, str, str, bytes, bytes]
"""(id, tracklet, camera, source, start, end, image, tags as JSON, thumbnail, descriptor) as stored in the file."""


def row_checksum(fields: Fields) -> int:
    """CRC-32 of a record. Its id is part of it, so that a record is not taken for another one."""
    number, tracklet, camera, source, start, end, image, tags, thumbnail, vector = fields
    head = struct.pack("<qdd", number, NAN if start is None else start, NAN if end is None else end)
    words = "\0".join((tracklet, camera, source, image, tags)).encode()
    return zlib.crc32(vector, zlib.crc32(thumbnail, zlib.crc32(words, zlib.crc32(head))))


def file_checksum(path: Path) -> int:
    """CRC-32 of all bytes of ``path``."""
    checksum = 0
    with open(path, "rb") as handle:
        while block := handle.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


def text_checksum(text: str) -> int:
    """CRC-32 of ``text`` as UTF-8."""
    return zlib.crc32(text.encode())


def key_digest(record: Record) -> str:
    """SHA-256, as hex, of source, tracklet and camera. Records with the same key replace each other.

    Raises :class:`InputError` for text that is not valid Unicode.
    """
    return hashlib.sha256(_joined((record.source, record.tracklet, record.camera))).hexdigest()


def content_digest(record: Record, vector: NDArray[np.float32]) -> int:
    """BLAKE2b of everything that is stored of a record and its descriptor (D,), as a signed 64-bit integer."""
    nothing_known = (NAN, NAN)
    times = nothing_known if record.start is None or record.end is None else (record.start, record.end)
    digest = hashlib.blake2b(struct.pack("<dd", *times), digest_size=8)
    digest.update(_joined((record.source, record.tracklet, record.camera, record.image, *record.tags)))
    digest.update(struct.pack("<Q", len(record.thumbnail)) + record.thumbnail + vector.astype("<f4").tobytes())
    return int.from_bytes(digest.digest(), "little", signed=True)


def _joined(words: Sequence[str]) -> bytes:
    try:
        encoded = [word.encode() for word in words]
    except UnicodeEncodeError as error:
        raise InputError(f"a record holds text that is not valid Unicode: {error.object!r}") from None
    # The lengths are included, so that two different lists never give the same bytes.
    return b"".join(struct.pack("<Q", len(word)) + word for word in encoded)
