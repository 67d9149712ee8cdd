"""How often something may happen, for each client."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

MOST = 10_000
"""Clients that are remembered. Of more, those are forgotten that were not seen for the longest time."""


class RateLimit:
    """A bucket of tries for each client, which fills again with time."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``rate`` tries a second, and up to ``burst`` at once."""
        self.rate, self.burst, self._clock = rate, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def wait(self, client: str) -> int:
        """Seconds, rounded up, until the client may try. 0 if it may try now. Takes nothing from the bucket."""
        with self._lock:
            left = self._now(client)
        return 0 if left >= 1 else 1 + int((1 - left) / self.rate)

    def take(self, client: str) -> int:
        """:meth:`wait`, and takes a try from the bucket if it is 0."""
        with self._lock:
            left = self._now(client)
            if left < 1:
                return 1 + int((1 - left) / self.rate)
            self._left[client] = left - 1, self._clock()
            self._left.move_to_end(client)
            if len(self._left) > MOST:
                self._left.popitem(last=False)
            return 0

    def _now(self, client: str) -> float:
        left, at = self._left.get(client, (self.burst, self._clock()))
        return min(self.burst, left + (self._clock() - at) * self.rate)
