"""Whether searches can be answered now."""

import asyncio
import logging
import time

from reid_toolkit.search import Search
from reid_toolkit.service.desk import Desk
from reid_toolkit.service.errors import Refusal
from reid_toolkit.service.work import Pool

LOG = logging.getLogger(__name__)
KEPT = 5.0
"""Seconds for which an answer holds. Anybody may ask, and opening a model takes long."""
BROKEN = "the gallery or its model cannot be used: the log of the service says why"
SLOW = "the service is too busy to find out whether it is ready"


class Readiness:
    """Finds out whether a service is ready, in a thread of its own: if the others are busy, nothing is broken."""

    def __init__(self, desk: Desk, seconds: float) -> None:
        """An answer takes at most so many seconds."""
        self._desk, self._pool, self._one = desk, Pool("readiness", 1, 0, seconds), asyncio.Lock()
        self._until, self._problem = 0.0, ""

    async def problem(self) -> str:
        """Why the service is not ready. Empty if it is."""
        async with self._one:
            if time.monotonic() >= self._until:
                self._problem = await self._ask()
                self._until = time.monotonic() + KEPT
            return self._problem

    async def _ask(self) -> str:
        try:
            await self._pool.run("", ready, self._desk)
        except Refusal as refusal:  # of the pool: an earlier look has not ended, or this one took too long
            LOG.warning("not ready: %s", refusal.message)
            return SLOW
        except Exception:
            LOG.exception("not ready")
            return BROKEN
        return ""

    def close(self) -> None:
        """Wait for the look that runs."""
        self._pool.close()


def ready(desk: Desk) -> int:
    """The number of records, after making sure that searches can be answered."""
    count = len(desk.store)
    if count:
        _ = Search(desk.store, desk.label, loaded=desk.embedder).embedder
    return count
