"""The time of a live stream's frames: the machine's clock, which may be set meanwhile."""

import time
import warnings

SET_SECONDS = 1.0
"""The clock was set when it went on by this much more or less than time did."""
LEAST_STEP = 1e-3
"""Seconds between two frames at least: those that waited come all at once."""


class Clock:
    """Unix time that goes on as time does, until the machine's clock is set; then it is taken anew.

    Only there does it leap, back or forward: who follows somebody by these times has to begin again.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._offset = time.time() - self._last

    def now(self) -> float:
        """Seconds. Later than at the call before, by :data:`LEAST_STEP` at least, or else on a clock that was set.

        Warns of a clock that was set (RuntimeWarning).
        """
        moment = time.monotonic()
        apart = time.time() - moment - self._offset
        if abs(apart) > SET_SECONDS:
            self._offset += apart
            warnings.warn(
                f"the machine's clock was set {'back' if apart < 0 else 'forward'} by {abs(apart):.1f} s: whoever is "
                "in view is a new tracklet from here on, with times by the new clock",
                RuntimeWarning,
                stacklevel=2,
            )
        self._last = max(moment, self._last + LEAST_STEP)
        return self._last + self._offset
