"""The MSMT17 layout (Wei et al., CVPR 2018): two folders of images, and four lists with each image's identity.

    list_train.txt  list_val.txt  list_query.txt  list_gallery.txt      train/  test/, or mask_train_v2/  mask_test_v2/

A line of a list is a path in the folder and an identity: "0000/0000_000_01_0303morning_0015_0.jpg 0". The third part of
the name is the camera. The lists count identities from 0 in each folder. We count from 1, because "0" is a distractor
in other layouts. Images are independent samples, so each is a tracklet of one crop. Training uses train and val
together, as published results without labels do.
"""

import re
from pathlib import Path

from reid_toolkit.datasets.dataset import Dataset, group_tracklets
from reid_toolkit.datasets.folder import find_images
from reid_toolkit.errors import DatasetError
from reid_toolkit.records import Crop

LISTS = {
    "train": ("list_train.txt", "list_val.txt"),
    "query": ("list_query.txt",),
    "gallery": ("list_gallery.txt",),
}
FOLDERS = {"train": ("train", "mask_train_v2"), "query": ("test", "mask_test_v2"), "gallery": ("test", "mask_test_v2")}
LINE = re.compile(r"(?P<path>\S*?\d+_(?P<picture>\d+)_(?P<camera>\d+)_\S*)\s+(?P<identity>\d+)")


def is_msmt17(root: Path) -> bool:
    """Whether ``root`` has a list of the training part, or both lists of the test part."""
    present = {split for split, names in LISTS.items() if (root / names[0]).is_file()}
    return "train" in present or {"query", "gallery"} <= present


def read_msmt17(root: Path, split: str) -> Dataset:
    """Read one split. Raises :class:`DatasetError` for a missing list, folder or image, and for a damaged line."""
    root = root.resolve()
    folders = [root / name for name in FOLDERS[split] if (root / name).is_dir()]
    if not folders:
        raise DatasetError(
            f"{root}: no folder {' or '.join(FOLDERS[split])}: the MSMT17 layout keeps its {split} there"
        )
    images = set(find_images(folders[0]))
    crops = [crop for name in LISTS[split] for crop in read_list(root / name, folders[0], images)]
    if not crops:
        raise DatasetError(f"{root / LISTS[split][0]}: names no image")
    return Dataset(root, "msmt17", group_tracklets(crops))


def read_list(path: Path, folder: Path, images: set[Path]) -> list[Crop]:
    """Return the crops of a list. Each must be among ``images``, the images of ``folder``."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file: the MSMT17 layout lists its images there") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: damaged text: expected lines of a path and an identity") from None
    crops = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = LINE.fullmatch(line.strip())
        if not match:
            raise DatasetError(
                f"{path}, line {number}: expected a path and an identity, like "
                f'"0000/0000_000_01_0303morning_0015_0.jpg 0", got {line.strip()!r}'
            )
        image = folder / match["path"]
        if image not in images:
            raise DatasetError(f"{path}, line {number}: {image}: no such file")
        crops.append(
            Crop(
                path=image,
                camera=f"c{int(match['camera'])}",
                tracklet=f"{folder.name}/{match['path']}",
                frame=int(match["picture"]),
                identity=str(int(match["identity"]) + 1),
            )
        )
    return crops
