"""Camera statistics of a gallery in a folder: fitting them to all records, and storing them as a new version."""

import time
from contextlib import closing

from reid_toolkit.camera_statistics import CameraStatistics
from reid_toolkit.gallery.local.record_table import RecordTable
from reid_toolkit.gallery.local.search import Locks, manifest_of
from reid_toolkit.gallery.statistics import fit_gallery, worth_fitting
from reid_toolkit.gallery.types import OnProgress


def refresh(
    reader: RecordTable, writer: RecordTable, locks: Locks, on_progress: OnProgress | None, *, if_due: bool
) -> bool:
    """See ``Gallery.refresh_statistics``."""
    while True:
        with closing(reader.again()) as store, store.reading():
            seen, now = store.statistics_seen(), store.tally("camera")
            if if_due and not worth_fitting(seen, now):
                return False
            read_at = store.fit_state()
            found = _fit(store, on_progress)
        with locks.writer, writer.writing():
            # Try again if another process has fitted meanwhile, or if bytes were erased: they must not be in a
            # mean.
            if writer.fit_state() != read_at:
                continue
            if found is None and not writer.holds_statistics(read_at[0]):
                writer.set_seen(now)
                return False
            about = manifest_of(writer)
            version = writer.put_statistics(found, now)
            writer.drop_statistics({about.statistics} if about else ())
            writer.log({"action": "camera statistics", "version": version})
        with locks.writer:
            writer.empty_log()  # it may hold the old means, which contain people forgotten since
        return True


def _fit(store: RecordTable, on_progress: OnProgress | None) -> CameraStatistics | None:
    """The camera statistics of all undamaged records. Within ``store.reading()``."""
    dimension, model = store.number("dimension"), store.meta("model")
    if not dimension:
        return None
    return fit_gallery(store.batches, store.count(), dimension, model, time.time(), on_progress)
