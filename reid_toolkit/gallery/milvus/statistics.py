"""Camera statistics of a gallery in Milvus: their versions, and how all collections keep the same records."""

import contextlib
import json
import math
import time
from collections.abc import Callable
from typing import TypeVar

from reid_toolkit.camera_statistics import CameraStatistics
from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.gallery.milvus.about import About
from reid_toolkit.gallery.milvus.check import tally
from reid_toolkit.gallery.milvus.collection import Collection
from reid_toolkit.gallery.milvus.compared import Compared, drop_version, drop_versions, name_fits
from reid_toolkit.gallery.milvus.filters import chosen
from reid_toolkit.gallery.milvus.properties import (
    BUSY,
    LAST,
    MODEL,
    NEXT,
    SEEN,
    VERSION,
    following,
    number_of,
    versions,
)
from reid_toolkit.gallery.statistics import fit_gallery, worth_fitting
from reid_toolkit.gallery.types import Comparison, OnProgress, Selection

BARELY_CHANGED = 0.1
"""Records are counted by camera only if their number has changed by this share, because Milvus cannot count by camera,
so that all records must be read."""
BUSY_SECONDS = 1800.0
"""A process that makes a new version counts as working for so many seconds after its last sign of life."""
SIGN_SECONDS = 60.0

Answer = TypeVar("Answer")
Change = Callable[[Collection, Compared | None], None]
"""Changes a collection: the gallery's own (with None), or the collection of a version."""


class Statistics(About, GalleryStore):
    """A part of :class:`MilvusGallery`. Any number of processes may write while a process makes a new version.

    A writer first writes to the gallery's own collection, which is decisive, and then to the versions that its
    properties name. A new version is named there before it is filled from the gallery's collection. So if a writer
    finds no new version, it has written before the filling began. If a writer is killed in between, a version may lack
    records, or may still hold deleted records. Until that is repaired, these records do not count as enrolled, and can
    be deleted again.
    """

    def __init__(self, collection: Collection, exact_below: int) -> None:
        super().__init__(collection)
        self._exact_below = exact_below
        self._opened: dict[str, Compared] = {}

    def statistics(self) -> CameraStatistics | None:
        """The camera statistics that searches use. None if there are none. Raises :class:`GalleryError` if they are
        damaged."""
        used = self._in_use()
        return None if used is None else used.statistics

    def statistics_version(self, how: Comparison) -> int:
        """The version of the camera statistics that a search uses. 0 for none."""
        return number_of(self._now().get(VERSION) or "") if how.camera_statistics else 0

    def _now(self) -> dict[str, str]:
        """The collection's properties, read again because another process may have changed them. Empty if there is no
        collection."""
        if not self._is_there():
            return {}
        self._dimension, properties = self._collection.describe()
        self._properties = properties
        return properties  # not self._properties, which another thread may have set to older values meanwhile

    def _open(self, version: str, about: dict[str, str]) -> Compared:
        """Open a version. ``about`` are the properties from :meth:`_now`. Raises :class:`InputError` if the version is
        missing or damaged."""
        found = self._opened.get(version)
        if found is None:
            found = Compared.open(self._collection, version, about.get(MODEL), self._dimension)
            needed = versions(about, VERSION, NEXT)
            # A new dict, because other threads may be reading this one.
            self._opened = {key: one for key, one in self._opened.items() if key in needed} | {version: found}
        return found

    def _find(self) -> Compared | InputError | None:
        """The version that searches use now. None if they use none. If it is damaged, the error that says so."""
        while True:
            about = self._now()
            version = about.get(VERSION)
            try:
                return self._open(version, about) if version else None
            except (GalleryError, InputError) as error:
                # The version is dropped when there is a newer version, so try again then.
                if self._now().get(VERSION) == version:
                    if isinstance(error, InputError):
                        return error
                    raise

    def _in_use(self) -> Compared | None:
        """:meth:`_find`. Raises :class:`GalleryError` if the version is damaged."""
        found = self._find()
        if isinstance(found, InputError):
            raise GalleryError(
                f"{self._where}: {found}: fit them again with `reid gallery cameras {self._where} refresh`, or search "
                "with --no-camera-statistics"
            )
        return found

    def _is_gone(self, used: Compared) -> bool:
        """Whether another process has replaced this version by a newer one, which explains an error of a search."""
        if not used.exists():
            self._opened = {}
            return True
        return False

    def _searched(self) -> Collection:
        """The collection that searches use by default."""
        found = self._find()
        return found.collection if isinstance(found, Compared) else self._collection

    def _both(self, ask: Callable[[Collection], Answer]) -> list[Answer]:
        """The answers of the gallery's own collection and of the version in use, if there is one."""
        answers = [ask(self._collection)]
        used = self._find()
        if isinstance(used, Compared):
            try:
                answers.append(ask(used.collection))
            except GalleryError:
                if used.exists():  # if it does not exist, there is a newer version
                    raise
        return answers

    def _write(self, change: Change, touched: Callable[[], list[str]]) -> None:
        """Make a change in all collections: the gallery's own and its versions.

        ``touched`` gives the ids of records that other processes have written to the gallery's own collection after the
        change. They may have written them to the versions before the change reached the versions.
        """
        change(self._collection, None)
        about = self._now()
        for version in versions(about, VERSION, NEXT):
            try:
                found = self._open(version, about)
            except InputError:
                continue  # searches report damage, and a missing version has been replaced by a newer one
            try:
                change(found.collection, found)
                found.bring(touched())
            except GalleryError:
                if found.exists():
                    raise

    def _mend(self) -> None:
        """Repair the version in use if a killed writer has left it with more or fewer records."""
        used = self._find()
        if not isinstance(used, Compared):
            return
        try:
            if used.collection.count() != self._collection.count():
                used.mend()
        except GalleryError:
            if used.exists():  # if it does not exist, there is a newer version
                raise

    def refresh_statistics(self, on_progress: OnProgress | None = None, *, if_due: bool = False) -> bool:
        """Fit camera statistics to all undamaged records, as a new version. True if there is a new version.

        With ``if_due``, only if it is worth its cost (see ``gallery/statistics.py``), the number of records has changed
        by a tenth or a camera has none left, and no other process is doing it. Nothing changes if there were none and
        there are too few records. If the process is killed, the old version stays in use. A process that refreshes
        takes over from a killed process, and also from a running one, which then gives up. Raises
        :class:`GalleryError` if the gallery's name is too long.
        """
        if not self._is_there():
            return False
        self._look()
        if not name_fits(self._collection, following(self._properties)):
            if if_due:
                return False
            raise GalleryError(
                f"{self._where}: the name is too long for camera statistics, which add about 25 characters: Milvus "
                "accepts 255: copy the gallery to a shorter name"
            )
        seen: dict[str, int] = json.loads(self._properties.get(SEEN) or "{}")
        if if_due and (self._is_busy() or (self._barely_changed(seen) and not self._lost_a_camera(seen))):
            return False
        now = tally(self._collection).cameras
        if if_due and not worth_fitting(seen, now):
            return False
        sign = Sign(self._collection, on_progress)
        try:
            return self._refresh(now, sign)
        finally:
            with contextlib.suppress(GalleryError):
                sign.end()

    def _barely_changed(self, seen: dict[str, int]) -> bool:
        before = sum(seen.values())
        return abs(len(self) - before) < BARELY_CHANGED * max(before, 1)

    def _lost_a_camera(self, seen: dict[str, int]) -> bool:
        """Whether all records of a camera were deleted, so that its mean must be deleted too, however few they were."""
        cameras = [camera for camera, count in seen.items() if camera and count]
        return any(not self._collection.count(chosen(Selection(camera=camera))) for camera in cameras)

    def _is_busy(self) -> bool:
        return abs(time.time() - float(self._properties.get(BUSY) or 0)) < BUSY_SECONDS

    def _refresh(self, seen: dict[str, int], sign: "Sign") -> bool:
        dimension, model = self._dimension, self._properties.get(MODEL)
        assert dimension is not None
        found = fit_gallery(
            self.records,
            len(self),
            dimension,
            model,
            time.time(),
            lambda done, total: sign(done, (total or 0) * 3 // 2),
        )
        self._look()
        if (self._dimension, self._properties.get(MODEL)) != (dimension, model):
            return False
        about = {SEEN: json.dumps(seen)}
        if found is None:
            used = bool(self._properties.get(VERSION))
            if self._properties.get(LAST):
                self._forget_statistics()
            self._collection.set_properties(about)
            return used
        version = following(self._properties)
        self._collection.set_properties({LAST: version, NEXT: ""})
        drop_versions(self._collection, versions(self._now(), VERSION))  # remains of killed processes
        try:
            self._make(version, found.of_version(number_of(version)), sign)
            if self._use(version, about):
                return True
        except BaseException as error:
            with contextlib.suppress(GalleryError):
                if self._give_up(version) and isinstance(error, GalleryError):
                    return False
            raise
        self._give_up(version)
        return False

    def _make(self, version: str, statistics: CameraStatistics, sign: "Sign") -> None:
        """Make the collections of a new version, and fill them."""
        count = len(self)
        large = count >= self._exact_below and not self._collection.address.lite
        made = Compared.make(self._collection, version, statistics, "HNSW" if large else "FLAT")
        self._collection.set_properties({NEXT: version})
        made.fill(lambda done, _: sign(2 * count + done, 3 * count))
        made.mend(sign.show)
        if large:
            made.collection.finish_index()

    def _use(self, version: str, about: dict[str, str]) -> bool:
        """Let searches use the version from now on. False, and nothing done, if another process has begun a version
        meanwhile, or has emptied the gallery for another model: this version may then lack later records."""
        now = self._now()
        if not now.get(LAST) == now.get(NEXT) == version:
            return False
        self._collection.set_properties({VERSION: version} | about)
        for before in versions(now, VERSION):
            drop_version(self._collection, before)
        return True

    def _give_up(self, version: str) -> bool:
        """Drop the version, unless it is in use. True if another process has begun a newer version."""
        now = self._now()
        if now.get(VERSION) != version:
            if now.get(NEXT) == version:
                self._collection.set_properties({NEXT: ""})
            drop_version(self._collection, version)
        return now.get(LAST) != version


class Sign:
    """Progress of a refresh. It also gives other processes a sign of life from time to time."""

    def __init__(self, collection: Collection, on_progress: OnProgress | None) -> None:
        self._collection, self._on_progress = collection, on_progress
        self._shown, self._text = -math.inf, ""
        self.show()

    def __call__(self, done: int, total: int | None) -> None:
        self.show()
        if self._on_progress:
            self._on_progress(done, total)

    def show(self) -> None:
        """Give a sign of life, if the last one is old enough."""
        if time.monotonic() >= self._shown + SIGN_SECONDS:
            self._text, self._shown = repr(time.time()), time.monotonic()
            self._collection.set_properties({BUSY: self._text})

    def end(self) -> None:
        """Remove the sign of life, unless another process has given one since."""
        if self._collection.describe()[1].get(BUSY) == self._text:
            self._collection.set_properties({BUSY: ""})
