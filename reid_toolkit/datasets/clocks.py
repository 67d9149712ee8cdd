"""Which tracklets' times can be compared with each other."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.records import Crop, Tracklet
from reid_toolkit.times import UNIX_TIMES


def clock(tracklet: Tracklet) -> str:
    """Name of what a tracklet's times can be compared within: its camera, and where times count from the start of
    a recording, that recording. Where nothing says which one that is, the tracklet alone: two recordings both begin at
    0, and people of the one were not seen with people of the other."""
    if tracklet.start is not None and tracklet.start >= UNIX_TIMES[0]:
        return tracklet.camera
    first = tracklet.crops[0]
    return f"{tracklet.camera}\0{first.recording or ingested_from(first) or tracklet.name}"


def ingested_from(crop: Crop) -> str:
    """The folder of the recording, where `reid ingest` stored the crop before manifests named recordings:
    crops/RECORDING/TRACK/FRAME.jpg of tracklet RECORDING-TRACK. Empty for other crops."""
    track = crop.path.parent
    return str(track.parent) if crop.tracklet == f"{track.parent.name}-{track.name}" else ""


def times(tracklets: Sequence[Tracklet]) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Clock, start and end (N,) of each, seconds, NaN where unknown: what ``cannot_link_pairs`` takes."""
    starts, ends = (np.array([getattr(one, name) for one in tracklets], np.float64) for name in ("start", "end"))
    return [clock(tracklet) for tracklet in tracklets], starts, ends  # None became NaN
