"""Camera statistics of a gallery in Milvus: versions of them, and records that are the same in all collections."""

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
from reid_toolkit.gallery.types import Comparison, OnProgress

BARELY_CHANGED = 0.1
"""Share of the records by which their number must have changed before they are counted by camera, which Milvus does
not do: all are read."""
BUSY_SECONDS = 1800.0
"""For so long after its last sign of life a process that makes a new version is believed to be at it."""
SIGN_SECONDS = 60.0

Answer = TypeVar("Answer")
Change = Callable[[Collection, Compared | None], None]
"""Does something to a collection: the gallery's own, or the one of a version."""


class Statistics(About, GalleryStore):
    """A part of :class:`MilvusGallery`. Any number of processes write, and one makes a new version meanwhile.

    All write to the gallery's own collection first, which is what counts, and then to the versions that it tells of.
    A new version is announced there before it is filled from it. So whoever finds no version that was announced had
    written before the filling began. A writer that was killed in between leaves a version that lacks records, or has
    some that were deleted: as long as that is so, they do not count as enrolled, and can be deleted again.
    """

    def __init__(self, collection: Collection, exact_below: int) -> None:
        super().__init__(collection)
        self._exact_below = exact_below
        self._opened: dict[str, Compared] = {}

    def statistics(self) -> CameraStatistics | None:
        """The camera statistics that searches use; None where there are none. Raises :class:`GalleryError` for
        damaged ones."""
        used = self._in_use()
        return None if used is None else used.statistics

    def statistics_version(self, how: Comparison) -> int:
        """The version of the statistics by which a search compares; 0 where it uses none."""
        return number_of(self._now().get(VERSION) or "") if how.camera_statistics else 0

    def _now(self) -> dict[str, str]:
        """What the collection says, as another process may just have changed it; nothing where there is none."""
        if not self._is_there():
            return {}
        self._dimension, properties = self._collection.describe()
        self._properties = properties
        return properties  # and not what another thread may have read before and put there after

    def _open(self, version: str, about: dict[str, str]) -> Compared:
        """Raises :class:`InputError` for one that is missing or damaged. about: what :meth:`_now` gave."""
        found = self._opened.get(version)
        if found is None:
            found = Compared.open(self._collection, version, about.get(MODEL), self._dimension)
            needed = versions(about, VERSION, NEXT)
            # A new dict, as other threads may be looking at this one.
            self._opened = {key: one for key, one in self._opened.items() if key in needed} | {version: found}
        return found

    def _find(self) -> Compared | InputError | None:
        """The version that searches use as of now; None where they use none, and what is wrong with a damaged one."""
        while True:
            about = self._now()
            version = about.get(VERSION)
            try:
                return self._open(version, about) if version else None
            except (GalleryError, InputError) as error:
                # It is dropped when there is a newer one.
                if self._now().get(VERSION) == version:
                    if isinstance(error, InputError):
                        return error
                    raise

    def _in_use(self) -> Compared | None:
        """:meth:`_find`; raises :class:`GalleryError` for a damaged one."""
        found = self._find()
        if isinstance(found, InputError):
            raise GalleryError(
                f"{self._where}: {found}: fit them anew with `reid gallery cameras {self._where} refresh`, or search "
                "with --no-camera-statistics"
            )
        return found

    def _is_gone(self, used: Compared) -> bool:
        """Whether an error of a search is no wonder, as another process has dropped this version for a newer one."""
        if not used.exists():
            self._opened = {}
            return True
        return False

    def _searched(self) -> Collection:
        """The collection that searches ask, unless they are told otherwise."""
        found = self._find()
        return found.collection if isinstance(found, Compared) else self._collection

    def _both(self, ask: Callable[[Collection], Answer]) -> list[Answer]:
        """What the gallery's own collection answers, and the version in use, if there is one."""
        answers = [ask(self._collection)]
        used = self._find()
        if isinstance(used, Compared):
            try:
                answers.append(ask(used.collection))
            except GalleryError:
                if used.exists():  # and if not, there is a newer version
                    raise
        return answers

    def _write(self, change: Change, touched: Callable[[], list[str]]) -> None:
        """Make a change in all collections.

        touched: the ids of records that others have written, after the change, to the gallery's own collection. They
        may have written to the versions before it was made there.
        """
        change(self._collection, None)
        about = self._now()
        for version in versions(about, VERSION, NEXT):
            try:
                found = self._open(version, about)
            except InputError:
                continue  # of damage searches tell, and what is missing is found when there is a newer one
            try:
                change(found.collection, found)
                found.bring(touched())
            except GalleryError:
                if found.exists():
                    raise

    def _mend(self) -> None:
        """Bring the version in use in step, where a killed writer has left it with more records, or fewer."""
        used = self._find()
        if not isinstance(used, Compared):
            return
        try:
            if used.collection.count() != self._collection.count():
                used.mend()
        except GalleryError:
            if used.exists():  # and if not, there is a newer version
                raise

    def refresh_statistics(self, on_progress: OnProgress | None = None, *, if_due: bool = False) -> bool:
        """Fit camera statistics to all whole records, and make a version of them; whether that was done.

        if_due: only where it is worth it, see ``gallery/statistics.py``, the number of records has changed by a tenth,
        and no other process is at it. Nothing changes where there were none, and the records are too few for any.
        A process that is killed leaves the version before in use. Another one that refreshes takes over from it, and
        from one that still runs, which gives up then. Raises :class:`GalleryError` for a gallery of too long a name.
        """
        if not self._is_there():
            return False
        self._look()
        if not name_fits(self._collection, following(self._properties)):
            if if_due:
                return False
            raise GalleryError(
                f"{self._where}: the name is too long for camera statistics, which need some 25 characters more of "
                "the 255 that Milvus takes: copy the gallery to a shorter name"
            )
        seen: dict[str, int] = json.loads(self._properties.get(SEEN) or "{}")
        if if_due and (self._barely_changed(seen) or self._is_busy()):
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
        drop_versions(self._collection, versions(self._now(), VERSION))  # what killed processes have left
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
        """All that searches need of a new version."""
        count = len(self)
        large = count >= self._exact_below and not self._collection.address.lite
        made = Compared.make(self._collection, version, statistics, "HNSW" if large else "FLAT")
        self._collection.set_properties({NEXT: version})
        made.fill(lambda done, _: sign(2 * count + done, 3 * count))
        made.mend(sign.show)
        if large:
            made.collection.finish_index()

    def _use(self, version: str, about: dict[str, str]) -> bool:
        """Have searches use it from now on, unless another process has begun one meanwhile, or has emptied the gallery
        for another model: then it may lack what was written since."""
        now = self._now()
        if not now.get(LAST) == now.get(NEXT) == version:
            return False
        self._collection.set_properties({VERSION: version} | about)
        for before in versions(now, VERSION):
            drop_version(self._collection, before)
        return True

    def _give_up(self, version: str) -> bool:
        """Drop what was made, unless it is in use; whether another process has overtaken this one."""
        now = self._now()
        if now.get(VERSION) != version:
            if now.get(NEXT) == version:
                self._collection.set_properties({NEXT: ""})
            drop_version(self._collection, version)
        return now.get(LAST) != version


class Sign:
    """Progress of a refresh, which other processes are told of from time to time."""

    def __init__(self, collection: Collection, on_progress: OnProgress | None) -> None:
        self._collection, self._on_progress = collection, on_progress
        self._shown, self._text = -math.inf, ""
        self.show()

    def __call__(self, done: int, total: int | None) -> None:
        self.show()
        if self._on_progress:
            self._on_progress(done, total)

    def show(self) -> None:
        """Say that this process is at it, if it is time for that."""
        if time.monotonic() >= self._shown + SIGN_SECONDS:
            self._text, self._shown = repr(time.time()), time.monotonic()
            self._collection.set_properties({BUSY: self._text})

    def end(self) -> None:
        """Say that it is over, unless another process has said since that it is at it."""
        if self._collection.describe()[1].get(BUSY) == self._text:
            self._collection.set_properties({BUSY: ""})
