"""Delete records of a gallery in a folder, with a line in its audit log. All is quick, and says how many there were."""

from collections.abc import Sequence

from reid_toolkit.gallery.local import audit
from reid_toolkit.gallery.local.record_table import RecordTable, key_of
from reid_toolkit.gallery.local.search import Locks
from reid_toolkit.gallery.types import Selection
from reid_toolkit.records import Record


def delete(writer: RecordTable, locks: Locks, which: Selection, *, for_good: bool = True) -> int:
    """Delete the records that match. ``for_good``: their bytes must leave all files; note that this is to be done."""
    with locks.writer:
        with writer.writing():
            gone = writer.delete(which, for_good=for_good)
            writer.log(audit.deletion(which, gone))
        if not for_good:
            writer.empty_log()
    return gone


def remove(writer: RecordTable, locks: Locks, records: Sequence[Record], *, for_good: bool = True) -> int:
    """Delete the records that have the tracklet, camera and source of one of these. ``for_good``: as above."""
    with locks.writer:
        with writer.writing():
            gone = writer.remove(map(key_of, records), for_good=for_good)
            writer.log(audit.removal(records, gone))
        if not for_good:
            writer.empty_log()
    return gone
