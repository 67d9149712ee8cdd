import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.runtime import TrackletAverage
from reid_toolkit.runtime.tracklets import average, quality


def unit_rows(count: int, seed: int = 0, width: int = 6) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, width)) + 1
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(count=st.integers(1, 40), seed=st.integers(0, 1000), weighted=st.booleans(), parts=st.integers(1, 5))
def test_frame_by_frame_is_the_whole_at_once(count: int, seed: int, weighted: bool, parts: int) -> None:
    rows = unit_rows(count, seed)
    weights = np.random.default_rng(seed).uniform(0.01, 100, count) if weighted else None
    streaming = TrackletAverage()
    for places in np.array_split(np.arange(count), parts):
        streaming.add(rows[places], None if weights is None else weights[places])
    mean = np.average(rows.astype(np.float64), axis=0, weights=weights)
    assert streaming.count == count
    np.testing.assert_allclose(streaming.descriptor, average(rows, weights), atol=1e-7)
    np.testing.assert_allclose(streaming.descriptor, mean / np.linalg.norm(mean), atol=1e-6)
    assert streaming.descriptor.dtype == np.float32


def test_one_row_may_come_bare() -> None:
    (row,) = unit_rows(1)
    tracklet = TrackletAverage()
    tracklet.add(row, 3.0)
    np.testing.assert_allclose(tracklet.descriptor, row, atol=1e-7)


def test_it_can_be_asked_after_each_frame() -> None:
    rows = unit_rows(3)
    tracklet = TrackletAverage()
    for count, row in enumerate(rows, start=1):
        tracklet.add(row)
        np.testing.assert_allclose(tracklet.descriptor, average(rows[:count]), atol=1e-7)


def test_a_heavier_frame_pulls_the_mean_towards_it() -> None:
    rows = np.eye(2, dtype=np.float32)
    np.testing.assert_allclose(average(rows, [3, 4]), [0.6, 0.8], atol=1e-7)


def test_nothing_and_what_cancels_out_have_no_descriptor() -> None:
    with pytest.raises(InputError, match="without descriptors"):
        average(np.empty((0, 4), np.float32))
    with pytest.raises(InputError, match="cancel out"):
        average(np.array([[1, 0], [-1, 0]], np.float32))
    with pytest.raises(InputError, match="cancel out"):
        average(np.array([[1, 0], [-1, 0]], np.float32), [1e9, 1e9])


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [1, 0], [1, -1], [1, np.nan], [1, np.inf]])
def test_wrong_weights_are_refused_and_change_nothing(weights: list[float]) -> None:
    rows = unit_rows(2)
    tracklet = TrackletAverage()
    tracklet.add(rows)
    before = tracklet.descriptor
    with pytest.raises(InputError, match="expected 2 finite numbers above 0"):
        tracklet.add(rows, weights)
    np.testing.assert_array_equal(tracklet.descriptor, before)


def test_rows_that_do_not_belong_are_refused() -> None:
    tracklet = TrackletAverage()
    tracklet.add(unit_rows(1))
    with pytest.raises(InputError, match=r"shape \(1, 5\): expected \(B, 6\) or \(6,\)"):
        tracklet.add(unit_rows(1, width=5))
    with pytest.raises(InputError, match="NaN"):
        tracklet.add(np.full(6, np.nan, np.float32))


def test_sharp_and_large_crops_are_worth_more(picture) -> None:
    sharp = picture(0, seed=1, height=128, width=64)
    blurred = cv2.GaussianBlur(sharp, (9, 9), 3)
    small = cv2.resize(sharp, (16, 32), interpolation=cv2.INTER_AREA)
    worth = [quality(image, 64, 32) for image in (sharp, blurred, small)]
    assert worth[0] > 1.5 * worth[1]
    assert worth[0] > 1.5 * worth[2]


def test_a_crop_larger_than_the_input_is_worth_no_more_for_it() -> None:
    assert (
        quality(np.full((128, 64, 3), 9, np.uint8), 64, 32) == quality(np.full((64, 32, 3), 9, np.uint8), 64, 32) == 1
    )


def test_a_plain_single_pixel_still_counts() -> None:
    assert quality(np.zeros((1, 1, 3), np.uint8), 64, 32) == pytest.approx(1 / 2048)
