"""Decoding a dataset's crops, with unreadable ones refused by name or counted and left out."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.datasets.dataset import Dataset, group_tracklets
from reid_toolkit.errors import DatasetError, ImageError
from reid_toolkit.images import Image, read_image
from reid_toolkit.records import Crop


def read_crops(crops: Iterable[Crop], bad: list[str] | None = None) -> Iterator[tuple[Crop, Image]]:
    """Yield each crop with its image, (H, W, 3) uint8 BGR, in order.

    An unreadable image raises :class:`ImageError`; when a list ``bad`` is given its message is put there
    instead, and the crop is left out.
    """
    for crop in crops:
        try:
            image = read_image(crop.path, crop.origin)
        except ImageError as error:
            if bad is None:
                raise ImageError(f"{error}; --skip-bad leaves such crops out") from None
            bad.append(str(error))
            continue
        yield crop, image


class CropEmbedder(Protocol):
    """What is needed of :class:`reid_toolkit.runtime.Embedder`."""

    batch_size: int

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]: ...


def embed_groups(
    embedder: CropEmbedder, groups: Sequence[Sequence[Crop]], bad: list[str] | None = None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield each group's place and the descriptors of its crops, (n, D) float32, in order.

    Batches run across groups, so that short ones fill the network and long ones need no more memory. Unreadable crops
    are refused or noted as by :func:`read_crops`; of a group with none that can be read nothing comes.
    """
    frames = ((place, image) for place, group in enumerate(groups) for _, image in read_crops(group, bad))
    parts: defaultdict[int, list[NDArray[np.float32]]] = defaultdict(list)
    while batch := list(islice(frames, embedder.batch_size)):
        for (place, _), row in zip(batch, embedder.embed([image for _, image in batch]), strict=True):
            parts[place].append(row)
        for place in [place for place in parts if place != batch[-1][0]]:  # the last may go on in the next batch
            yield place, np.stack(parts.pop(place))
    for place, rows in parts.items():
        yield place, np.stack(rows)


def keep_crops(dataset: Dataset, kept: set[Crop]) -> Dataset:
    """The dataset with only the crops in ``kept``; raises :class:`DatasetError` when none is left."""
    crops = [crop for crop in dataset.crops if crop in kept]
    if not crops:
        raise DatasetError(f"{dataset.root}: not one of its {len(dataset.crops)} crops can be read")
    return Dataset(dataset.root, dataset.layout, group_tracklets(crops))
