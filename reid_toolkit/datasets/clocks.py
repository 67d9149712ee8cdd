"""Which tracklets' times can be compared with each other."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.records import Tracklet
from reid_toolkit.times import UNIX_TIMES


def clock(tracklet: Tracklet) -> str:
    """Name of what a tracklet's times can be compared within: its camera, and where times count from the start of
    a recording, that recording, whose crops `reid ingest` keeps in one folder."""
    absolute = tracklet.start is not None and tracklet.start >= UNIX_TIMES[0]
    return f"{tracklet.camera}\0{'' if absolute else tracklet.crops[0].path.parent.parent}"


def times(tracklets: Sequence[Tracklet]) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Clock, start and end (N,) of each, seconds, NaN where unknown: what ``cannot_link_pairs`` takes."""
    starts, ends = (np.array([getattr(one, name) for one in tracklets], np.float64) for name in ("start", "end"))
    return [clock(tracklet) for tracklet in tracklets], starts, ends  # None became NaN
