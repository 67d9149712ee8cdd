from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_toolkit.footage.crops import TrackletWriter, cut
from reid_toolkit.images import write_crop

FRAME = np.arange(100 * 200 * 3, dtype=np.int64).reshape(100, 200, 3).astype(np.uint8)


def box(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_a_crop_is_the_box_widened_by_the_margin() -> None:
    np.testing.assert_array_equal(cut(FRAME, box(50, 20, 70, 60), 0.0), FRAME[20:60, 50:70])
    np.testing.assert_array_equal(cut(FRAME, box(50, 20, 70, 60), 0.1), FRAME[16:64, 48:72])


def test_a_crop_is_clipped_to_the_frame() -> None:
    np.testing.assert_array_equal(cut(FRAME, box(-10, -5, 20, 60), 0.2), FRAME[0:73, 0:26])
    np.testing.assert_array_equal(cut(FRAME, box(180, 50, 205, 110), 0.0), FRAME[50:, 180:])


@pytest.mark.parametrize(
    "values", [(50, 20, 58, 60), (50, 20, 70, 40), (-30, 10, 20, 60), (300, 10, 330, 60)],
    ids=["narrow", "low", "mostly outside", "outside"],
)  # fmt: skip
def test_tiny_and_outside_boxes_give_nothing(values: tuple[float, ...]) -> None:
    assert cut(FRAME, box(*values), 0.1) is None


def test_a_crop_reads_back_nearly_as_it_was(tmp_path: Path) -> None:
    image = cv2.resize(np.random.default_rng(0).integers(0, 255, (8, 4, 3), np.uint8), (32, 64))
    write_crop(tmp_path / "a" / "b.jpg", image)
    read = cv2.imread(str(tmp_path / "a" / "b.jpg"))
    assert np.abs(read.astype(int) - image).mean() < 6


def test_every_kth_crop_is_kept_and_short_tracklets_go(tmp_path: Path) -> None:
    writer = TrackletWriter(tmp_path, "yard", "north", every=3, margin=0.0)
    for frame in range(10):
        writer.add(7, FRAME, frame, frame / 10, box(50, 20, 70, 60), 0.8)
    writer.add(8, FRAME, 4, 0.4, box(50, 20, 70, 60), 0.8)
    assert writer.drop_short(2) == 1
    assert [crop.frame for crop in writer.crops] == [0, 3, 6, 9]
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.jpg")) == [
        f"00007/{frame:07d}.jpg" for frame in (0, 3, 6, 9)
    ]
    crop = writer.crops[1]
    assert (crop.tracklet, crop.camera, crop.time) == ("yard-00007", "north", 0.3)
    assert (crop.x, crop.y, crop.width, crop.height) == (
        50,
        20,
        20,
        40,
    )  # the detector's box, without the margin
