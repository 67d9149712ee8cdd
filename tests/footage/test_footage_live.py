import threading
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from reid_toolkit.errors import VideoError
from reid_toolkit.footage.frames import Frame
from reid_toolkit.live import stream as live_module
from reid_toolkit.live.stream import LiveFrames


class Scripted:
    """A stream whose connections are functions that yield frames; after the last there is no connection."""

    def __init__(self, *connections: Callable[[], Iterator[Frame]]) -> None:
        self.connections = list(connections)
        self.over = threading.Event()
        """Set when all were used up."""

    def frames(self) -> Iterator[Frame]:
        if self.connections:
            yield from self.connections.pop(0)()
        else:
            self.over.set()


def frames(*times: float) -> Callable[[], Iterator[Frame]]:
    return lambda: (Frame(n, time, np.full((2, 2, 3), n, np.uint8)) for n, time in enumerate(times))


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., LiveFrames]]:
    monkeypatch.setattr(live_module, "FIRST_WAIT", 0.001)
    started: list[LiveFrames] = []

    def run(recording: Scripted) -> LiveFrames:
        started.append(LiveFrames(recording, "hall"))  # type: ignore[arg-type]
        return started[-1]

    yield run
    for live in started:
        live.close()
        assert not live._thread.is_alive()


UNSAID = pytest.mark.filterwarnings("ignore:hall. no frames come")
"""For tests whose stream gives nothing for a while, but which are about something else."""


@UNSAID
def test_the_newest_frame_is_taken_and_the_others_are_counted(start) -> None:
    recording = Scripted(frames(*range(1, 11)))
    live = start(recording)
    recording.over.wait(10)
    frame = live.take(10)
    assert (frame.number, frame.time, live.dropped) == (9, 10, 9)
    assert (frame.image == 9).all()
    assert live.take(0.01) is None, "each at most once"
    assert live.dropped == 9, "what was taken is not dropped"


@UNSAID
@pytest.mark.filterwarnings("ignore:hall. frames come again")
def test_a_broken_stream_is_opened_again(start) -> None:
    taken = threading.Event()

    def later() -> Iterator[Frame]:
        taken.wait(10)
        yield from frames(3.0)()

    live = start(Scripted(frames(5.0), frames(), later))
    first = live.take(10)
    assert live.reconnects == 0
    taken.set()
    second = live.take(10)
    assert live.reconnects == 1, "a connection without a frame is none"
    assert (first.number, second.number) == (0, 1)
    assert (first.time, second.time) == (5, 3), "as the clock was set back"


def test_a_camera_that_gives_nothing_is_said_once_and_so_is_its_return(start) -> None:
    taken, ready = threading.Event(), threading.Event()

    def refuse() -> Iterator[Frame]:
        taken.wait(10)
        raise VideoError("rtsp://cam/live: connection refused")
        yield

    def later() -> Iterator[Frame]:
        ready.wait(10)
        yield from frames(3.0)()

    live = start(Scripted(frames(5.0), refuse, refuse, frames(), later))
    assert live.take(10).number == 0, "and nothing is said of a stream that works"
    taken.set()
    said = []
    while not said:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert live.take(0.01) is None
    ready.set()
    with pytest.warns(RuntimeWarning) as later_said:
        assert live.take(10).number == 1
    assert [str(one.message) for one in said] == [
        "hall: no frames come: rtsp://cam/live: connection refused; it is opened again until they do"
    ]
    assert [str(one.message) for one in later_said] == ["hall: frames come again, after 0:00:00"]


def test_nothing_is_said_of_a_break_that_opening_it_again_mends(start) -> None:
    taken = threading.Event()

    def later() -> Iterator[Frame]:
        taken.wait(10)
        yield from frames(3.0)()

    live = start(Scripted(frames(5.0), later))
    assert live.take(10).number == 0
    taken.set()
    assert live.take(10).number == 1
    assert live.reconnects == 1


def test_it_waits_longer_each_time_until_a_frame_comes(start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "FIRST_WAIT", 1.0)
    ready, waits = threading.Event(), []

    def connect() -> Iterator[Frame]:
        ready.wait(10)
        yield from frames(1.0)()

    recording = Scripted(connect, *[frames()] * 7, frames(2.0))
    live = start(recording)

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return recording.over.is_set()

    monkeypatch.setattr(live._closing, "wait", wait)
    ready.set()
    recording.over.wait(10)
    live._thread.join(10)
    assert waits[:9] == [1, 2, 4, 8, 16, 32, 60, 60, 1]


def test_what_goes_wrong_in_its_thread_is_raised_where_frames_are_taken(start) -> None:
    def fail() -> Iterator[Frame]:
        raise MemoryError("a frame of many pixels")
        yield

    live = start(Scripted(fail))
    with pytest.raises(MemoryError, match="many pixels"):
        live.take(10)


def test_it_can_be_closed_while_nothing_comes(start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "FIRST_WAIT", 1000)
    live = start(Scripted(frames(1.0)))
    assert live.take(10).time == 1.0
    live.close()
    assert not live._thread.is_alive()
