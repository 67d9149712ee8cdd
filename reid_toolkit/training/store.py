"""A dataset's crops as the network sees them: resized once, kept in memory when they fit, else read again."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_toolkit.datasets.dataset import Dataset
from reid_toolkit.datasets.reading import keep_crops, read_crops
from reid_toolkit.errors import RunError
from reid_toolkit.images import read_image, resize
from reid_toolkit.records import Crop, Tracklet

MEMORY_LIMIT = 8 << 30
"""Bytes of decoded crops kept in memory: 80,000 of 256x128. Larger sets are decoded again for every batch."""


@dataclass(frozen=True)
class Samples:
    """What is clustered: tracklets (or single images), and their crops laid end to end."""

    tracklets: tuple[Tracklet, ...]
    """N samples in an order that only the pictures decide (see :func:`load_samples`)."""
    crops: tuple[Crop, ...]
    starts: NDArray[np.int64]
    """(N + 1,): sample i has the crops starts[i] to starts[i + 1]."""
    height: int
    width: int
    pixels: Tensor | None
    """(len(crops), height, width, 3) uint8 BGR, or None when that would not fit."""

    def __len__(self) -> int:
        return len(self.tracklets)

    def read(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """The crops of these indices, (B, height, width, 3) uint8 BGR."""
        if self.pixels is not None:
            return self.pixels[torch.as_tensor(indices)]
        with ThreadPoolExecutor(4) as pool:
            images = pool.map(lambda i: self._decode(self.crops[i]), indices)
            return torch.from_numpy(np.stack(list(images)))

    def _decode(self, crop: Crop) -> NDArray[np.uint8]:
        return resize(read_image(crop.path, crop.origin), self.height, self.width)


def load_samples(
    dataset: Dataset,
    height: int,
    width: int,
    *,
    images: bool = False,
    bad: list[str] | None = None,
    memory_limit: int = MEMORY_LIMIT,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Samples:
    """Decode every crop once, refuse or count the unreadable, and lay the samples out.

    Samples are sorted by a digest of their pixels. Names and folder order often follow identity, and an order
    that follows identity leaks it: through ties, and through which rows of a table lie beside each other. With
    this order, renaming or shuffling the files changes nothing that is learned.

    Args:
        dataset: tracklets to train on.
        height, width: size of the network's input, pixels.
        images: make every crop a sample of its own.
        bad: as in :func:`reid_toolkit.datasets.reading.read_crops`.
        memory_limit: bytes of decoded crops to keep.
        on_progress: called with (crops done, crops in all).

    Raises:
        ImageError: a crop cannot be read, and ``bad`` is None.
        RunError: fewer than two samples.
    """
    keep = len(dataset.crops) * height * width * 3 <= memory_limit
    digests: dict[Crop, bytes] = {}
    pixels: dict[Crop, NDArray[np.uint8]] = {}
    for crop, image in read_crops(dataset.crops, bad):
        small = resize(image, height, width)
        digests[crop] = hashlib.sha256(small.tobytes()).digest()
        if keep:
            pixels[crop] = small
        if on_progress:
            on_progress(len(digests), len(dataset.crops))
    tracklets = keep_crops(dataset, set(digests)).tracklets
    if images:
        tracklets = tuple(one_crop(crop, dataset.root) for t in tracklets for crop in t.crops)
    if len(tracklets) < 2:
        raise RunError(f"{dataset.root}: {len(tracklets)} sample: expected at least 2 tracklets to tell apart")
    tracklets = tuple(sorted(tracklets, key=lambda t: b"".join(digests[crop] for crop in t.crops)))
    crops = tuple(crop for tracklet in tracklets for crop in tracklet.crops)
    starts = np.cumsum([0, *(len(tracklet.crops) for tracklet in tracklets)])
    block = torch.from_numpy(np.stack([pixels[crop] for crop in crops])) if keep else None
    return Samples(tracklets, crops, starts, height, width, block)


def one_crop(crop: Crop, root: Path) -> Tracklet:
    """A crop as a sample of its own, named by its path."""
    return Tracklet(crop.path.relative_to(root).as_posix(), crop.camera, (crop,))
