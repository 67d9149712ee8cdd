"""Fit the camera statistics of a gallery, and decide when a new fit is worth its cost."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reid_toolkit.camera_statistics import LEAST, CameraStatistics, StatisticsFit
from reid_toolkit.gallery.pages import tracklet_digest
from reid_toolkit.gallery.types import Batch, OnProgress

GROWTH = 2
"""A camera needs a new fit if it has so many times more or fewer records than at the last fit. By then its mean may
have moved by seven tenths of its own uncertainty."""
SHARE = 0.05
"""The cameras that need a new fit must together hold this share of all records. Each fit reads all records, and the
index of a large gallery must be built again after it. So a small new camera does not make a gallery of a million
records build its index again."""


def worth_fitting(seen: Mapping[str, int], now: Mapping[str, int]) -> bool:
    """Whether statistics should be fitted again. ``seen`` and ``now`` are the records of each camera at the last fit
    and now.

    True whenever all records of a camera were deleted, because its mean must be deleted too.
    """
    cameras = (seen.keys() | now.keys()) - {""}
    if any(count and not now.get(camera) for camera, count in seen.items() if camera):
        return True
    pairs = [(seen.get(camera, 0), now.get(camera, 0)) for camera in cameras]
    changed = sum(max(pair) for pair in pairs if max(pair) >= max(LEAST, GROWTH * min(pair)))
    return changed > 0 and changed >= SHARE * sum(map(max, pairs))


def fit_gallery(
    read: Callable[[], Iterator[Batch]],
    count: int,
    dimension: int,
    model: str | None,
    now: float,
    on_progress: OnProgress | None = None,
) -> CameraStatistics | None:
    """Fit statistics to the records that ``read()`` gives. None if there are too few.

    ``read`` is called twice and gives about ``count`` records each time. A tracklet that was enrolled crop by crop
    counts once. Memory: about 100 bytes per tracklet.
    """
    crops: Counter[str] = Counter()
    done = 0
    for records, _ in read():
        crops.update(map(tracklet_digest, records))
        done += len(records)
        if on_progress:
            on_progress(done // 2, count)
    fit = StatisticsFit(dimension)
    for records, vectors in read():
        # In Milvus, the second reading may give a tracklet that the first did not, hence max(..., 1).
        weights = [1 / max(crops[tracklet_digest(record)], 1) for record in records]
        fit.add(vectors, [record.camera for record in records], weights)
        done += len(records)
        if on_progress:
            on_progress(done // 2, count)
    return fit.finish(model, now)


def about_statistics(held: CameraStatistics | None, newest: int) -> dict[str, Any] | None:
    """The camera statistics that searches use, as :class:`Info` describes them."""
    if held is None:
        return None
    about = {"version": held.version, "newest": newest, "fitted": held.fitted}
    return about | {"cameras": len(held.cameras), "digest": held.digest}
