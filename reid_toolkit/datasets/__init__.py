"""Readers of datasets. Each reads one layout in place and converts nothing."""

from pathlib import Path
from typing import Literal

from reid_toolkit.datasets.dataset import Dataset
from reid_toolkit.datasets.duke_video import is_duke_video, read_duke_video
from reid_toolkit.datasets.folder import read_folder
from reid_toolkit.datasets.manifest import NAME, read_manifest
from reid_toolkit.datasets.market1501 import is_market1501, read_market1501
from reid_toolkit.datasets.mars import is_mars, read_mars
from reid_toolkit.datasets.msmt17 import is_msmt17, read_msmt17
from reid_toolkit.errors import DatasetError

__all__ = ["Dataset", "Split", "open_dataset", "without_identities"]

Split = Literal["train", "query", "gallery"]


def open_dataset(path: Path, *, split: Split = "train") -> Dataset:
    """Read a dataset in any layout that we know: ours (``manifest.csv``), Market-1501, MSMT17, MARS,
    DukeMTMC-VideoReID, or plain crops.

    ``split`` chooses a part of a benchmark. Our own layout and a plain folder have only one part, which is returned
    for every split.

    Raises :class:`DatasetError` if the folder is missing or breaks the contract of its layout.
    """
    if not path.is_dir():
        raise DatasetError(f"{path}: no such folder: expected a dataset (see docs/data.md)")
    if (path / NAME).exists():
        return read_manifest(path)
    if is_market1501(path):
        return read_market1501(path, split)
    if is_msmt17(path):
        return read_msmt17(path, split)
    if is_mars(path):
        return read_mars(path, split)
    if is_duke_video(path):
        return read_duke_video(path, split)
    return read_folder(path)


def without_identities(dataset: Dataset) -> Dataset:
    """Drop every identity from a dataset. Training gets this copy, so that no label can reach it."""
    return dataset.with_identities({})
