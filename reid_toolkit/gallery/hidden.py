"""Records past the retention: they are still stored, but nobody may see them."""

from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.gallery.types import Selection
from reid_toolkit.records import Record


def hidden_of(store: GalleryStore, kept: float | None, now: float) -> dict[str, Record]:
    """The records that are past a retention of ``kept`` seconds at the Unix time ``now``; None for no retention.

    By the digest of the key; the records have nothing but their keys. Records without a date are among them if they
    were enrolled before.
    """
    if kept is None:
        return {}
    return {key_digest(key): key for key in store.keys(Selection(before=now - kept))}
