"""Uploaded pictures: their size is read from the header, before anything is decoded."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from reid_toolkit.images import Image, decode
from reid_toolkit.service.errors import Refusal
from reid_toolkit.service.settings import Limits

KINDS = "JPEG, PNG, BMP or WebP"
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG's markers that begin a frame, and say its size."""
ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""JPEG's markers without a length."""


class Upload(NamedTuple):
    """A picture as it was sent."""

    name: str
    """The file's name, for messages, documents and the audit log. Never used as a path."""
    content: bytes


def decoded(uploads: Sequence[Upload], limits: Limits) -> list[Image]:
    """The pictures, (H, W, 3) uint8 BGR. Raises :class:`Refusal` for a picture that is too large or is none, before
    the first is decoded."""
    pixels = 0
    for upload in uploads:
        size = size_of(upload.content)
        if size is None:
            got = f"{len(upload.content)} bytes of something else" if upload.content else "an empty file"
            raise Refusal(415, f"{upload.name}: not a picture: expected {KINDS}, got {got}")
        width, height = size
        pixels += width * height
        if pixels > limits.pixels:
            raise Refusal(
                413,
                f"{upload.name}: too many pixels: expected at most {limits.pixels:,} in all pictures of a request, got "
                f"{width} x {height} in this picture: send the crop of the person",
            )
        if not width or not height:
            raise Refusal(415, f"{upload.name}: not a picture: it has {width} x {height} pixels")
    images = []
    for upload in uploads:
        image = decode(upload.content)
        if image is None:
            raise Refusal(415, f"{upload.name}: a damaged picture: no decoder can read it")
        images.append(image)
    return images


def size_of(content: bytes) -> tuple[int, int] | None:
    """Width and height that a picture's header gives. None if it is no JPEG, PNG, BMP or WebP, or a damaged one."""
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n") and content[12:16] == b"IHDR":
            return struct.unpack(">II", content[16:24])
        if content.startswith(b"\xff\xd8\xff"):
            return _jpeg(content)
        if content.startswith(b"BM"):
            return _bmp(content)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp(content)
    except (struct.error, IndexError):
        pass
    return None


def _jpeg(content: bytes) -> tuple[int, int] | None:
    """The largest of all frames before the picture's data."""
    at, found = 2, None
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            return found
        marker = content[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker in ALONE:
            at += 2
            continue
        if marker in (0xDA, 0xD9):
            return found
        (length,) = struct.unpack(">H", content[at + 2 : at + 4])
        if marker in FRAMES:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            found = max(found or (0, 0), (width, height), key=lambda size: size[0] * size[1])
        at += 2 + length
    return found


def _bmp(content: bytes) -> tuple[int, int]:
    (header,) = struct.unpack("<I", content[14:18])
    if header == 12:
        return struct.unpack("<HH", content[18:22])
    width, height = struct.unpack("<ii", content[18:26])
    return abs(width), abs(height)


def _webp(content: bytes) -> tuple[int, int] | None:
    """The largest of the canvas and all pictures on it."""
    at, found = 12, None
    while at + 8 <= len(content):
        kind, length = content[at : at + 4], struct.unpack("<I", content[at + 4 : at + 8])[0]
        data = content[at + 8 : at + 8 + min(length, 16)]
        size = None
        if kind == b"VP8X":
            size = 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")
        elif kind == b"VP8L":
            bits = int.from_bytes(data[1:5], "little")
            size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif kind == b"VP8 ":
            width, height = struct.unpack("<HH", data[6:10])
            size = width & 0x3FFF, height & 0x3FFF
        if size:
            found = max(found or (0, 0), size, key=lambda one: one[0] * one[1])
        at += 8 + length + length % 2
    return found
