"""Stores decoded crops that do not fit into memory in one mapped file. A resumed run uses the file again.

    pixels (N, height, width, 3) uint8  |  SHA-256 of each crop's pixels, N x 32 bytes  |  key, 32 bytes

A digest of zeros marks a crop that could not be read. The key depends on the decoded files and on how they were
decoded.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import RunError
from reid_toolkit.files import atomic_path
from reid_toolkit.records import Crop

UNREADABLE = bytes(32)

Shape: TypeAlias = tuple[int, int, int, int]
"""Crops, height, width, 3."""

Decode: TypeAlias = Callable[[Callable[[NDArray[np.uint8]], object]], list[bytes]]
"""Passes all crops in order, several at a time, to the function it is given; returns each crop's digest."""


def file_key(crops: Sequence[Crop], height: int, width: int) -> bytes:
    """Return 32 bytes that change if a crop's file (path, size, time) or its decoding (size, OpenCV) changes."""
    digest = hashlib.sha256(f"{height} {width} {cv2.__version__}".encode())
    for crop in crops:
        try:
            status = crop.path.stat()
            state = (status.st_size, status.st_mtime_ns)
        except OSError:
            state = (-1, -1)
        digest.update(f"\0{crop.path}\0{state}".encode(errors="surrogateescape"))
    return digest.digest()


def open_crop_file(
    path: Path, key: bytes, shape: Shape, *, lacking: bool = False
) -> tuple[NDArray[np.uint8], list[bytes]] | None:
    """Return mapped pixels and each crop's digest; None if there is no file with this key. A file that lacks crops is
    used only if ``lacking`` allows it, because the crops may be readable by now."""
    pixels = int(np.prod(shape))
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size != pixels + 32 * shape[0] + 32:
                return None
            file.seek(pixels)
            tail = file.read()
            if tail[-32:] != key:
                return None
            digests = [tail[i : i + 32] for i in range(0, len(tail) - 32, 32)]
            return None if UNREADABLE in digests and not lacking else (map_pixels(file, shape), digests)
    except OSError:
        return None


def write_crop_file(
    path: Path | None, key: bytes, shape: Shape, decode: Decode
) -> tuple[NDArray[np.uint8], list[bytes]]:
    """Decode into the file, completely or not at all. Returns mapped pixels and digests.

    Without a path it is a temporary file of the system, which disappears with the process. Raises :class:`RunError` if
    the crops do not fit on the disk.
    """
    size = int(np.prod(shape)) + 32 * shape[0] + 32
    try:
        with destination(path) as file:
            free = shutil.disk_usage(folder(path)).free
            if free < size:
                raise OSError(None, f"{free / 1e9:.1f} GB are free")
            digests = decode(lambda pixels: file.write(pixels.tobytes()))
            file.write(b"".join(digests) + key)
            file.flush()
            return map_pixels(file, shape), digests
    except OSError as error:
        raise RunError(
            f"{path or folder(path)}: the decoded crops take {size / 1e9:.1f} GB and cannot be stored "
            f"({error.strerror}): free that much, train into an --out that has it, or lower network.height and width"
        ) from None


@contextmanager
def destination(path: Path | None) -> Iterator[BinaryIO]:
    # Written as a file and not through a mapping, where a full disk would end the process with a bus error.
    if path is None:
        with tempfile.TemporaryFile() as file:
            yield file
    else:
        with atomic_path(path) as temporary, open(temporary, "wb+") as file:
            yield file


def folder(path: Path | None) -> str:
    return tempfile.gettempdir() if path is None else str(path.parent)


def map_pixels(file: BinaryIO, shape: Shape) -> NDArray[np.uint8]:
    """Map the file. The mapping survives closing, renaming and removal. Copy on write, because torch accepts no
    read-only memory."""
    return np.memmap(file, np.uint8, "c", shape=shape)


def remove_crop_file(path: Path) -> None:
    """Remove the file, if it exists, and what killed processes left while writing it."""
    for file in (path, *path.parent.glob(f".{path.stem}.*.partial{path.suffix}")):
        file.unlink(missing_ok=True)
