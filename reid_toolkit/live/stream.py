"""The newest frame of a live stream. A slow reader loses frames, but does not fall behind."""

import threading
import time
import warnings
from collections import deque
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

from reid_toolkit.errors import VideoError
from reid_toolkit.footage.frames import Frame, Recording

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before a broken stream is opened again. The wait doubles up to the second number, until a frame comes."""
CLOSE_SECONDS = 2.0
"""Seconds to wait for the reading thread at the end. It may be waiting for a frame that does not come."""


class LiveFrames:
    """Reads a stream in its own thread, keeps the newest frame, and opens the stream again if it breaks.

    with closing(LiveFrames(recording, "hall")) as live:
        frame = live.take(timeout=1.0)
    """

    def __init__(self, recording: Recording, camera: str, changed: threading.Condition | None = None) -> None:
        """``changed`` is notified when a frame comes or reading fails. Several streams may share one."""
        self.recording, self.camera = recording, camera
        self.dropped = 0
        """Frames that nobody took before a newer frame replaced them."""
        self.reconnects = 0
        """How often the stream broke and came back."""
        self._notices: deque[str] = deque()
        """What the thread met, for :meth:`take` to warn of."""
        self._newest: Frame | None = None
        self._error: Exception | None = None
        self._changed = changed or threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live frames", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether :meth:`take` would not wait."""
        return self._newest is not None or self._error is not None

    def take(self, timeout: float) -> Frame | None:
        """The newest frame. None if no new frame came for ``timeout`` seconds. Raises the error of the reading thread.

        Frames are numbered in the order of reading, across reconnections.

        Warns (RuntimeWarning) once when no frames come any more, or none at all, and once when they come again.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.ready, timeout)
            error, frame, self._newest = self._error, self._newest, None
        while self._notices:
            warnings.warn(self._notices.popleft(), RuntimeWarning, stacklevel=3)
        if error is not None:
            raise error
        return frame

    def stop(self) -> None:
        """Stop reading after the next frame, without waiting for it."""
        self._closing.set()

    def close(self) -> None:
        """Stop reading."""
        self.stop()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:  # any error is passed on to the thread that takes frames
            with self._changed:
                self._error = error
                self._changed.notify()

    def _read(self) -> None:
        number, wait, broken, told = 0, FIRST_WAIT, False, False
        last = time.monotonic()
        while True:
            came, why = number, "it answers, but sends nothing"
            try:
                with closing(self.recording.frames()) as frames:
                    for frame in frames:
                        if self._closing.is_set():
                            return
                        if told:
                            self._tell(f"frames come again, after {timedelta(seconds=round(time.monotonic() - last))}")
                        self._put(replace(frame, number=number))
                        self.reconnects += broken
                        number, wait, broken, told, last = number + 1, FIRST_WAIT, False, False, time.monotonic()
            except VideoError as error:
                why = str(error)
            # Not when it breaks, but when opening it again does not help: only then is it known why, and a camera that
            # ends each connection after a while would fill the log.
            if number == came and not told:
                told = True
                self._tell(f"no frames come: {why}; it is opened again until they do")
            broken = True
            if self._closing.wait(wait):
                return
            wait = min(2 * wait, LONGEST_WAIT)

    def _tell(self, what: str) -> None:
        self._notices.append(f"{self.camera}: {what}")

    def _put(self, frame: Frame) -> None:
        with self._changed:
            self.dropped += self._newest is not None
            self._newest = frame
            self._changed.notify()
