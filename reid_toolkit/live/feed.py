"""The frames of one camera, a file's or a stream's, taken one by one without waiting for a stream."""

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace

from reid_toolkit.footage.decoding import ReadingError
from reid_toolkit.footage.frames import Frame, Recording
from reid_toolkit.live.stream import LiveFrames


class Feed:
    """Gives the frames of a file in order, or the newest frame of a stream.

    All streams of a watch share ``changed``, which their threads notify when a frame comes.
    """

    def __init__(
        self, recording: Recording, camera: str, loops: int, patience: float, changed: threading.Condition
    ) -> None:
        """``camera`` is named in warnings. A file is read ``loops`` times over, as :func:`frames_of_file` does."""
        self.ended = False
        """Whether a file has come to its end."""
        self.damaged = 0
        """Pieces of a file that could not be decoded."""
        self.live = LiveFrames(recording, camera, changed) if recording.is_stream else None
        self._file = None if self.live else self._read(recording, loops, patience)

    def _read(self, recording: Recording, loops: int, patience: float) -> Generator[Frame, None, None]:
        def count_damage() -> None:
            self.damaged += 1

        return frames_of_file(recording, loops, patience, count_damage)

    @property
    def dropped(self) -> int:
        """Frames of a stream that nobody took in time."""
        return self.live.dropped if self.live else 0

    @property
    def reconnects(self) -> int:
        """How often a stream broke and came back."""
        return self.live.reconnects if self.live else 0

    def take(self) -> Frame | None:
        """The next frame. None if a stream has no new frame, or if a file has come to its end."""
        if self.live:
            return self.live.take(0.0)
        assert self._file is not None
        frame = next(self._file, None)
        self.ended = frame is None
        return frame

    def stop(self) -> None:
        """Tell a stream's thread to end, without waiting for it."""
        if self.live:
            self.live.stop()

    def close(self) -> None:
        """Close the file, or wait for the stream's thread."""
        if self.live:
            self.live.close()
        if self._file:
            self._file.close()


def close_all(feeds: Sequence[Feed]) -> None:
    """Close all feeds. Streams that hang are waited for at the same time."""
    for feed in feeds:
        feed.stop()
    for feed in feeds:
        feed.close()


def wait_for_any(feeds: Sequence[Feed], changed: threading.Condition, seconds: float) -> None:
    """Wait until a feed has a frame, at most for ``seconds``. A file always has one."""
    open_feeds = [feed for feed in feeds if not feed.ended]
    if not open_feeds:
        return
    with changed:
        changed.wait_for(lambda: any(feed.live is None or feed.live.ready for feed in open_feeds), seconds)


def frames_of_file(
    recording: Recording, loops: int, patience: float, on_damage: Callable[[], None]
) -> Generator[Frame, None, None]:
    """A recording's frames, ``loops`` times over.

    Between two loops, time jumps by more than ``patience`` seconds, so that nobody is followed into the next one.
    """
    number, began = 0, 0.0
    for _ in range(loops):
        last = began
        with closing(recording.frames(on_damage)) as frames:
            try:
                for frame in frames:
                    last = began + frame.time
                    yield replace(frame, number=number, time=last)
                    number += 1
            except ReadingError:  # the watch goes on with its other cameras, and says so by the count of damage
                on_damage()
        began = last + patience + 1 / recording.frame_rate
