"""A dataset's tracklets, whole and in halves, as descriptors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.camera_statistics import CameraStatistics
from reid_toolkit.datasets.dataset import Dataset
from reid_toolkit.datasets.reading import read_crops
from reid_toolkit.errors import DatasetError
from reid_toolkit.images import Image
from reid_toolkit.records import Tracklet
from reid_toolkit.runtime.averager import average


class CropEmbedder(Protocol):
    """What is needed of :class:`reid_toolkit.runtime.Embedder`."""

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]: ...


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
    for done, tracklet in enumerate(dataset.tracklets, start=1):
        images = [image for _, image in read_crops(tracklet.crops, bad)]
        if images:
            rows = embedder.embed(images)
            parts = rows[: len(rows) // 2], rows[len(rows) // 2 :]
            kept.append(tracklet)
            whole.append(average(rows))
            halves.append([average(part) for part in parts] if len(parts[0]) else [np.full_like(rows[0], np.nan)] * 2)
        if on_progress:
            on_progress(done, len(dataset.tracklets))
    if not kept:
        raise DatasetError(f"{dataset.root}: not one of its crops can be read")
    return Described(tuple(kept), np.stack(whole), np.array(halves, np.float32))
