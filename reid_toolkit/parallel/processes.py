"""Several worker processes on this machine, by the standard library."""

import multiprocessing
import os
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain
from typing import Any

from reid_toolkit.errors import RunError
from reid_toolkit.parallel.pool import IN_FLIGHT, LOOK_SECONDS, MOST_TRIES, Finished, Result, Unit

_worker: Callable[[Any], Any] | None = None
"""The worker of this worker process."""


class Processes:
    """A pool of ``count`` processes. If a process dies, all are started again, and their units are done again."""

    elsewhere = False

    def __init__(self, count: int, cores: int) -> None:
        """``cores`` is how many cores all processes share."""
        self.count = count
        self.cores = max(1, cores // count)

    def run(
        self,
        start: Callable[[], Callable[[Unit], Result]],
        units: Iterable[Unit],
        on_wait: Callable[[], None] = lambda: None,
    ) -> Iterator[Finished]:
        """See :class:`Pool`."""
        left: Iterator[tuple[int, Unit]] = iter(enumerate(units))
        tries: Counter[int] = Counter()
        lost: list[tuple[int, Unit]] = []
        while True:
            left = chain(lost, left)
            lost = []
            yield from self._run_until_a_process_dies(start, left, lost, on_wait)
            if not lost:
                return
            # Nobody knows which unit killed its process, so each unit that was being worked on counts.
            suspects = sorted(position for position, _ in lost)[: self.count]
            tries.update(suspects)
            if max(tries.values()) >= MOST_TRIES:
                raise RunError(
                    f"worker processes died {MOST_TRIES} times at the same work (the system kills a process if memory "
                    "is short): what is finished is kept: run the same command again to continue, perhaps with fewer "
                    "--workers"
                )

    def _run_until_a_process_dies(
        self,
        start: Callable[[], Callable[[Unit], Result]],
        left: Iterator[tuple[int, Unit]],
        lost: list[tuple[int, Unit]],
        on_wait: Callable[[], None],
    ) -> Iterator[Finished]:
        """Yield results. If a process dies, append the units that were not finished to ``lost``, and return."""
        pending: dict[Future[Any], tuple[int, Unit]] = {}
        executor = ProcessPoolExecutor(
            self.count,
            multiprocessing.get_context("spawn"),  # onnxruntime's threads do not survive a fork
            initializer=begin,
            initargs=(start,),
        )
        try:
            while True:
                while len(pending) < self.count * IN_FLIGHT and (entry := next(left, None)) is not None:
                    try:
                        with interrupts_ignored():  # processes are started here
                            future = executor.submit(do, entry[1])
                    except (BrokenProcessPool, OSError, ValueError):
                        # If a process dies while another is being started, Python 3.11 closes a pipe that it needs. The
                        # error depends on who notices first.
                        if not executor._broken:
                            raise
                        lost.append(entry)
                        break
                    pending[future] = entry
                if not pending:
                    return
                done, _ = wait(pending, LOOK_SECONDS, FIRST_COMPLETED)
                on_wait()
                for future in done:
                    entry = pending.pop(future)
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        lost.append(entry)
                        continue
                    yield Finished(entry[0], result)
        finally:
            stop(executor)


def stop(executor: ProcessPoolExecutor) -> None:
    """Stop the processes at once. What they work on is not waited for."""
    processes = list((executor._processes or {}).values())
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def begin(start: Callable[[], Callable[[Any], Any]]) -> None:
    """Make the worker of this process. It ends with its parent."""
    global _worker
    warnings.simplefilter("ignore", RuntimeWarning)  # the parent has given the same warning
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        _worker = start()
    except Exception as error:
        _worker = raiser(error)


def raiser(error: Exception) -> Callable[[Any], Any]:
    """A worker that raises ``error``, which an initialiser could not tell the parent."""

    def fail(_: Any) -> Any:
        raise error

    return fail


def do(unit: Any) -> Any:
    """Do a unit in this process."""
    assert _worker is not None
    return _worker(unit)


def end_with_parent() -> None:
    """Wait until the parent process has ended, then end this process. A parent that is killed cannot say so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Processes started within this context ignore Ctrl-C, which a terminal sends to all processes. Their parent stops
    them."""
    if threading.current_thread() is not threading.main_thread():  # Python sets handlers only in the main thread
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
