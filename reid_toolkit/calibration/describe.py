"""A dataset's tracklets, whole and in halves, as descriptors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.camera_statistics import CameraStatistics
from reid_toolkit.datasets.dataset import Dataset
from reid_toolkit.datasets.reading import CropEmbedder, embed_groups
from reid_toolkit.errors import DatasetError
from reid_toolkit.records import Tracklet
from reid_toolkit.runtime.averager import average


@dataclass(frozen=True)
class Described:
    """Tracklets and their descriptors, row by row."""

    tracklets: tuple[Tracklet, ...]
    whole: NDArray[np.float32]
    """(N, D), unit rows: the mean over all crops."""
    halves: NDArray[np.float32]
    """(N, 2, D), unit rows: over the first half of the crops in time, and over the second; NaN of a single crop."""

    def freed(self, statistics: CameraStatistics) -> "Described":
        """As searches with these camera statistics compare them."""
        cameras = [tracklet.camera for tracklet in self.tracklets]
        first, second = (statistics.apply(self.halves[:, half], cameras) for half in (0, 1))
        return Described(self.tracklets, statistics.apply(self.whole, cameras), np.stack([first, second], axis=1))


def describe(
    embedder: CropEmbedder,
    dataset: Dataset,
    *,
    bad: list[str] | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Described:
    """Embed every crop once; unreadable ones are refused, or noted in ``bad`` and left out."""
    kept, whole, halves = [], [], []
    for place, rows in embed_groups(embedder, [tracklet.crops for tracklet in dataset.tracklets], bad):
        parts = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        kept.append(dataset.tracklets[place])
        whole.append(average(rows))
        halves.append([average(part) for part in parts] if len(parts[0]) else [np.full_like(rows[0], np.nan)] * 2)
        if on_progress:
            on_progress(place + 1, len(dataset.tracklets))
    if not kept:
        raise DatasetError(f"{dataset.root}: not one of its crops can be read")
    return Described(tuple(kept), np.stack(whole), np.array(halves, np.float32))
