"""Bounded work: some threads, a short queue, and a time limit for every answer."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import ParamSpec, TypeVar, cast

from reid_toolkit.gallery.local.audit import asked_by
from reid_toolkit.service.errors import Refusal, busy

P = ParamSpec("P")
T = TypeVar("T")


class Pool:
    """Runs functions in a few threads. Work that nobody waits for any more still counts until it ends, because a
    thread cannot be stopped."""

    def __init__(self, name: str, workers: int, queue: int, seconds: float) -> None:
        """At most ``workers`` at a time, and ``queue`` that wait; an answer within ``seconds``."""
        self.name, self.size, self.seconds = name, workers + queue, seconds
        self._threads = ThreadPoolExecutor(workers, name)
        self._lock = Lock()
        self.pending = 0
        """Functions that run or wait."""

    async def run(self, who: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a thread, for the user ``who``, whose name the audit log gets.

        Raises :class:`Refusal`: 503 if the queue is full, 504 if the answer takes too long.
        """
        with self._lock:
            if self.pending >= self.size:
                raise busy(2)
            self.pending += 1
        abandoned = False

        def call() -> T | None:
            if abandoned:  # it waited for so long that its client was told
                return None
            with asked_by(who):
                return function(*args, **kwargs)

        try:
            future = self._threads.submit(call)
        except RuntimeError:  # the service is stopping
            self._done()
            raise busy(5, "the service is stopping") from None
        future.add_done_callback(lambda _: self._done())
        awaited = asyncio.wrap_future(future)
        awaited.add_done_callback(lambda one: None if one.cancelled() else one.exception())  # nobody else may ask
        try:
            return cast(T, await asyncio.wait_for(asyncio.shield(awaited), self.seconds))
        except TimeoutError:
            if future.done() and not future.cancelled() and future.exception() is not None:
                raise
            raise Refusal(504, f"no answer within {self.seconds:g} s: ask for less, or try again later") from None
        finally:
            abandoned = True

    def _done(self) -> None:
        with self._lock:
            self.pending -= 1

    def close(self) -> None:
        """Wait for the work that runs, and drop what has not begun."""
        self._threads.shutdown(wait=True, cancel_futures=True)
