"""Sends the events of a queue in the background, and tries again until their receipt is confirmed."""

import sqlite3
import threading
import time
import warnings
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from reid_toolkit.errors import first_line
from reid_toolkit.live.events.event import Event
from reid_toolkit.live.events.queue import MOST_WAITING, DiskQueue, SenderLock
from reid_toolkit.live.events.sink import SinkCount

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before an event is sent again. The wait doubles up to the second number, until an event is received."""
LOOK_SECONDS = 1.0
"""Between two looks at events of other processes, and at whether the process that sends has ended."""
CLOSE_SECONDS = 5.0
"""How long the end of a watch waits for events to be sent."""


class UnsentError(Exception):
    """The destination cannot be reached or cannot take the event now. It is sent again later."""


class RefusedError(Exception):
    """The destination refuses the event for good."""


class Transport(Protocol):
    """A way to send one event. All methods but :meth:`interrupt` are called by one thread."""

    def send(self, key: str, body: bytes) -> None:
        """Return when the destination has confirmed the receipt. Raises :class:`UnsentError`, also after a time limit,
        or :class:`RefusedError`."""

    def interrupt(self) -> None:
        """End a :meth:`send` that waits. Called by another thread."""

    def close(self) -> None:
        """End the connection."""


class QueueSink:
    """Puts events into a queue on the disk, from which a thread sends them, the oldest first, one at a time."""

    def __init__(self, name: str, address: str, folder: Path, transport: Transport) -> None:
        """Open the queue and begin to send what waits in it. Raises :class:`InputError` if it cannot be used."""
        self.name, self.count = name, SinkCount()
        self._queue = DiskQueue(folder, address)
        self._sending = Sending(folder, address, self._queue.path, transport)
        self._full = self._broken = self._closed = False

    def put(self, events: Sequence[Event]) -> None:
        """Store events on the disk. They are not lost by a kill after that."""
        try:
            dropped = self._queue.put(events)
        except sqlite3.Error as error:
            if not self._broken:
                warn(f"{self.name}: events are lost: {self._queue.path}: {first_line(error)}; watching continues")
            self._broken = True
            self.count.dropped += len(events)
            return
        self._broken = False
        if dropped and not self._full:
            warn(f"{self.name}: {MOST_WAITING:,} events wait, which is the most: the oldest are dropped")
        self._full = bool(dropped)
        self.count.dropped += dropped
        self._sending.wake()

    def poll(self) -> None:
        """Warn of what the thread met."""
        sending = self._sending
        self.count.sent, self.count.refused = sending.sent, sending.refused
        while sending.notices:
            warn(f"{self.name}: {sending.notices.popleft()}")

    def close(self) -> None:
        """Send what can be sent in a few seconds. What remains is sent by the next watch with the same destination."""
        if self._closed:
            return
        self._closed = True
        self._sending.close()
        self.poll()
        self.count.waiting = len(self._queue)
        self._queue.close()
        if self.count.waiting:
            warn(
                f"{self.name}: {self.count.waiting} events wait in {self._queue.path}: the next watch with the same "
                "destination sends them"
            )


class Handled:
    """Which events were received or refused. They are deleted from the queue as soon as it can be written, and are not
    sent again until then."""

    def __init__(self, queue: DiskQueue) -> None:
        self.last = 0
        """The number of the newest of them. All older events were handled before, because they are sent in order."""
        self._queue, self._deleted = queue, 0
        self._wait, self._not_before = FIRST_WAIT, 0.0

    def delete(self, *, at_once: bool = False) -> sqlite3.OperationalError | None:
        """Delete them, if the last attempt is not too recent. Returns why that was not possible, but only once until
        it succeeds."""
        if self._deleted == self.last or (time.monotonic() < self._not_before and not at_once):
            return None
        try:
            self._queue.remove(self.last)
        except sqlite3.OperationalError as error:  # the disk is full, or the queue is locked for long
            news = error if self._wait == FIRST_WAIT else None
            self._not_before = time.monotonic() + self._wait
            self._wait = min(2 * self._wait, LONGEST_WAIT)
            return news
        self._deleted, self._wait, self._not_before = self.last, FIRST_WAIT, 0.0
        return None


class Sending:
    """The thread that sends."""

    def __init__(self, folder: Path, address: str, path: Path, transport: Transport) -> None:
        self.sent = self.refused = 0
        self.notices: deque[str] = deque()
        """Messages for the user. The main thread shows them."""
        self._transport, self._changed = transport, threading.Condition()
        self._news = self._finishing = self._closing = False
        self._failing = self._refusing = False
        self._thread = threading.Thread(target=self._run, args=(folder, address, path), name="events", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look into the queue now."""
        with self._changed:
            self._news = True
            self._changed.notify()

    def close(self) -> None:
        """Send for at most :data:`CLOSE_SECONDS` more, and end the thread."""
        with self._changed:
            self._finishing = True
            self._changed.notify()
        self._thread.join(CLOSE_SECONDS)
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._transport.interrupt()
        self._thread.join(CLOSE_SECONDS)

    def _run(self, folder: Path, address: str, path: Path) -> None:
        try:
            with closing(DiskQueue(folder, address)) as queue, closing(SenderLock(path)) as lock:
                handled = Handled(queue)
                while not self._closing:
                    try:
                        self._send_all(queue, lock, handled)
                    except sqlite3.OperationalError as error:  # the queue cannot be read now
                        self._say_failing(error)
                        self._pause(FIRST_WAIT, until_news=False)
                self._delete(handled, path, at_once=True)
        except Exception as error:  # the main thread says it, and events stay on the disk
            self.notices.append(f"events are stored but no longer sent: {first_line(error)}")
        finally:
            self._transport.close()

    def _send_all(self, queue: DiskQueue, lock: SenderLock, handled: Handled) -> None:
        wait = FIRST_WAIT
        while not self._closing:
            self._delete(handled, queue.path)
            waiting = queue.first(handled.last) if lock.take() else None
            if waiting is None:
                if self._finishing:
                    self._closing = True
                    return
                self._pause(LOOK_SECONDS, until_news=True)
                continue
            last_try = self._finishing
            try:
                self._transport.send(waiting.key, waiting.body)
            except UnsentError as error:
                self._say_failing(error)
                if last_try:
                    self._closing = True
                    return
                self._pause(wait, until_news=False)
                wait = min(2 * wait, LONGEST_WAIT)
                continue
            except RefusedError as error:
                self.refused += 1
                if not self._refusing:
                    self.notices.append(f"refuses events: {error}; refused events are not sent again")
                self._refusing = True
            else:
                self.sent += 1
                self._refusing = False
            handled.last = waiting.number
            wait, self._failing = FIRST_WAIT, False

    def _delete(self, handled: Handled, path: Path, *, at_once: bool = False) -> None:
        error = handled.delete(at_once=at_once)
        if error is not None:
            self.notices.append(
                f"events that were received cannot be deleted from {path} now: {first_line(error)}; they are sent a "
                "second time if the watch ends before that"
            )

    def _say_failing(self, error: Exception) -> None:
        """Say once that events cannot be sent, until one is received."""
        if not self._failing:
            self.notices.append(f"events cannot be sent now: {first_line(error)}; they wait on the disk")
        self._failing = True

    def _pause(self, seconds: float, *, until_news: bool) -> None:
        with self._changed:
            before = self._finishing
            self._changed.wait_for(
                lambda: self._closing or self._finishing != before or (until_news and self._news), seconds
            )
            if until_news:
                self._news = False


def warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)
