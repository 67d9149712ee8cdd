"""What is in a gallery; and what is damaged, record by record and file by file."""

import time
from dataclasses import dataclass
from typing import Any

from reid_toolkit.camera_statistics import CameraStatistics
from reid_toolkit.errors import GalleryError
from reid_toolkit.gallery import audit, cache
from reid_toolkit.gallery.criteria import Which
from reid_toolkit.gallery.database import UNREADABLE
from reid_toolkit.gallery.protocol import Info, OnProgress
from reid_toolkit.gallery.searcher import sidecar_of
from reid_toolkit.gallery.store import Damage, Key, Store


@dataclass(frozen=True, slots=True)
class Damaged:
    """One record that cannot be used."""

    id: int
    why: str
    source: str | None
    """With tracklet and camera: what to enroll again; None where no part of the file knows it any more."""
    tracklet: str | None
    camera: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """What :meth:`Gallery.check` found."""

    count: int
    """Records that there should be."""
    whole: int
    """Records that were read and fit their checksums."""
    damaged: tuple[Damaged, ...]
    missing: int
    """Records that are counted but that no page holds."""
    pages: tuple[str, ...]
    """What SQLite finds wrong in the file's pages and indexes."""
    index: str
    """"none", "whole", "damaged", or "stale": of another state of the gallery. Searches pass over the last two, which
    cost no record: it is made again."""
    audit: tuple[str, ...] = ()
    """What does not fit in the audit log."""
    statistics: str = "none"
    """Camera statistics: "none", "whole", or "damaged", which costs no record: they can be fitted anew."""

    @property
    def sound(self) -> bool:
        """Whether every record is there and whole, and so are SQLite's own structures and the audit log."""
        lost = self.damaged or self.missing or self.pages or self.audit
        return not lost and self.statistics != "damaged"


def info_of(store: Store, version: int) -> Info:
    """Within ``store.reading()``. Reads the indexes of the file, not the descriptors.

    version: of the camera statistics that searches use.
    """
    index = sidecar_of(store)
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
        past=store.matching(Which(before=time.time() - retention)) if retention else 0,
        audit={"on": head.on, "lines": head.lines, "last": head.digest} if head.lines else None,
        statistics=_statistics_info(store, version),
    )


def _statistics_info(store: Store, version: int) -> dict[str, Any] | None:
    """Where they are damaged, :func:`report_on` says so; what else there is to say is said all the same."""
    try:
        return about_statistics(store.statistics(version), store.number("statistics"))
    except GalleryError:
        return None


def about_statistics(held: CameraStatistics | None, newest: int) -> dict[str, Any] | None:
    """What :class:`Info` says of the camera statistics that searches use."""
    if held is None:
        return None
    about = {"version": held.version, "newest": newest, "fitted": held.fitted}
    return about | {"cameras": len(held.cameras), "digest": held.digest}


def leftover(store: Store) -> bool:
    """Within ``store.reading()``. Whether a file of the index may hold bytes of rows that were deleted."""
    about = sidecar_of(store)
    return cache.holds_deleted(store.folder, about, store.number("removed"))


def report_on(store: Store, on_progress: OnProgress | None = None) -> Report:
    """Read all of ``store``, within ``store.reading()``."""
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


def _statistics_state(store: Store) -> str:
    try:
        return "none" if store.statistics(store.number("statistics")) is None else "whole"
    except (GalleryError, *UNREADABLE):
        return "damaged"


def _keys(store: Store) -> dict[int, Key]:
    try:
        return store.keys()
    except UNREADABLE:
        return {}


def _index_state(store: Store) -> str:
    about = cache.read_sidecar(store.folder)
    if about is None:
        return "damaged" if (store.folder / cache.SIDECAR).exists() else "none"
    if about != sidecar_of(store):
        return "stale"
    return "whole" if cache.whole(store.folder, about) else "damaged"
