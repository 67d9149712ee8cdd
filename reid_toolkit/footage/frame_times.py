"""When a frame was taken: the container's time stamps, made to go forward."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

LONGEST_GAP = 7 * 86400.0
"""A leap by more seconds than this is no gap in one recording, but a clock that was set, as from 0 to Unix time."""
LEAP_SECONDS = 1.0
"""A step of the stamps by more than this is looked at twice."""
LEAP_FRAMES = 3
"""And by more than so many frames, where these are rare."""
AHEAD = 4
"""How many frames after a leap are waited for, to see whether the stamps come back."""


def leap(frame_rate: float) -> float:
    """Seconds without a frame after which nobody in view can be followed any further."""
    return max(LEAP_SECONDS, LEAP_FRAMES / frame_rate)


def timed(stamped: Iterable[tuple[float, T]], frame_rate: float) -> Iterator[tuple[float, T]]:
    """Replace each stamp, in seconds or NaN, by the seconds since the first, strictly increasing.

    - A stamp that is missing, or does not go forward, counts as a frame's worth after the one before.
    - Stamps that leap and come back within :data:`AHEAD` frames are wrong, and count as the same.
    - Stamps that leap forward and stay are a gap in the recording.
    - Stamps that leap back and stay, or forward by more than :data:`LONGEST_GAP`, are a clock that was set anew: from
      there on they count as going on.
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
