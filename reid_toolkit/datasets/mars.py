"""The MARS layout (Zheng et al., ECCV 2016): tracklets of people in six cameras.

    bbox_train/0001/0001C1T0001F001.jpg   bbox_test/   info/query_IDX.mat  tracks_test_info.mat  test_name.txt

A file name holds identity, camera (C), tracklet (T) and frame (F); identity 00-1 is junk and 0000 a distractor. The
training split needs only the image folders. Matlab files in ``info`` say which test tracklets are queries.
"""

import re
from pathlib import Path

from reid_toolkit.datasets.dataset import Dataset, group_tracklets
from reid_toolkit.datasets.folder import find_images
from reid_toolkit.errors import DatasetError
from reid_toolkit.records import Crop

NAME = re.compile(r"(?P<identity>00-1|\d{4})C(?P<camera>\d)T(?P<tracklet>\d{4})F(?P<frame>\d+)")


def is_mars(root: Path) -> bool:
    """Whether ``root`` has one of the layout's two image folders."""
    return (root / "bbox_train").is_dir() or (root / "bbox_test").is_dir()


def read_mars(root: Path, split: str) -> Dataset:
    """Read one split. The gallery contains the queries too; the protocol drops them, because their camera is the same.

    Raises :class:`DatasetError` if the folder is missing, a file name does not fit the pattern, or ``info`` is damaged.
    """
    root = root.resolve()
    folder = root / ("bbox_train" if split == "train" else "bbox_test")
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder: the MARS layout keeps its {split} split there")
    crops = [parse_crop(path) for path in find_images(folder)]
    if not crops:
        raise DatasetError(f"{folder}: no images in it")
    if split == "query":
        names = read_query_names(root / "info")
        absent = sorted(names - {crop.tracklet for crop in crops})
        if absent:
            raise DatasetError(f"{folder}: {len(absent)} query tracklets of info are not there, the first: {absent[0]}")
        crops = [crop for crop in crops if crop.tracklet in names]
    return Dataset(root, "mars", group_tracklets(crops))


def parse_crop(path: Path) -> Crop:
    match = NAME.match(path.name)
    if not match:
        raise DatasetError(f"{path}: expected a name like 0001C1T0001F001.jpg (identity, camera, tracklet, frame)")
    return Crop(
        path=path,
        camera=f"C{match['camera']}",
        tracklet=path.name[: match.start("frame") - 1],
        frame=int(match["frame"]),
        identity=str(int(match["identity"].lstrip("0") or 0)),
    )


def read_query_names(info: Path) -> set[str]:
    """Return the names of the query tracklets, such as "0002C1T0001", from the three files of ``info``."""
    from scipy.io import loadmat

    try:
        files = (info / "test_name.txt").read_text(encoding="utf-8-sig").split()
        tracks = loadmat(info / "tracks_test_info.mat")["track_test_info"]
        rows = loadmat(info / "query_IDX.mat")["query_IDX"].ravel()
        # Matlab counts from 1: row r of `tracks` begins with the number of its first file.
        places = [int(tracks[int(row) - 1][0]) for row in rows]
        if min(*rows, *places) < 1:
            raise ValueError("its numbers do not begin at 1")
        firsts = [files[place - 1] for place in places]
    except FileNotFoundError as error:
        raise DatasetError(f"{error.filename}: no such file: MARS names its query tracklets there") from None
    except Exception as error:  # a damaged .mat file raises many kinds, some of scipy's own without a common base
        raise DatasetError(f"{info}: not the info folder of MARS: {error}") from None
    return {parse_crop(Path(name)).tracklet for name in firsts}
