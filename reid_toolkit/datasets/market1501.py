"""The Market-1501 layout (Zheng et al., ICCV 2015), also used by DukeMTMC-reID and others.

    bounding_box_train/  query/  bounding_box_test/      0002_c1s1_000451_03.jpg

The number before the first underscore is the identity (-1: junk, 0000: distractor); ``c`` is the camera. Images are
independent samples, so each is a tracklet of one crop.
"""

import re
from pathlib import Path

from reid_toolkit.datasets.dataset import Dataset, group_tracklets
from reid_toolkit.datasets.folder import find_images
from reid_toolkit.errors import DatasetError
from reid_toolkit.records import Crop

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
NAME = re.compile(r"(?P<identity>-1|\d+)_c(?P<camera>\d+)(?:s\d+)?_f?(?P<frame>\d+)")


def is_market1501(root: Path) -> bool:
    """Whether ``root`` has the layout's training folder, or both of its test folders."""
    present = {split for split, name in FOLDERS.items() if (root / name).is_dir()}
    return "train" in present or {"query", "gallery"} <= present


def read_market1501(root: Path, split: str) -> Dataset:
    """Read one split. Raises :class:`DatasetError` if the folder is missing or a file name does not fit the pattern."""
    root = root.resolve()
    folder = root / FOLDERS[split]
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder: the Market-1501 layout keeps its {split} split there")
    crops = []
    for path in find_images(folder):
        match = NAME.match(path.name)
        if not match:
            raise DatasetError(f"{path}: expected a name like 0002_c1s1_000451_03.jpg (identity, camera, frame)")
        crops.append(
            Crop(
                path=path,
                camera=f"c{match['camera']}",
                tracklet=path.relative_to(root).as_posix(),
                frame=int(match["frame"]),
                identity=str(int(match["identity"])),
            )
        )
    if not crops:
        raise DatasetError(f"{folder}: no images in it")
    return Dataset(root, "market1501", group_tracklets(crops))
