"""The DukeMTMC-VideoReID layout (Wu et al., CVPR 2018): folders for each split, person and tracklet.

    train/0001/0003/0001_C6_F0099_X30823.jpg      query/  gallery/      also 0001C6F0099X30823.jpg, train_split/ ...

A file name holds the identity, the camera (C), the frame's number in the tracklet (F) and in the recording (X).
"""

import re
from pathlib import Path

from reid_toolkit.datasets.dataset import Dataset, group_tracklets
from reid_toolkit.datasets.folder import find_images
from reid_toolkit.errors import DatasetError
from reid_toolkit.records import Crop

NAME = re.compile(r"(?P<identity>\d{4})_?C(?P<camera>\d)_?F\d+_?X(?P<frame>\d+)")


def split_folder(root: Path, split: str) -> Path:
    """Return the folder of a split: ``train_split`` in the first release, ``train`` in later ones."""
    old = root / f"{split}_split"
    return old if old.is_dir() else root / split


def is_duke_video(root: Path) -> bool:
    """Whether any split has an image with the layout's file name at the layout's depth."""
    return any(
        NAME.match(path.name)
        for split in ("train", "query", "gallery")
        for path in split_folder(root, split).glob("*/*/*C*F*X*")
    )


def read_duke_video(root: Path, split: str) -> Dataset:
    """Read one split. Raises :class:`DatasetError` if the folder is missing or a file name does not fit the pattern."""
    root = root.resolve()
    folder = split_folder(root, split)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder: the DukeMTMC-VideoReID layout keeps its {split} split there")
    crops = []
    for path in find_images(folder):
        match = NAME.match(path.name)
        if not match:
            raise DatasetError(f"{path}: expected a name like 0001_C6_F0099_X30823.jpg (identity, camera, frame)")
        crops.append(
            Crop(
                path=path,
                camera=f"C{match['camera']}",
                tracklet=path.parent.relative_to(root).as_posix(),
                frame=int(match["frame"]),
                identity=str(int(match["identity"])),
            )
        )
    if not crops:
        raise DatasetError(f"{folder}: no images in it")
    return Dataset(root, "duke_video", group_tracklets(crops))
