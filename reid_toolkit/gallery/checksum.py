"""Checksums, which tell a damaged record or file from a whole one before anything believes it."""

import struct
import zlib
from pathlib import Path

BLOCK = 1 << 24
"""Bytes of a file in memory at once."""

Fields = tuple[int, str, str, str, float | None, float | None, str, str, bytes, bytes]
"""(id, tracklet, camera, source, start, end, image, tags as JSON, thumbnail, descriptor) as the file holds them."""


def row_checksum(fields: Fields) -> int:
    """CRC-32 of a record. Its id is part of it, so that a record is not taken for another one."""
    number, tracklet, camera, source, start, end, image, tags, thumbnail, vector = fields
    nan = float("nan")
    head = struct.pack("<qdd", number, nan if start is None else start, nan if end is None else end)
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
