"""A plain folder of crops: what a user has before there is a manifest.

Images directly in the folder are tracklets of one crop. A sub-folder of images is one tracklet, named by its
path; its frames are numbered in the order of their names. Nothing tells cameras apart, so the one there is has no
name.
"""

import os
from codecs import BOM_UTF8
from pathlib import Path

from reid_toolkit.datasets.dataset import Dataset, group_tracklets
from reid_toolkit.errors import DatasetError
from reid_toolkit.files import natural_order
from reid_toolkit.images import IMAGE_SUFFIXES
from reid_toolkit.records import Crop


def find_images(root: Path) -> list[Path]:
    """All image files below ``root``, folder by folder in natural order, hidden ones left out.

    Raises :class:`DatasetError` for a link to a folder, to no file, or out of ``root``.
    """
    images = []
    for path in sorted(root.rglob("*"), key=natural_order):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if not hidden and path.is_symlink() and path.is_dir():
            raise DatasetError(f"{path}: a link to a folder: expected the folder itself, or its name on its own")
        if path.suffix.lower() not in IMAGE_SUFFIXES or hidden:
            continue
        if path.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(root.resolve())):
            raise DatasetError(f"{path}: a link to no file, or out of the folder: expected the file itself, or a copy")
        if path.is_file():
            images.append(path)
    return images


def read_folder(root: Path) -> Dataset:
    """Read a folder of crops; raises :class:`DatasetError` when no image is in it."""
    root = root.resolve()
    crops = []
    for number, path in enumerate(find_images(root)):
        relative = path.relative_to(root)
        name = relative if relative.parent == Path() else relative.parent
        crops.append(Crop(path=path, camera="", tracklet=name.as_posix(), frame=number))
    if not crops:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DatasetError(f"{root}: neither a manifest.csv nor any image ({kinds}) in it")
    return Dataset(root, "folder", group_tracklets(crops))


def read_path_list(content: bytes, where: str) -> tuple[Crop, ...]:
    """The crops that ``content`` names, in its order: a path a line, blank lines passed over.

    Paths are as the file system has them, relative ones to the working directory. ``where`` is what the list is
    called in messages. The files are not looked at. Raises :class:`DatasetError` for an empty list, and for what is
    no list.
    """
    if b"\0" in content:
        raise DatasetError(f"{where}: not a list of image files: expected text, a path a line")
    crops = []
    for number, line in enumerate(content.removeprefix(BOM_UTF8).splitlines(), start=1):
        name = os.fsdecode(line.strip())
        if name:
            path = Path(name).absolute()
            crops.append(Crop(path, camera="", tracklet=path.stem, frame=number - 1, origin=f"{where}, line {number}"))
    if not crops:
        raise DatasetError(f"{where}: names no image: expected a path a line")
    return tuple(crops)
