import numpy as np
import pytest

from reid_toolkit.footage.tracker import Tracker

SCORE = np.array([0.9], np.float32)


def box(number: int, height: int = 90) -> np.ndarray:
    return np.array([[10 + 4 * number, 50, 45 + 4 * number, 50 + height]], np.float32)


def nothing() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


def test_one_walker_is_one_track() -> None:
    tracker = Tracker(10.0)
    given = [tracker.update(box(number), SCORE, number / 10) for number in range(20)]
    numbers = {track for members in given for track, _, _ in members}
    assert len(numbers) == 1
    assert -1 not in numbers
    assert sum(map(len, given)) >= 18  # the first box or two belong to no track yet
    _, last, score = given[-1][0]
    np.testing.assert_allclose(last, box(19)[0])
    assert score == np.float32(0.9)


def test_a_short_absence_keeps_the_track_and_a_long_one_does_not() -> None:
    for absent, tracks in ((4, 1), (30, 2)):
        tracker, numbers = Tracker(10.0), set()
        for number in range(60 + absent):
            here = number < 20 or number >= 20 + absent
            members = tracker.update(*((box(number), SCORE) if here else nothing()), number / 10)
            numbers |= {track for track, _, _ in members}
        assert len(numbers) == tracks


def test_a_poor_box_goes_on_with_a_track_but_is_not_given_out() -> None:
    tracker = Tracker(10.0)
    for number in range(10):
        before = tracker.update(box(number), SCORE, number / 10)
    assert tracker.update(box(10), np.array([0.3], np.float32), 1.0) == []
    assert tracker.update(box(11), SCORE, 1.1)[0][0] == before[0][0]


def test_a_leap_in_height_is_not_given_out() -> None:
    tracker = Tracker(10.0)
    for number in range(10):
        before = tracker.update(box(number), SCORE, number / 10)
    assert tracker.update(box(10, height=130), SCORE, 1.0) == []
    assert tracker.update(box(11), SCORE, 1.1)[0][0] == before[0][0]


def test_frames_without_anybody_are_fine() -> None:
    tracker = Tracker(10.0)
    assert [tracker.update(*nothing(), number / 10) for number in range(3)] == [[], [], []]


def test_a_track_goes_on_over_frames_left_out() -> None:
    """A walker at ten pixels a frame, and eight frames missing: two widths, which time alone tells from a leap."""
    for with_times, tracks in ((True, 1), (False, 2)):
        tracker, numbers = Tracker(25.0), set()
        for place, number in enumerate([*range(30), *range(38, 60)]):
            walker = np.array([[10 * number, 50, 10 * number + 35, 140]], np.float32)
            members = tracker.update(walker, SCORE, (number if with_times else place) / 25)
            numbers |= {track for track, _, _ in members}
        assert len(numbers) == tracks


@pytest.mark.parametrize("rate", [25.0, 2.0, 1.0, 0.9, 0.5, 0.1])
def test_somebody_is_followed_however_rare_the_frames_are(rate: float) -> None:
    tracker = Tracker(rate)
    given = [tracker.update(box(0), SCORE, number / rate) for number in range(20)]
    assert sum(map(len, given)) >= 18
    assert len({track for members in given for track, _, _ in members}) == 1
    (before,) = tracker.alive
    tracker.update(*nothing(), 20 / rate)
    assert [track for track, _, _ in tracker.update(box(0), SCORE, 21 / rate)] == [before], "a frame was missed"


def test_after_a_gap_everybody_is_new_and_no_number_comes_twice() -> None:
    tracker, seen = Tracker(10.0), []
    for began in (0.0, 3600.0, 7200.0):
        given = [tracker.update(box(number), SCORE, began + number / 10) for number in range(10)]
        (track,) = {track for members in given for track, _, _ in members}
        assert tracker.alive == {track}
        seen.append(track)
    assert len(set(seen)) == 3
    tracker.forget()
    assert tracker.alive == set()


def test_where_the_clock_was_set_back_everybody_is_new_and_is_followed_on() -> None:
    tracker, tracks = Tracker(10.0), []
    for began in (3600.0, 1.0):
        given = [tracker.update(box(number), SCORE, began + number / 10) for number in range(20)]
        tracks.append({track for members in given for track, _, _ in members})
        assert sum(map(len, given)) >= 18
    first, second = tracks
    assert len(first) == len(second) == 1
    assert first != second


def test_what_is_gone_is_not_alive_and_leaves_nothing() -> None:
    tracker = Tracker(10)
    for number in range(5):
        tracker.update(box(number), SCORE, number / 10)
    assert len(tracker.alive) == len(tracker.heights) == 1
    tracker.update(*nothing(), 1.0)
    assert len(tracker.alive) == 1, "lost for half a second"
    tracker.update(*nothing(), 2.0)
    tracker.update(*nothing(), 2.1)
    assert not tracker.alive
    assert not tracker.heights
