"""Market-1501 folders out, read by our own reader of that layout."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.dataset import Dataset, group_tracklets
from reid_toolkit.errors import DatasetError, InputError
from reid_toolkit.exchange.market import write_market
from reid_toolkit.records import Crop

PEOPLE = {
    "n1": ("north", "7"), "n2": ("north", "anna"), "n3": ("north", None), "g1": ("gate", "7"), "g2": ("gate", "0"),
    "g3": ("gate", "-1"), "g4": ("gate", "anna"), "g5": ("gate", None),
}  # fmt: skip
"""Camera and identity of each tracklet."""


@pytest.fixture
def people(tmp_path: Path) -> Dataset:
    crops = []
    for shade, (name, (camera, identity)) in enumerate(PEOPLE.items()):
        for frame in (3, 4, 5):
            path = tmp_path / f"{name}-{frame}{'.png' if name == 'n1' else '.jpg'}"
            cv2.imwrite(str(path), np.full((40, 20, 3), 20 * shade + frame, np.uint8))
            crops.append(Crop(path, camera, name, frame, 1.0, identity=identity, recording=f"{camera}-x"))
    return Dataset(tmp_path, "manifest", group_tracklets(crops))


def test_training_images_are_read_as_they_were(people: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "market"
    report = write_market(people, out)
    found = open_dataset(out)
    assert found.layout == "market1501"
    assert report.images == {"bounding_box_train": 24}
    assert (report.people, report.unknown, report.cameras) == (4, 2, {"gate": "c1", "north": "c2"})
    with open(out / "train.csv", newline="") as handle:
        rows = {row["image"]: row for row in csv.DictReader(handle)}
    who: dict[str, set[str | None]] = {}
    for tracklet in found.tracklets:
        (crop,), row = tracklet.crops, rows[tracklet.name]
        source = next(one for one in people.tracklets if one.name == row["tracklet"])
        before = next(one for one in source.crops if one.frame == crop.frame)
        assert crop.camera == report.cameras[source.camera] == report.cameras[row["camera"]]
        who.setdefault(source.name, set()).add(crop.identity)
        if before.path.suffix == ".jpg":
            assert crop.path.read_bytes() == before.path.read_bytes()
        assert crop.path.suffix == ".jpg"
    assert len(rows) == 24
    assert who["n1"] == who["g1"] == {"7"}
    assert who["g2"] == {"0"}
    assert who["g3"] == {"-1"}
    assert who["n2"] == who["g4"]
    assert len({*who["n2"], *who["n3"], *who["g5"], "7", "0", "-1"}) == 6


def test_queries_and_gallery(people: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "market"
    write_market(people, out)
    report = write_market(people, out, "test")  # both parts fit into one folder
    assert report.images == {"query": 4, "bounding_box_test": 20}
    queries, gallery = open_dataset(out, split="query"), open_dataset(out, split="gallery")
    assert sorted((crop.camera, crop.frame) for crop in queries.crops) == [("c1", 4), ("c1", 4), ("c2", 4), ("c2", 4)]
    assert len({crop.identity for crop in queries.crops}) == 2
    assert {crop.identity for crop in queries.crops} < {crop.identity for crop in gallery.crops}
    assert len(gallery.crops) == 20


def test_tracklets_of_one_person_in_one_frame_get_different_names(people: Dataset, tmp_path: Path) -> None:
    write_market(people.with_identities(dict.fromkeys(PEOPLE, "5")), tmp_path / "market")
    names = sorted(path.name for path in (tmp_path / "market" / "bounding_box_train").iterdir())
    assert names[:3] == ["0005_c1s1_000003_00.jpg", "0005_c1s1_000003_01.jpg", "0005_c1s1_000003_02.jpg"]


def test_cameras_that_have_such_names_keep_them(people: Dataset, tmp_path: Path) -> None:
    write_market(people, tmp_path / "one")
    again = open_dataset(tmp_path / "one")
    assert write_market(again, tmp_path / "two").cameras == {"c1": "c1", "c2": "c2"}
    names = [
        {path.name.partition("s")[0] for path in (tmp_path / x / "bounding_box_train").iterdir()}
        for x in ("one", "two")
    ]
    assert names[0] == names[1]


def test_what_is_refused(people: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no person is known to be seen by two cameras"):
        write_market(people.with_identities({}), tmp_path / "market", "test")
    write_market(people, tmp_path / "market")
    with pytest.raises(InputError, match="is there already"):
        write_market(people, tmp_path / "market")
    (tmp_path / "market" / "train.csv").unlink()
    with pytest.raises(InputError, match="bounding_box_train: is there already"):
        write_market(people, tmp_path / "market")
    (tmp_path / "n2-4.jpg").unlink()
    with pytest.raises(FileNotFoundError):
        write_market(people, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []
