"""A plain folder of crops, for users who have no manifest.

An image directly in the folder is a tracklet of one crop. A sub-folder of images is one tracklet, named by its path;
its frames are numbered in the order of their names. Cameras are unknown, so all crops have the camera "".
"""

import os
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path

from reid_toolkit.datasets.dataset import Dataset, group_tracklets
from reid_toolkit.errors import DatasetError
from reid_toolkit.files import as_name, natural_order
from reid_toolkit.images import IMAGE_SUFFIXES
from reid_toolkit.records import Crop
from reid_toolkit.storage import is_address, is_stored, path_of


def find_images(root: Path) -> list[Path]:
    """Return all image files below ``root``, folder by folder in natural order, without hidden files.

    Raises :class:`DatasetError` for a link to a folder, a broken link, or a link that leads out of ``root``, and
    :class:`OSError` for a folder that cannot be read.
    """
    images = []
    for path in sorted(everything_below(root), key=natural_order):
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


def everything_below(root: Path) -> Iterator[Path]:
    """Yield all files and folders below ``root``. Unlike ``rglob`` it raises :class:`OSError` for a folder that cannot
    be read, if that is not hidden."""

    def stop(error: OSError) -> None:
        raise error

    stored = is_stored(root)
    if not stored:
        for folder, folders, files in os.walk(root, onerror=stop):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (Path(folder, name) for name in (*folders, *files))
        return
    yield from root.rglob("*")


def read_folder(root: Path) -> Dataset:
    """Read a folder of crops. Raises :class:`DatasetError` if it has no image."""
    root = root.resolve()
    crops = []
    for number, path in enumerate(find_images(root)):
        relative = path.relative_to(root)
        name = relative if relative.parent == Path() else relative.parent
        crops.append(Crop(path=path, camera="", tracklet=as_name(name.as_posix()), frame=number))
    if not crops:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DatasetError(f"{root}: neither a manifest.csv nor any image ({kinds}) in it")
    return Dataset(root, "folder", group_tracklets(crops))


def read_path_list(content: bytes, where: str) -> tuple[Crop, ...]:
    """Return the crops that ``content`` lists, in its order: one path or address per line; blank lines are skipped.

    Relative paths start at the working directory. ``where`` is the name of the list in messages. The files are not
    opened. Raises :class:`DatasetError` if the list is empty or is not text.
    """
    if b"\0" in content:
        raise DatasetError(f"{where}: not a list of image files: expected text with one path per line")
    crops = []
    for number, line in enumerate(content.removeprefix(BOM_UTF8).splitlines(), start=1):
        name = os.fsdecode(line.strip())
        if name:
            path = path_of(name) if is_address(name) else Path(name).absolute()
            crops.append(Crop(path, camera="", tracklet=path.stem, frame=number - 1, origin=f"{where}, line {number}"))
    if not crops:
        raise DatasetError(f"{where}: names no image: expected one path per line")
    return tuple(crops)
