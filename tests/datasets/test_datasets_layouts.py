"""Layouts that are read in place: Market-1501 and its like, MARS, and a plain folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from reid_toolkit.datasets import Split, open_dataset
from reid_toolkit.datasets.folder import find_images
from reid_toolkit.errors import DatasetError

Make = Callable[..., None]


def rows(root: Path, split: Split = "train") -> list[tuple[str, str, str | None, int]]:
    """(tracklet, camera, identity, crops) in the dataset's order."""
    dataset = open_dataset(root, split=split)
    assert all(t.identity == crop.identity for t in dataset.tracklets for crop in t.crops)
    return [(t.name, t.camera, t.identity, len(t.crops)) for t in dataset.tracklets]


def test_a_plain_folder(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "z.JPG", tmp_path / "p1/b.png", tmp_path / "p1/a.png", tmp_path / "p2/deep/c.webp")
    make(tmp_path / ".hidden.png", tmp_path / ".cache/d.png")
    (tmp_path / "notes.txt").write_text("no picture")
    assert rows(tmp_path) == [("p1", "", None, 2), ("p2/deep", "", None, 1), ("z.JPG", "", None, 1)]
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "folder"
    assert [crop.path.name for crop in dataset.tracklets[0].crops] == ["a.png", "b.png"]


def test_frames_of_a_plain_folder_are_ordered_by_the_numbers_in_their_names(tmp_path: Path, make: Make) -> None:
    make(*(tmp_path / f"p{person}/frame{number}.png" for person in (2, 10) for number in (1, 2, 10)))
    for tracklet in open_dataset(tmp_path).tracklets:
        assert [crop.path.name for crop in tracklet.crops] == ["frame1.png", "frame2.png", "frame10.png"]


def test_a_linked_folder_is_refused_aloud(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "elsewhere/a.png", tmp_path / "people/b.png")
    (tmp_path / "people" / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="more: a link to a folder: expected the folder itself"):
        open_dataset(tmp_path / "people")


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(DatasetError, match=r"neither a manifest\.csv nor any image"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("layout", ["folder", "bounding_box_train", "bbox_train"])
def test_the_order_is_not_the_file_systems(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    identities = ["0004", "0002", "0010", "0003"]
    for identity in identities:
        name = f"{identity}_c1s1_000451_03.png" if layout == "bounding_box_train" else f"{identity}C1T0001F001.png"
        make(tmp_path / layout / (name if layout == "bounding_box_train" else f"{identity}/{name}"))
    expected = rows(tmp_path)
    assert [name for name, *_ in expected] == sorted(name for name, *_ in expected)
    listed = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda self, pattern: reversed(list(listed(self, pattern))))
    assert rows(tmp_path) == expected


def test_links_stay_in_the_folder(tmp_path: Path, make: Make) -> None:
    root = tmp_path / "data"
    make(root / "a.png", tmp_path / "outside.png")
    (root / "b.png").symlink_to("a.png")
    assert [path.name for path in find_images(root)] == ["a.png", "b.png"]
    (root / "c.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(DatasetError, match=r"c\.png: a link to no file, or out of the folder"):
        open_dataset(root)
    (root / "c.png").unlink()
    (root / "d.png").symlink_to("gone.png")
    with pytest.raises(DatasetError, match=r"d\.png: a link to no file"):
        open_dataset(root)


@pytest.fixture
def market(tmp_path: Path, make: Make) -> Path:
    make(
        tmp_path / "bounding_box_train/0002_c1s1_000451_03.jpg",
        tmp_path / "bounding_box_train/0007_c3s3_077419_03.jpg",
        tmp_path / "query/0001_c1s1_001051_00.jpg",
        tmp_path / "bounding_box_test/0001_c2s1_001976_01.jpg",
        tmp_path / "bounding_box_test/0000_c1s1_000151_01.jpg",
        tmp_path / "bounding_box_test/-1_c5s1_000401_03.jpg",
    )
    (tmp_path / "bounding_box_test/Thumbs.db").write_bytes(b"Windows leaves these")
    return tmp_path


def test_market1501(market: Path) -> None:
    assert open_dataset(market).layout == "market1501"
    assert rows(market) == [
        ("bounding_box_train/0002_c1s1_000451_03.jpg", "c1", "2", 1),
        ("bounding_box_train/0007_c3s3_077419_03.jpg", "c3", "7", 1),
    ]
    assert rows(market, "query") == [("query/0001_c1s1_001051_00.jpg", "c1", "1", 1)]
    assert [(camera, identity) for _, camera, identity, _ in rows(market, "gallery")] == [
        ("c5", "-1"),
        ("c1", "0"),
        ("c2", "1"),
    ]
    assert open_dataset(market).crops[1].frame == 77419


@pytest.fixture
def msmt17(tmp_path: Path, make: Make) -> Path:
    lists = {
        "list_train.txt": (
            "train",
            ["0000/0000_000_01_0303morning_0015_0.jpg 0", "0007/0007_011_13_0114noon_0322_1.jpg 7"],
        ),
        "list_val.txt": ("train", ["0000/0000_001_15_0303morning_0020_0.jpg 0"]),
        "list_query.txt": ("test", ["0000/0000_000_02_0302afternoon_0015_0.jpg 0"]),
        "list_gallery.txt": ("test", ["0000/0000_001_03_0302afternoon_0016_0.jpg 0"]),
    }
    for name, (folder, lines) in lists.items():
        make(*(tmp_path / folder / line.split()[0] for line in lines))
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path


def test_msmt17(msmt17: Path) -> None:
    assert open_dataset(msmt17).layout == "msmt17"
    # Train and val; identity 0 is a person there, and a distractor elsewhere.
    assert rows(msmt17) == [
        ("train/0000/0000_000_01_0303morning_0015_0.jpg", "c1", "1", 1),
        ("train/0000/0000_001_15_0303morning_0020_0.jpg", "c15", "1", 1),
        ("train/0007/0007_011_13_0114noon_0322_1.jpg", "c13", "8", 1),
    ]
    assert rows(msmt17, "query") == [("test/0000/0000_000_02_0302afternoon_0015_0.jpg", "c2", "1", 1)]
    assert rows(msmt17, "gallery") == [("test/0000/0000_001_03_0302afternoon_0016_0.jpg", "c3", "1", 1)]


def test_msmt17s_second_version_has_other_folders(msmt17: Path) -> None:
    (msmt17 / "train").rename(msmt17 / "mask_train_v2")
    (msmt17 / "test").rename(msmt17 / "mask_test_v2")
    assert rows(msmt17)[0][0] == "mask_train_v2/0000/0000_000_01_0303morning_0015_0.jpg"
    assert len(rows(msmt17, "gallery")) == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "list_train.txt",
            "0000/0000_000_01_a_0015_0.jpg\n",
            "list_train.txt, line 1: expected a path and an identity",
        ),
        ("list_train.txt", "0000/person.jpg 0\n", "line 1: expected a path and an identity"),
        ("list_train.txt", "../0000_000_01_a_0015_0.jpg 0\n", "line 1: .*: no such file"),
        ("list_train.txt", "\n0000/0000_009_01_a_0015_0.jpg 0\n", "line 2: .*0000_009_01_a_0015_0.jpg: no such file"),
        ("list_train.txt", b"\xff\xfe\x00", "list_train.txt: damaged text"),
        ("list_val.txt", None, "list_val.txt: no such file"),
        ("train", None, "no folder train or mask_train_v2"),
    ],
)
def test_a_damaged_msmt17_is_refused(msmt17: Path, name: str, content: str | bytes | None, said: str) -> None:
    if content is None:
        (msmt17 / name).rename(msmt17 / "away")
    else:
        (msmt17 / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DatasetError, match=said):
        open_dataset(msmt17)


def test_msmt17_with_empty_lists_is_refused(msmt17: Path) -> None:
    for name in ("list_train.txt", "list_val.txt"):
        (msmt17 / name).write_text("\n")
    with pytest.raises(DatasetError, match=r"list_train\.txt: names no image"):
        open_dataset(msmt17)


def test_dukemtmc_shares_the_layout(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "bounding_box_train/0001_c2_f0046182.jpg")
    assert rows(tmp_path) == [("bounding_box_train/0001_c2_f0046182.jpg", "c2", "1", 1)]
    assert open_dataset(tmp_path).crops[0].frame == 46182


def test_market1501_without_a_training_set_is_still_market1501(market: Path) -> None:
    (market / "bounding_box_train").rename(market.parent / f"{market.name}-elsewhere")
    assert len(rows(market, "query")) == 1
    with pytest.raises(
        DatasetError, match="bounding_box_train: no such folder: the Market-1501 layout keeps its train"
    ):
        open_dataset(market)


@pytest.mark.parametrize("name", ["person.jpg", "0002c1_000451.jpg", "-2_c1s1_000451_03.jpg", "0002_c1s1.jpg"])
def test_a_wrong_market1501_name_is_refused(market: Path, make: Make, name: str) -> None:
    make(market / "bounding_box_train" / name)
    with pytest.raises(DatasetError) as caught:
        open_dataset(market)
    assert name in str(caught.value)
    assert "expected a name like" in str(caught.value)


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    for folder in ("bounding_box_train", "bbox_test"):
        (tmp_path / folder / folder).mkdir(parents=True)
    with pytest.raises(DatasetError, match="bounding_box_train: no images"):
        open_dataset(tmp_path)
    (tmp_path / "bounding_box_train").rename(tmp_path / "other")
    with pytest.raises(DatasetError, match="bbox_test: no images"):
        open_dataset(tmp_path, split="gallery")


TEST_TRACKS = ["0002C1T0001", "0002C2T0001", "0000C1T0001", "00-1C3T0002", "0010C1T0001"]


@pytest.fixture
def mars(tmp_path: Path, make: Make) -> Path:
    """Training: one tracklet. Test: five of two frames each, of which the 1st and the 5th are queries."""
    make(tmp_path / "bbox_train/0001/0001C1T0001F001.jpg", tmp_path / "bbox_train/0001/0001C1T0001F002.jpg")
    files = [f"{track}F{frame:03d}.jpg" for track in TEST_TRACKS for frame in (1, 2)]
    make(*(tmp_path / "bbox_test" / name[:4] / name for name in files))
    write_info(tmp_path / "info", files, [[2 * i + 1, 2 * i + 2, 0, 0] for i in range(5)], [[1, 5]])
    return tmp_path


def write_info(info: Path, files: list[str], tracks: Any, query: Any) -> None:
    info.mkdir(exist_ok=True)
    (info / "test_name.txt").write_text("\n".join(files) + "\n")
    savemat(info / "tracks_test_info.mat", {"track_test_info": np.array(tracks, float)})
    savemat(info / "query_IDX.mat", {"query_IDX": np.array(query, float)})


def test_mars(mars: Path) -> None:
    assert open_dataset(mars).layout == "mars"
    assert rows(mars) == [("0001C1T0001", "C1", "1", 2)]
    assert rows(mars, "query") == [("0002C1T0001", "C1", "2", 2), ("0010C1T0001", "C1", "10", 2)]
    assert rows(mars, "gallery") == [
        ("00-1C3T0002", "C3", "-1", 2),
        ("0000C1T0001", "C1", "0", 2),
        ("0002C1T0001", "C1", "2", 2),
        ("0002C2T0001", "C2", "2", 2),
        ("0010C1T0001", "C1", "10", 2),
    ]
    assert [crop.frame for crop in open_dataset(mars).crops] == [1, 2]


def test_training_on_mars_needs_no_info(mars: Path) -> None:
    for path in (mars / "info").iterdir():
        path.unlink()
    assert len(rows(mars)) == 1
    with pytest.raises(DatasetError, match=r"test_name\.txt: no such file: MARS names its query"):
        open_dataset(mars, split="query")


@pytest.mark.parametrize("name", ["query_IDX.mat", "tracks_test_info.mat"])
@pytest.mark.parametrize("content", [b"", b"not a Matlab file", "half"], ids=["empty", "text", "half"])
def test_damaged_info_is_refused(mars: Path, name: str, content: bytes | str) -> None:
    path = mars / "info" / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with pytest.raises(DatasetError, match="info: not the info folder of MARS"):
        open_dataset(mars, split="query")


@pytest.mark.parametrize(
    ("tracks", "query"),
    [([[1, 2]], [[2]]), ([[99, 99]], [[1]]), ([[0, 1]], [[1]]), ([[1, 2]], [[0]]), ([[1, 2]], [[]])],
    ids=["no such track", "no such file", "file 0", "track 0", "no query"],
)
def test_info_that_points_nowhere_is_refused(mars: Path, tracks: Any, query: Any) -> None:
    write_info(mars / "info", ["0002C1T0001F001.jpg"], tracks, query)
    with pytest.raises(DatasetError, match="info: not the info folder of MARS"):
        open_dataset(mars, split="query")


def test_a_query_that_is_not_among_the_pictures_is_refused(mars: Path) -> None:
    write_info(mars / "info", ["0099C1T0001F001.jpg"], [[1, 1]], [[1]])
    with pytest.raises(DatasetError, match="1 query tracklets of info are not there, the first: 0099C1T0001"):
        open_dataset(mars, split="query")


@pytest.mark.parametrize("name", ["0001C1T1F001.jpg", "1C1T0001F001.jpg", "a.jpg"])
def test_a_wrong_mars_name_is_refused(mars: Path, make: Make, name: str) -> None:
    make(mars / "bbox_train/0001" / name)
    with pytest.raises(DatasetError) as caught:
        open_dataset(mars)
    assert name in str(caught.value)


@pytest.mark.parametrize("ending", ["", "_split"])
@pytest.mark.parametrize("mark", ["", "_"])
def test_dukemtmc_videoreid(tmp_path: Path, make: Make, ending: str, mark: str) -> None:
    def frame(split: str, identity: str, tracklet: str, camera: int, number: int) -> Path:
        name = mark.join((identity, f"C{camera}", f"F{number:04d}", f"X{30823 + number}.jpg"))
        return tmp_path / f"{split}{ending}" / identity / tracklet / name

    make(
        frame("train", "0001", "0003", 6, 2), frame("train", "0001", "0003", 6, 1), frame("train", "0001", "0004", 2, 1)
    )
    make(frame("query", "0005", "0001", 1, 1), frame("gallery", "0005", "0002", 2, 1))
    assert open_dataset(tmp_path).layout == "duke_video"
    assert rows(tmp_path) == [(f"train{ending}/0001/0003", "C6", "1", 2), (f"train{ending}/0001/0004", "C2", "1", 1)]
    assert rows(tmp_path, "query") == [(f"query{ending}/0005/0001", "C1", "5", 1)]
    assert rows(tmp_path, "gallery") == [(f"gallery{ending}/0005/0002", "C2", "5", 1)]
    assert [crop.frame for crop in open_dataset(tmp_path).tracklets[0].crops] == [30824, 30825]

    make(tmp_path / f"train{ending}/0001/0003/a.jpg")
    with pytest.raises(DatasetError, match=r"a\.jpg: expected a name like 0001_C6_F0099_X30823\.jpg"):
        open_dataset(tmp_path)
    (tmp_path / f"query{ending}").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="query: no such folder"):
        open_dataset(tmp_path, split="query")


def test_a_folder_called_train_is_a_plain_folder(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "train/anna/1/a.png", tmp_path / "train/0001/0003/CFX.jpg")
    assert open_dataset(tmp_path).layout == "folder"


def test_a_manifest_wins_over_a_layout(market: Path, tiny_dataset: Path) -> None:
    assert open_dataset(tiny_dataset).layout == "manifest"
    (market / "manifest.csv").touch()
    with pytest.raises(DatasetError, match="wrong columns"):
        open_dataset(market)
