from itertools import combinations

import cv2
import numpy as np
import pytest
from drawn_yard import EMPTY, RATE, background, draw_frame, walker_box

from reid_toolkit.footage.motion import MotionDetector, join_stacked
from reid_toolkit.footage.tracker import BEGIN_SCORE, GOOD_SCORE


def detector_after(frames: int) -> MotionDetector:
    detector = MotionDetector()
    detector.start(RATE)
    for number in range(frames):
        detector(draw_frame(number))
    return detector


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - shared)


def expected_box(number: int) -> np.ndarray:
    x, y, width, height = walker_box(number)
    return np.array([x, y, x + width, y + height], np.float32)


def test_somebody_who_crosses_is_found_in_every_frame_and_well_enough_to_be_tracked() -> None:
    detector = detector_after(EMPTY)
    for number in range(EMPTY, 50):
        boxes, scores = detector(draw_frame(number))
        assert boxes.dtype == scores.dtype == np.float32
        assert boxes.shape == (1, 4)
        assert overlap(boxes[0], expected_box(number)) > 0.8
        assert scores[0] >= BEGIN_SCORE


def test_a_thin_frame_is_searched() -> None:
    detector = MotionDetector()
    detector.start(RATE)
    boxes, _ = detector(np.zeros((2000, 1, 3), np.uint8))
    assert boxes.shape == (0, 4)


def test_boxes_of_a_large_frame_are_in_its_own_pixels() -> None:
    detector = MotionDetector()
    detector.start(RATE)
    for number in range(EMPTY + 8):
        boxes, _ = detector(cv2.resize(draw_frame(number), (1280, 960), interpolation=cv2.INTER_NEAREST))
    assert overlap(boxes[0], 4 * expected_box(EMPTY + 7)) > 0.8


def test_nothing_moves_nothing_is_found() -> None:
    detector = MotionDetector()
    detector.start(RATE)
    for _ in range(30):
        boxes, scores = detector(background())
        assert boxes.shape == (0, 4)
        assert scores.shape == (0,)


def test_the_first_second_only_teaches() -> None:
    detector = MotionDetector()
    detector.start(RATE)
    found = [len(detector(draw_frame(number))[0]) for number in range(EMPTY, EMPTY + round(RATE))]
    assert not any(found)


def test_light_going_on_is_nobody() -> None:
    detector = detector_after(EMPTY)
    boxes, _ = detector(cv2.add(background(), np.full(3, 60.0)))
    assert len(boxes) == 0


def test_a_new_recording_is_begun_afresh() -> None:
    detector = detector_after(40)
    detector.start(RATE)
    assert len(detector(draw_frame(45))[0]) == 0


def test_somebody_half_in_view_does_not_begin_a_track() -> None:
    detector = detector_after(EMPTY)
    frame = background()
    frame[80:170, 0:30] = (40, 30, 200)
    _, scores = detector(frame)
    assert (scores < GOOD_SCORE).all()


def test_a_group_as_wide_as_tall_is_left_out() -> None:
    detector = detector_after(EMPTY)
    frame = background()
    frame[80:170, 100:190] = (40, 30, 200)
    assert len(detector(frame)[0]) == 0


@pytest.mark.parametrize(
    ("boxes", "joined"),
    [
        ([[100, 50, 130, 90], [102, 95, 128, 140]], 1),
        ([[100, 50, 130, 90], [160, 95, 190, 140]], 2),
        ([[100, 20, 125, 90], [100, 92, 125, 170]], 2),
    ],
    ids=["head and coat", "beside each other", "two people one behind the other"],
)
def test_stacked_parts_are_joined(boxes: list[list[int]], joined: int) -> None:
    found = join_stacked(np.array(boxes, np.float32), 240)
    assert len(found) == joined
    assert found[:, :2].min() == np.array(boxes)[:, :2].min()


def slowly_joined(boxes: np.ndarray, frame_height: int) -> list[list[float]]:
    """The plain way: the first pair that belongs together is joined, and the search begins anew."""

    def whole(a: list[float], b: list[float]) -> list[float]:
        return [min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])]

    def belong(a: list[float], b: list[float]) -> bool:
        left, top, right, bottom = whole(a, b)
        width, height = right - left, bottom - top
        narrower = min(a[2] - a[0], b[2] - b[0])
        overlap, gap = min(a[2], b[2]) - max(a[0], b[0]), max(a[1], b[1]) - min(a[3], b[3])
        upright = all(x2 - x1 < 0.55 * (y2 - y1) for x1, y1, x2, y2 in (a, b))
        stacked = overlap >= 0.5 * narrower and gap <= 0.2 * height
        return stacked and not upright and width <= 0.6 * height <= 0.3 * frame_height

    pending = boxes.tolist()
    while pair := next(((a, b) for a, b in combinations(range(len(pending)), 2) if belong(pending[a], pending[b])), ()):
        a, b = pair
        pending[a] = whole(pending[a], pending[b])
        del pending[b]
    return pending


@pytest.mark.parametrize("count", [0, 1, 2, 5, 20, 60])
def test_parts_are_joined_as_one_after_the_other_would_be(count: int) -> None:
    random, joined = np.random.default_rng(count), 0
    for _ in range(10):
        corner = random.integers(0, 200, (count, 2))
        boxes = np.hstack([corner, corner + random.integers(5, 45, (count, 2))]).astype(np.float32)
        found = join_stacked(boxes, 240)
        assert found.dtype == np.float32
        assert found.shape == (len(found), 4)
        assert found.tolist() == slowly_joined(boxes, 240)
        joined += count - len(found)
    assert joined > 0 or count < 20
