"""What looks wrong with a tracklet is named; what does not is left alone."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_toolkit.datasets.oddities import Oddity, best_cut, oddities
from reid_toolkit.errors import ImageError
from reid_toolkit.records import Crop, Tracklet

FRAME = {"gate": (640, 480)}
RED, BLUE, GREEN = (40, 30, 200), (200, 60, 20), (40, 160, 40)


def walk(folder: Path, *jackets: tuple[int, int, int], **changes: float) -> Tracklet:
    """A crop for each jacket, of somebody who walks to the right; ``changes`` of every crop."""
    crops = []
    for number, jacket in enumerate(jackets):
        picture = np.full((100, 40, 3), 120, np.uint8)
        picture[10:90, 8:32] = jacket
        picture[50:90, 8:32] = (60, 50, 40)
        noise = np.random.default_rng(number).integers(0, 9, picture.shape, np.uint8)
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), picture + noise)
        crop = Crop(path, "gate", "gate-1", 5 * number, number / 5, 100.0 + 8 * number, 80, 40, 100, recording="gate")
        crops.append(replace(crop, **changes))
    return Tracklet("gate-1", "gate", tuple(crops))


def kinds(found: list[Oddity]) -> list[str]:
    return [one.kind for one in found]


def with_crop(tracklet: Tracklet, number: int, **changes: float) -> Tracklet:
    crops = list(tracklet.crops)
    crops[number] = replace(crops[number], **changes)
    return replace(tracklet, crops=tuple(crops))


def test_somebody_who_walks_is_not_odd(tmp_path: Path) -> None:
    assert oddities(walk(tmp_path, *[RED] * 8), FRAME) == []


def test_somebody_else_from_a_frame_on(tmp_path: Path) -> None:
    (found,) = oddities(walk(tmp_path, *[RED] * 5, *[BLUE] * 4), FRAME)
    assert (found.kind, found.frame) == ("two people", 25)
    assert found.words == "maybe two people: other colours from frame 25 on"


def test_a_moment_of_other_colours_is_nobody_else(tmp_path: Path) -> None:
    """As when somebody passes in front."""
    assert oddities(walk(tmp_path, *[RED] * 5, BLUE, *[RED] * 5), FRAME) == []


def test_too_few_crops_to_tell_two_people(tmp_path: Path) -> None:
    assert oddities(walk(tmp_path, RED, RED, BLUE, BLUE, BLUE), FRAME) == []


def test_long_tracklets_are_cut_where_the_colours_change(tmp_path: Path) -> None:
    (found,) = oddities(walk(tmp_path, *[RED] * 60, *[BLUE] * 40, x=100, time=None), FRAME)
    assert found.frame is not None
    assert abs(found.frame - 5 * 60) <= 15  # every second crop or so is looked at


@pytest.mark.parametrize(
    ("changes", "sizes", "odd"),
    [
        ({"x": -3.0}, FRAME, ["cut"]),
        ({"y": 0.0}, {}, ["cut"]),  # the left and the upper edge need no size
        ({"x": 600.0}, FRAME, ["cut"]),
        ({"y": 379.0}, FRAME, ["cut"]),
        ({"x": 600.0}, {}, []),
        ({"x": 600.0}, {"hall": (640, 480)}, []),
    ],
)
def test_boxes_that_the_edge_cuts(
    tmp_path: Path, changes: dict[str, float], sizes: dict[str, tuple[int, int]], odd: list[str]
) -> None:
    assert kinds(oddities(walk(tmp_path, *[RED] * 4, **changes), sizes)) == odd


def test_cut_in_half_of_the_crops_is_coming_and_going(tmp_path: Path) -> None:
    tracklet = with_crop(walk(tmp_path, *[RED] * 4, x=20.0), 0, x=0.0)
    tracklet = with_crop(tracklet, 1, x=1.0)
    assert oddities(tracklet, FRAME) == []
    (found,) = oddities(with_crop(tracklet, 2, x=0.5), FRAME)
    assert found.words == "cut by the frame's edge in 3 of 4 crops"


@pytest.mark.parametrize(
    ("width", "height", "odd"),
    [(90.0, 100.0, ["shape"]), (18.0, 100.0, ["shape"]), (80.0, 100.0, []), (16.0, 36.0, ["tiny"]), (20.0, 40.0, [])],
)
def test_shapes_and_sizes(tmp_path: Path, width: float, height: float, odd: list[str]) -> None:
    assert kinds(oddities(walk(tmp_path, *[RED] * 4, width=width, height=height), FRAME)) == odd


def test_without_boxes_the_pictures_tell_shape_and_size(tmp_path: Path) -> None:
    """As in benchmark layouts, which have pictures alone."""
    tracklet = walk(tmp_path, *[RED] * 4, x=0.0, y=0.0, width=0.0, height=0.0)
    assert oddities(tracklet, {}) == []
    for crop in tracklet.crops:
        cv2.imwrite(str(crop.path), np.full((30, 40, 3), RED, np.uint8))
    assert kinds(oddities(tracklet, {})) == ["shape", "tiny"]


def test_leaps_of_place_against_time(tmp_path: Path) -> None:
    tracklet = with_crop(walk(tmp_path, *[RED] * 4), 2, x=400.0)
    (found,) = oddities(tracklet, FRAME)
    assert (found.kind, found.frame) == ("leap", 10)
    assert found.words == "moves 2.9 of its heights in 0.2 s, at frame 10"
    slow = [replace(crop, time=crop.frame * 1.0) for crop in tracklet.crops]
    assert oddities(replace(tracklet, crops=tuple(slow)), FRAME) == []


def test_leaps_of_size(tmp_path: Path) -> None:
    tracklet = with_crop(walk(tmp_path, *[RED] * 4, time=None), 1, height=170.0, width=68.0)
    (found,) = oddities(tracklet, FRAME)
    assert found.words == "its height changes 1.7 times in 0.2 s, at frame 5"


def test_the_oddest_comes_first_and_colours_can_be_left_out(tmp_path: Path) -> None:
    tracklet = walk(tmp_path, *[RED] * 5, *[GREEN] * 4, x=0.0)
    assert kinds(oddities(tracklet, FRAME)) == ["two people", "cut"]
    for crop in tracklet.crops:
        crop.path.unlink()
    assert kinds(oddities(tracklet, FRAME, colours=False)) == ["cut"]
    with pytest.raises(ImageError, match=r"0\.png"):
        oddities(tracklet, FRAME)


@pytest.mark.parametrize("place", [3, 4, 7])
def test_the_best_cut_is_the_one_by_definition(place: int) -> None:
    rng = np.random.default_rng(place)
    vectors = rng.normal(size=(10, 6)) * 0.1 + np.where(np.arange(10)[:, None] < place, [1, 0, 0, 0, 0, 0], 0.4)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    distance = 1 - vectors @ vectors.T

    def apart(cut: int) -> float:
        pairs = [(a, b) for a in range(10) for b in range(a)]
        across = [distance[a, b] for a, b in pairs if (a < cut) != (b < cut)]
        inside = [distance[a, b] for a, b in pairs if (a < cut) == (b < cut)]
        return float(np.mean(across) - np.mean(inside))

    found, how_much = best_cut(vectors @ vectors.T)
    assert found == max(range(3, 8), key=apart) == place
    assert how_much == pytest.approx(apart(place), abs=1e-5)
