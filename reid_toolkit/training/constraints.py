"""Which samples training may never put together: those seen at once in one camera."""

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.method.constraints import cannot_link_pairs
from reid_toolkit.records import Tracklet
from reid_toolkit.training.store import Samples

UNIX_TIME = 1e8
"""Seconds from which a time is taken for absolute (1973), and not for a place in a recording of three years."""


def cannot_link(samples: Samples) -> NDArray[np.int64]:
    """Pairs of samples (M, 2) seen at once in one camera; tracklets without times are in none."""
    starts, ends = (
        np.array([getattr(tracklet, name) for tracklet in samples.tracklets], np.float64) for name in ("start", "end")
    )  # None becomes NaN
    return cannot_link_pairs([clock(tracklet) for tracklet in samples.tracklets], starts, ends)


def clock(tracklet: Tracklet) -> str:
    """Name of what a tracklet's times can be compared within: its camera, and where times count from the start of
    a recording, that recording, whose crops `reid ingest` keeps in one folder."""
    absolute = tracklet.start is not None and tracklet.start >= UNIX_TIME
    return f"{tracklet.camera}\0{'' if absolute else tracklet.crops[0].path.parent.parent}"


def can_merge(labels: NDArray[np.int64], pairs: NDArray[np.int64] | None) -> bool:
    """Whether two clusters are left that ``pairs`` does not keep apart; ``labels`` (N,) are 0..C-1."""
    count = int(labels.max()) + 1
    possible = count * (count - 1) // 2
    if pairs is None or len(pairs) < possible:
        return possible > 0
    low, high = np.sort(labels[pairs], axis=1).T
    return len(np.unique(low * count + high)) < possible
