"""Watching a file again: its new tracklets replace those of the earlier watch, and no others."""

import warnings

from reid_toolkit.errors import AuditError, UnavailableError
from reid_toolkit.footage.frames import Recording, stamp_of
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.types import Selection
from reid_toolkit.live.enrolling import Account
from reid_toolkit.live.follower import View
from reid_toolkit.records import Record


def name_of(recording: Recording, camera: str) -> str:
    """The beginning of the names of a file's tracklets. It contains a digest of the file's bytes, because another
    recording may be at the same path later. Reads the whole file."""
    name = recording.name if camera == recording.name else f"{camera}-{recording.name}"
    return f"{name}-{recording.fingerprint[:8]}"


def earlier_records(gallery: GalleryStore, view: View) -> dict[str, Record]:
    """The records that an earlier watch of the same recording has enrolled, by tracklet. They hold only their keys.

    Warns (RuntimeWarning) if the gallery has tracklets of another recording from the same path.
    """
    found = {
        record.tracklet: Record(record.tracklet, record.camera, source=record.source)
        for record in gallery.listed(Selection(camera=view.camera, source=view.source))
        if record.source == view.source  # a Selection also finds sources below a folder of this name
    }
    own = {tracklet: record for tracklet, record in found.items() if tracklet.rpartition("-")[0] == view.name}
    if others := len(found) - len(own):
        warnings.warn(
            f"{view.source}: is not the same recording as before: the {others} tracklets that were enrolled from the "
            "earlier recording stay in the gallery",
            RuntimeWarning,
            stacklevel=3,
        )
    return own


def discard_earlier(gallery: GalleryStore, recording: Recording, account: Account) -> None:
    """Delete the records of an earlier watch that this watch, which came to the end, did not enroll again.

    Nothing is deleted if this watch was incomplete: it saw no frame, lost tracklets, or the file changed meanwhile.
    """
    earlier, tally = account.earlier, account.tally
    if not earlier or not tally.frames or tally.lost or stamp_of(recording.files) != recording.stamp:
        return
    try:
        tally.replaced = gallery.delete_records(list(earlier.values()))
    except (UnavailableError, AuditError) as error:
        warnings.warn(
            f"{len(earlier)} tracklets of an earlier watch of this file were not deleted: {error}",
            RuntimeWarning,
            stacklevel=3,
        )
