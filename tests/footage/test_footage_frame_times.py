"""Time stamps that do not go forward."""

import math

import pytest

from reid_toolkit.footage.frame_times import timed

NAN = math.nan
HOUR = 3600.0


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([0, 0, 0, 0], [0, 0.1, 0.2, 0.3]),
        ([5, 5.1, 5.25, 5.3], [0, 0.1, 0.25, 0.3]),
        ([0, 0.1, 0.05, 0.3], [0, 0.1, 0.2, 0.3]),
        ([NAN] * 3, [0, 0.1, 0.2]),
        ([NAN, 7, 7.1], [0, 0.1, 0.2]),
        ([0, 0.1, NAN, 0.3], [0, 0.1, 0.2, 0.3]),
        ([0, 0.1, HOUR, HOUR + 0.1], [0, 0.1, HOUR, HOUR + 0.1]),
        ([0, 0.1, HOUR, 0.3, 0.4], [0, 0.1, 0.2, 0.3, 0.4]),
        ([0, 0.1, HOUR, HOUR + 0.1, 0.4, 0.5], [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        ([HOUR, 0.1, 0.2], [0, 0.1, 0.2]),
        ([0, 0.1, 0.2, -HOUR, 0.4], [0, 0.1, 0.2, 0.3, 0.4]),
        ([9, 9.1, 0, 0.1, 0.2], [0, 0.1, 0.2, 0.3, 0.4]),
        ([0, 1.7e9, 1.7e9 + 0.1, 1.7e9 + 0.3], [0, 0.1, 0.2, 0.4]),
        ([0, *[1.7e9 + n / 10 for n in range(6)], 0.7, 0.8], [n / 10 for n in range(9)]),
        ([1.7e9, 0, 1.7e9 + 0.2], [0, 0.1, 0.2]),
        ([0, 5, 10, 15], [0, 5, 10, 15]),
        ([], []),
    ],
    ids=[
        "zeros", "does not begin at zero", "a step back", "none", "none at first", "one missing", "a gap",
        "leaps and comes back", "two leap and come back", "the first one leaps", "leaps back for a frame",
        "the clock is set anew",
        "Unix time after a zero", "Unix time for a while", "a zero in Unix time",
        "a picture every five seconds", "no frame",
    ],
)  # fmt: skip
def test_times_go_forward_whatever_the_container_says(stamps: list[float], times: list[float]) -> None:
    found = list(timed([(stamp, number) for number, stamp in enumerate(stamps)], 10.0))
    assert [time for time, _ in found] == pytest.approx(times)
    assert [number for _, number in found] == list(range(len(stamps)))


def test_a_leap_that_stays_is_a_gap_though_the_stamps_jitter() -> None:
    stamps = [0.0, 0.1, HOUR, HOUR + 0.12, HOUR + 0.11, HOUR + 0.3]
    times = [time for time, _ in timed([(stamp, None) for stamp in stamps], 10.0)]
    assert times == sorted(set(times))
    assert times[2:] == pytest.approx([HOUR, HOUR + 0.12, HOUR + 0.22, HOUR + 0.3])
