"""A dataset's boxes and tracks, written for other programs and read again."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_toolkit.datasets.dataset import Dataset, group_tracklets
from reid_toolkit.errors import DatasetError, InputError
from reid_toolkit.exchange.outgoing import WRITERS, numbered, write_tracks
from reid_toolkit.exchange.reading import read_tracks
from reid_toolkit.records import Crop

SIZES = {"hall": (640, 480), "north-1": (1920, 1080)}


def crop(recording: str, track: str, frame: int, box: tuple[float, ...] = (1.5, 2, 30, 60), **about: object) -> Crop:
    x, y, width, height = box
    path = Path(f"/set/{recording}/{track}/{frame}.jpg")
    return Crop(path, "north", track, frame, frame / 25, x, y, width, height, recording=recording, **about)  # type: ignore[arg-type]


def dataset(*crops: Crop) -> Dataset:
    return Dataset(Path("/set"), "manifest", group_tracklets(crops))


TENTHS = st.integers(-300, 9_999).map(lambda tenths: tenths / 10)
LENGTHS = st.integers(1, 9_999).map(lambda tenths: tenths / 10)
CROPS = st.dictionaries(
    st.tuples(st.sampled_from(sorted(SIZES)), st.integers(0, 30), st.integers(0, 500)),
    st.tuples(TENTHS, TENTHS, LENGTHS, LENGTHS),
    min_size=1,
    max_size=15,
)


@settings(max_examples=40, deadline=None)
@given(CROPS)
@pytest.mark.parametrize("form", WRITERS)
def test_boxes_frames_and_tracks_are_read_as_they_were(
    form: str, boxes: dict[tuple[str, int, int], tuple[float, float, float, float]]
) -> None:
    held = dataset(*(crop(name, f"{name}-{track:05d}", frame, box) for (name, track, frame), box in boxes.items()))
    with tempfile.TemporaryDirectory() as folder:
        written = write_tracks(held, form, Path(folder) / "out", SIZES)
        found = {}
        for path in written.files:
            tracks = read_tracks(path, path.read_bytes())[1].in_pixels(SIZES[path.stem])
            rows = zip(tracks.numbers.tolist(), tracks.frames.tolist(), np.round(tracks.boxes, 1).tolist(), strict=True)
            found |= {(path.stem, number, frame): tuple(box) for number, frame, box in rows}
    assert found == boxes
    assert (written.boxes, written.tracks) == (len(boxes), len({key[:2] for key in boxes}))


def test_tracks_keep_the_numbers_of_their_names() -> None:
    names = ["hall-00007", "hall-00007-2", "hall-7", "hall-x", "other-00003", "hall-00000"]
    assert numbered("hall", sorted(names)) == {
        "hall-00007": 7, "hall-00000": 0, "hall-00007-2": 8, "hall-7": 9, "hall-x": 10, "other-00003": 11,
    }  # fmt: skip


def test_names_of_recordings_become_names_of_files(tmp_path: Path) -> None:
    held = dataset(crop("a/b", "x", 1), crop("a b", "y", 1), crop("", "z", 1))
    written = write_tracks(held, "mot", tmp_path / "out", {})
    assert [path.name for path in written.files] == ["a_b.txt", "a_b-2.txt", "north.txt"]


def test_coco_and_fiftyone_hold_names_and_identities(tmp_path: Path) -> None:
    held = dataset(crop("hall", "hall-00007", 1, identity="anna"), crop("hall", "hall-00008", 1))
    for form in ("coco", "fiftyone"):
        text = write_tracks(held, form, tmp_path / form, SIZES).files[0].read_text()
        assert text.count("anna") == 1
        assert text.count('"hall-00007"') == 1


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="a crop without a box"):
        write_tracks(dataset(crop("hall", "a", 1, (0, 0, 0, 0))), "mot", tmp_path / "out", {})
    twice = dataset(crop("hall", "a", 1, origin="row 2"), crop("hall", "a", 1, origin="row 3"))
    with pytest.raises(DatasetError, match="row 3: a second box of track 1 in one frame, the first is in row 2"):
        write_tracks(twice, "mot", tmp_path / "out", {})
    with pytest.raises(InputError, match="recording 'yard': the size of the frames is not known"):
        write_tracks(dataset(crop("yard", "a", 1)), "fiftyone", tmp_path / "out", SIZES)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    write_tracks(dataset(crop("hall", "a", 1)), "mot", tmp_path / "out", {})
    with pytest.raises(InputError, match="is there already"):
        write_tracks(dataset(crop("hall", "a", 1)), "coco", tmp_path / "out", {})
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "hall.txt"]


def test_the_working_directory_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    held = dataset(crop("hall", "a", 1))
    for out in (Path("."), tmp_path):
        with pytest.raises(InputError, match="is the working directory: expected a new folder"):
            write_tracks(held, "mot", out, {})
    assert list(tmp_path.iterdir()) == []
    assert write_tracks(held, "mot", Path("new"), {}).files == (Path("new/hall.txt"),)


def test_recordings_of_two_cameras_with_one_name_are_two_files(tmp_path: Path) -> None:
    crops = [replace(crop("", "x-1", 0), camera=camera, tracklet=f"{camera}-1") for camera in ("north", "south")]
    one = [replace(each, recording="2026-11-22") for each in crops]
    written = write_tracks(dataset(*one), "mot", tmp_path / "out", {})
    assert [path.name for path in written.files] == ["north-2026-11-22.txt", "south-2026-11-22.txt"]
    assert [len(path.read_text().splitlines()) for path in written.files] == [1, 1]
