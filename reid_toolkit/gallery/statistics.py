"""Camera statistics of a gallery: fitted from what it holds, and when that is worth it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reid_toolkit.camera_statistics import LEAST, CameraStatistics, StatisticsFit
from reid_toolkit.gallery.pages import tracklet_digest
from reid_toolkit.gallery.types import Batch, OnProgress

GROWTH = 2
"""A camera with so many times the records (or so many times fewer) than at the last fit needs another one: by then its
mean may have moved by seven tenths of its own uncertainty."""
SHARE = 0.05
"""Cameras that need another fit must hold this share of all records together. Each fit reads all records, and a large
gallery's index is built anew after it: so a small camera that is new does not cost a gallery of a million its index."""


def worth_fitting(seen: Mapping[str, int], now: Mapping[str, int]) -> bool:
    """Whether statistics should be fitted anew; by the records of each camera at the last fit, and now.

    Always where a camera's records are all gone: its mean is to go too.
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
    """Statistics of the records that ``read()`` gives, twice, about ``count`` each time; None of too few.

    A tracklet that was enrolled crop by crop counts once. Keeps about 100 bytes a tracklet in memory.
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
        # In Milvus, one that came since the first reading is not among them.
        weights = [1 / max(crops[tracklet_digest(record)], 1) for record in records]
        fit.add(vectors, [record.camera for record in records], weights)
        done += len(records)
        if on_progress:
            on_progress(done // 2, count)
    return fit.finish(model, now)


def about_statistics(held: CameraStatistics | None, newest: int) -> dict[str, Any] | None:
    """What :class:`Info` says of the camera statistics that searches use."""
    if held is None:
        return None
    about = {"version": held.version, "newest": newest, "fitted": held.fitted}
    return about | {"cameras": len(held.cameras), "digest": held.digest}
