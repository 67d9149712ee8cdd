"""Decoding a dataset's crops, with unreadable ones refused by name or counted and left out."""

from collections.abc import Iterable, Iterator

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


def keep_crops(dataset: Dataset, kept: set[Crop]) -> Dataset:
    """The dataset with only the crops in ``kept``; raises :class:`DatasetError` when none is left."""
    crops = [crop for crop in dataset.crops if crop in kept]
    if not crops:
        raise DatasetError(f"{dataset.root}: not one of its {len(dataset.crops)} crops can be read")
    return Dataset(dataset.root, dataset.layout, group_tracklets(crops))
