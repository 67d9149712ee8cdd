"""Report what a gallery in a folder holds, and what is damaged, record by record and file by file."""

import time
from typing import Any

from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery.local import audit, index_files
from reid_toolkit.gallery.local.database import UNREADABLE
from reid_toolkit.gallery.local.record_table import Damage, Key, RecordTable
from reid_toolkit.gallery.local.search import manifest_of
from reid_toolkit.gallery.statistics import about_statistics
from reid_toolkit.gallery.types import Damaged, Info, OnProgress, Report, Selection


def info_of(store: RecordTable, version: int) -> Info:
    """What the gallery holds. Within ``store.reading()``. Reads the indexes of the file, not the descriptors.

    version: the version of the camera statistics that searches use.
    """
    index = manifest_of(store)
    first, last = store.span()
    retention, head = store.retention(), store.audit_head()
    return Info(
        path=str(store.folder),
        count=store.count(),
        dimension=store.number("dimension") or None,
        model=store.meta("model"),
        model_file=store.meta("model_file"),
        cameras=store.tally("camera"),
        sources=store.tally("source"),
        tags=store.tally_tags(),
        first=first,
        last=last,
        bytes=sum(file.stat().st_size for file in store.folder.iterdir() if file.is_file()),
        index=index.index if index else None,
        retention=retention,
        past=store.matching(Selection(before=time.time() - retention)) if retention else 0,
        audit={"on": head.on, "lines": head.lines, "last": head.digest} if head.lines else None,
        statistics=_statistics_info(store, version),
    )


def _statistics_info(store: RecordTable, version: int) -> dict[str, Any] | None:
    """None if the statistics are damaged, so that the rest can be given. :func:`report_on` reports the damage."""
    try:
        return about_statistics(store.statistics(version), store.number("statistics"))
    except GalleryError:
        return None


def leftover(store: RecordTable) -> bool:
    """Whether a file may hold bytes of deleted rows. Within ``store.reading()``."""
    if store.erasure_is_due():
        return True
    about = manifest_of(store)
    return index_files.holds_deleted(store.folder, about, store.number("removed"))


def report_on(store: RecordTable, on_progress: OnProgress | None = None) -> Report:
    """Read all records and files, and report damage. Within ``store.reading()``."""
    count = store.count()
    whole = 0
    damage: Damage = {}
    for rows in store.scan(0, 2 * store.number("dimension"), damage):
        whole += len(rows)
        if on_progress:
            on_progress(whole + len(damage), count)
    keys = _keys(store) if damage else {}
    damaged = tuple(Damaged(number, why, *keys.get(number, (None,) * 3)) for number, why in sorted(damage.items()))
    missing = max(0, count - whole - len(damage))
    log = tuple(audit.faults(store.folder, store.audit_head()))
    pages, statistics = tuple(store.integrity()), _statistics_state(store)
    return Report(count, whole, damaged, missing, pages, _index_state(store), log, statistics)


def _statistics_state(store: RecordTable) -> str:
    try:
        return "none" if store.statistics(store.number("statistics")) is None else "whole"
    except (GalleryError, *UNREADABLE):
        return "damaged"


def _keys(store: RecordTable) -> dict[int, Key]:
    try:
        return store.keys()
    except UNREADABLE:
        return {}


def _index_state(store: RecordTable) -> str:
    about = index_files.read_manifest(store.folder)
    if about is None:
        return "damaged" if (store.folder / index_files.MANIFEST).exists() else "none"
    if about != manifest_of(store):
        return "stale"
    return "whole" if index_files.whole(store.folder, about) else "damaged"
