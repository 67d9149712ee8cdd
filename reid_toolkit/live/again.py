"""A file that is watched again: what comes now takes the place of what came before, and of nothing else."""

import warnings

from reid_toolkit.errors import AuditError, UnavailableError
from reid_toolkit.footage.frames import Recording, stamp_of
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.types import Selection
from reid_toolkit.live.enrolling import Tally
from reid_toolkit.live.follower import View
from reid_toolkit.records import Record


def name_of(recording: Recording, camera: str) -> str:
    """What tracklets of a file are called by: its bytes count, as another recording may lie at its path one day. Reads
    all of it."""
    name = recording.name if camera == recording.name else f"{camera}-{recording.name}"
    return f"{name}-{recording.fingerprint[:8]}"


def earlier_records(gallery: GalleryStore, view: View) -> dict[str, Record]:
    """What an earlier watch of the same recording has left, by tracklet; the records hold no more than tells them.

    Warns (RuntimeWarning) where the gallery has tracklets of another recording from the same path.
    """
    found = {
        record.tracklet: Record(record.tracklet, record.camera, source=record.source)
        for record in gallery.listed(Selection(camera=view.camera, source=view.source))
        if record.source == view.source  # and not in a folder of this name
    }
    own = {tracklet: record for tracklet, record in found.items() if tracklet.rpartition("-")[0] == view.name}
    if others := len(found) - len(own):
        warnings.warn(
            f"{view.source}: another recording than before: what was enrolled of that one stays ({others} tracklets)",
            RuntimeWarning,
            stacklevel=3,
        )
    return own


def discard_earlier(gallery: GalleryStore, recording: Recording, earlier: dict[str, Record], tally: Tally) -> None:
    """Delete what an earlier watch left and this one, which came to the end, did not bring again.

    Not where this one is no match for it: it saw no frame, lost somebody, or the file changed meanwhile.
    """
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
