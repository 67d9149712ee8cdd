"""Times for the frames of a live stream, by the machine's clock, which may be set while the stream runs."""

import time
import warnings

SET_SECONDS = 1.0
"""If the clock gains or loses more than this against elapsed time, it was set."""
LEAST_STEP = 1e-3
"""Least time between two frames, in seconds, because frames that waited arrive all at once."""


class Clock:
    """Unix time that follows elapsed time until the machine's clock is set, and then starts from the new clock.

    The time jumps, back or forward, only when the clock is set. After a jump, tracking by these times must start anew.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._offset = time.time() - self._last

    def now(self) -> float:
        """Return Unix time in seconds, at least :data:`LEAST_STEP` later than the last call, unless the clock was set.

        Warns (RuntimeWarning) if the clock was set.
        """
        moment = time.monotonic()
        apart = time.time() - moment - self._offset
        if abs(apart) > SET_SECONDS:
            self._offset += apart
            warnings.warn(
                f"the machine's clock was set {'back' if apart < 0 else 'forward'} by {abs(apart):.1f} s: everybody in "
                "view becomes a new tracklet from here on, with times by the new clock",
                RuntimeWarning,
                stacklevel=2,
            )
        self._last = max(moment, self._last + LEAST_STEP)
        return self._last + self._offset
