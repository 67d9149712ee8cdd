"""A list of image files, a path a line: what other programs write, and what comes through a pipe."""

import os
from codecs import BOM_UTF8
from pathlib import Path

from reid_toolkit.errors import DatasetError
from reid_toolkit.records import Crop


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
