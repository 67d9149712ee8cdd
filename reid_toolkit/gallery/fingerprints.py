"""Digests of a record that are the same in every gallery: of what makes it the same record, and of all it holds."""

import hashlib
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.records import Record

NAN = float("nan")


def key_digest(record: Record) -> str:
    """SHA-256, as hex, of source, tracklet and camera, which make a record the same record.

    Raises :class:`InputError` for text that is not valid Unicode.
    """
    return hashlib.sha256(_joined((record.source, record.tracklet, record.camera))).hexdigest()


def content_digest(record: Record, vector: NDArray[np.float32]) -> int:
    """BLAKE2b of everything that is kept of a record and its descriptor (D,), as an int of 64 bits with a sign."""
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
    # With their lengths, so that no two lists run together to the same bytes.
    return b"".join(struct.pack("<Q", len(word)) + word for word in encoded)
