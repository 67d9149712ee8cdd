import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from reid_toolkit.live.events import EventSink, open_sinks, sender


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is tried again soon."""
    monkeypatch.setattr(sender, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(sender, "LONGEST_WAIT", 0.2)
    monkeypatch.setattr(sender, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(sender, "CLOSE_SECONDS", 3.0)


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_until(lambda: not set(threading.enumerate()) - before)


@pytest.fixture
def sink_to(tmp_path: Path) -> Iterator[Callable[[str], EventSink]]:
    """``sink_to(address)`` opens a destination, which is closed at the end."""
    opened: list[EventSink] = []

    def open_sink(address: str) -> EventSink:
        (sink,) = open_sinks([address], tmp_path / "queues", None)
        opened.append(sink)
        return sink

    yield open_sink
    for sink in opened:
        sink.close()
