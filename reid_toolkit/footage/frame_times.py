"""Frame times: the container's time stamps, made strictly increasing."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

LONGEST_GAP = 7 * 86400.0
"""Seconds. A longer forward jump is not a gap in a recording: the clock was set, for example from 0 to Unix time."""
LEAP_SECONDS = 1.0
"""Seconds. Time stamps that jump by more are checked against the frames that follow."""
LEAP_FRAMES = 3
"""At low frame rates, the jump must also exceed this many frames."""
AHEAD = 4
"""How many frames after a jump are read to see whether the stamps come back."""


def leap(frame_rate: float) -> float:
    """Return the longest gap, in seconds, over which a person in view can still be tracked."""
    return max(LEAP_SECONDS, LEAP_FRAMES / frame_rate)


def timed(stamped: Iterable[tuple[float, T]], frame_rate: float) -> Iterator[tuple[float, T]]:
    """Replace each stamp, in seconds or NaN, by the seconds since the first, strictly increasing.

    - A stamp that is missing or does not increase becomes the previous time plus one frame.
    - Stamps that jump but come back within :data:`AHEAD` frames are wrong and treated in the same way.
    - Stamps that jump forward and stay there are a gap in the recording.
    - Stamps that jump back and stay, or jump forward by more than :data:`LONGEST_GAP`, mean that the clock was set.
      Times then continue from the last frame.
    """
    usual, most = 1 / frame_rate, leap(frame_rate)
    source = iter(stamped)
    ahead: deque[tuple[float, T]] = deque()
    first, last = math.nan, -usual
    while ahead or (ahead := deque(islice(source, 1))):
        stamp, thing = ahead.popleft()
        if math.isnan(first) and math.isfinite(stamp):
            first = stamp - (last + usual)
        time = stamp - first
        if abs(time - last) > most:
            ahead.extend(islice(source, AHEAD - len(ahead)))
            later = [stamp - first for stamp, _ in ahead]
            if time > last and any(when < time for when in later):
                time = math.nan
            elif time > last + LONGEST_GAP or (time < last and not any(when > last for when in later)):
                first = stamp - (last + usual)
                time = last + usual
        last = time if time > last else last + usual
        yield last, thing
