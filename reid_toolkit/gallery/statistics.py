"""Camera statistics of a gallery: fitted from what it holds, and when that is worth it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from reid_toolkit.camera_statistics import LEAST, CameraStatistics, StatisticsFit
from reid_toolkit.gallery.paging import tracklet_digest
from reid_toolkit.gallery.protocol import Batch, OnProgress

GROWTH = 2
"""A camera with so many times the records (or so many times fewer) than at the last fit makes another one worth it.

By then the mean of its descriptors may have moved by seven tenths of its own uncertainty. Each fit reads all records,
and a large gallery's index is built anew after it: by doubling, all fits together cost about twice the last one."""


def worth_fitting(seen: Mapping[str, int], now: Mapping[str, int]) -> bool:
    """Whether statistics should be fitted anew; by the records of each camera at the last fit, and now."""
    cameras = (seen.keys() | now.keys()) - {""}
    pairs = [(seen.get(camera, 0), now.get(camera, 0)) for camera in cameras]
    return any(max(pair) >= max(LEAST, GROWTH * min(pair)) for pair in pairs)


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
