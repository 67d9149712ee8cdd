"""What distances mean to a watch: how near records of one person are, and how probable it is that they show one."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.people.alert_budget import Limit
from reid_toolkit.people.reach import Farthest, numbered, typical_limits

ROWS = 20_000
"""The distance is estimated from at most so many records of the gallery."""
Probability = Callable[[float, str | None, str, int], float]
"""The probability that a tracklet and a record show one person: by distance, cameras of both, and number of people. The
number is 0 if it is not known."""


class Scale(NamedTuple):
    """What distances mean."""

    farthest: Farthest
    """The largest distance at which records of two cameras count as neighbours, as in grouping."""
    probability: Probability | None = None
    """None without a calibration."""
    limit: Limit | None = None
    """The distance for a false-match rate. None without a calibration."""


def estimate_scale(store: GalleryStore) -> Scale:
    """Estimate the largest distances from the records, as grouping does. Reads all records, and keeps some of them."""
    step = max(1, -(-len(store) // ROWS))
    statistics = store.statistics()
    cameras: list[str] = []
    parts: list[NDArray[np.float32]] = []
    offset = 0
    for batch, vectors in store.records():
        rows = slice(-offset % step, None, step)
        offset += len(batch)
        names = [record.camera for record in batch[rows]]
        if names:
            parts.append(statistics.apply(vectors[rows], names) if statistics else vectors[rows])
            cameras += names
    if not parts:
        return Scale(lambda _a, _b: 0.0)
    own, other = typical_limits(np.concatenate(parts), numbered(cameras)[1])
    return Scale(lambda a, b: own if (a or "") == (b or "") else other)
