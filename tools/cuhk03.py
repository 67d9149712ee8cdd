"""CUHK03's crops as datasets. Their names are IIII_KK.jpg: identity; 00-04 camera A, 05-09 camera B. Not a command."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from reid_toolkit.datasets.dataset import Dataset
from reid_toolkit.datasets.manifest import read_manifest, write_manifest
from reid_toolkit.records import Crop


def camera_of(picture: Path) -> str:
    """Return the camera of a file, by its name."""
    return "A" if int(picture.stem.split("_")[1]) < 5 else "B"


def crop_of(picture: Path) -> Crop:
    """Make a file of CUHK03 a tracklet of its own, by its name. Identities begin at 1, because 0 is a distractor."""
    return Crop(picture, camera_of(picture), picture.stem, identity=str(int(picture.stem.split("_")[0]) + 1))


def link_pictures(pictures: Path, out: Path, kept: Callable[[list[Crop]], list[Crop]] = lambda crops: crops) -> Dataset:
    """Make a dataset folder of CUHK03's pictures, linked, with each crop a tracklet; or as ``kept`` changes the crops.
    The folder has its name only when it is complete."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        made = Path(folder) / "made"
        made.mkdir()
        crops = kept([crop_of(made / picture.name) for picture in sorted(pictures.glob("*.jpg"))])
        for crop in crops:
            os.link(pictures / crop.path.name, crop.path)
        write_manifest(made, crops)
        try:
            made.rename(out)
        except OSError:
            if not (out / "manifest.csv").exists():  # else another call has made it meanwhile
                raise
    return read_manifest(out)
