"""How many false alerts a day are allowed, and what that means for each comparison with the watch list.

A comparison of two different people comes under the limit of a false-match rate with at most this probability
(``calibration``). So the expected number of false alerts is at most the sum of the rates of all comparisons (the union
bound, which holds also if comparisons depend on each other). The sum of a day is kept under the number that is allowed.
A tracklet is compared a few times while it grows; each time counts.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable

from reid_toolkit.times import is_unix_time

LOOKS = (3, 8, 21)
"""A tracklet is compared when it has so many crops."""
DAY, HOUR = 86_400.0, 3600.0
FEWEST = 100
"""So many tracklets an hour are assumed until an hour was seen, if the gallery does not tell."""
LAST_QUARTER = 4
"""When less than a quarter of a day's allowance is left, each comparison gets less, so that something stays."""

Limit = Callable[[float, str | None, str], float | None]
"""The distance under which two people come in at most this share of comparisons, for the cameras of both. None if the
calibration has too little evidence for it."""


class AlertBudget:
    """Gives each comparison its false-match rate. One object serves the whole watch list of a watch."""

    def __init__(self, a_day: float, expected: float | None = None) -> None:
        """``a_day``: false alerts that are allowed in 24 hours. ``expected``: tracklets a day, if that is known."""
        self.a_day, self.expected = a_day, expected
        self.sizes: dict[str, int] = {}
        """How many descriptors each part of the watch list has: a tracklet is compared with all of them."""
        self.tracklets = 0
        """Tracklets that were compared so far."""
        self._last: dict[str, float] = {}
        self._passed: dict[str, float] = {}
        """Seconds that have passed before each camera, without jumps of its clock."""
        self._spent: dict[int, float] = {}
        """The sum of the rates of each hour."""

    @property
    def a_tracklet(self) -> int:
        """Comparisons of a tracklet."""
        return len(LOOKS) * max(sum(self.sizes.values()), 1)

    @property
    def tracklets_a_day(self) -> float:
        """How many tracklets a day there are: by the gallery or by the footage so far, whichever is more."""
        seconds = max(self._passed.values(), default=0.0)
        count = self.tracklets if self.expected or seconds >= HOUR else max(self.tracklets, FEWEST)
        return max(self.expected or 0.0, DAY * count / max(seconds, HOUR), 1.0)

    @property
    def comparisons_a_day(self) -> float:
        """How many comparisons a day there are."""
        return self.tracklets_a_day * self.a_tracklet

    def pass_time(self, camera: str, time: float) -> None:
        """It is ``time`` before a camera, in seconds."""
        step = time - self._last.get(camera, time)
        self._last[camera] = time
        # After more than a day the clock was set, as on a box without a battery. If instead nobody came for so long,
        # leaving the time out makes the limits stricter.
        if 0 <= step <= DAY:
            self._passed[camera] = self._passed.get(camera, 0.0) + step
        elif step < 0:  # the clock was set back, and what was spent in hours to come was spent by now
            hour = int(time // HOUR)
            late = [self._spent.pop(one) for one in list(self._spent) if one > hour]
            self._spent[hour] = self._spent.get(hour, 0.0) + sum(late)

    def spend(self, time: float, comparisons: int) -> float:
        """The false-match rate for each of so many comparisons, which are made at ``time``."""
        hour = int(time // HOUR)
        # What was spent late in an hour counts for 24 hours, so until late in the same hour of the next day.
        for past in [one for one in self._spent if one < hour - 24]:
            del self._spent[past]
        left = max(self.a_day - sum(self._spent.values()), 0.0)
        rate = min(self.a_day, LAST_QUARTER * left) / self.comparisons_a_day
        rate = min(rate, left / max(comparisons, 1), 1.0)
        self._spent[hour] = self._spent.get(hour, 0.0) + rate * comparisons
        return rate


def looks_at(frames: int) -> int:
    """How many times a tracklet with so many crops should have been compared."""
    return bisect_right(LOOKS, frames)


def busiest_day(times: Iterable[float | None]) -> float | None:
    """The largest number of these Unix times in one day (UTC). If all are within a day, as many as a whole day would
    have at the same pace. None if there are none."""
    dated = sorted(time for time in times if time is not None and is_unix_time(time))
    if not dated:
        return None
    span = dated[-1] - dated[0]
    if span < DAY:
        return len(dated) * DAY / max(span, HOUR)
    counts: dict[int, int] = {}
    for time in dated:
        counts[int(time // DAY)] = counts.get(int(time // DAY), 0) + 1
    return float(max(counts.values()))
