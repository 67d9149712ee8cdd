"""With which of its videos a watch begins."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from drawn_yard import write_video

from reid_toolkit.errors import InputError, VideoError
from reid_toolkit.footage import sources
from reid_toolkit.footage.decoding import DEFAULT_FRAME_RATE, Decoder
from reid_toolkit.live.opening import open_videos

DEAD, ALIVE = "rtsp://admin:secret@dead/live", "rtsp://admin:secret@hall/live"


@pytest.fixture(autouse=True)
def cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cameras of which those called dead refuse connections."""

    @contextmanager
    def connect(address: str) -> Iterator[Any]:
        if "dead" in address:
            raise VideoError("connection refused")
        yield SimpleNamespace(frame_rate=5.0)

    def decoder(address: str, *, live: bool = False, **more: Any) -> Any:
        return connect(address) if live else Decoder(address, **more)

    monkeypatch.setattr(sources, "Decoder", decoder)


def test_a_dead_camera_keeps_no_other_from_being_watched() -> None:
    dead, alive = open_videos([DEAD, ALIVE], 10.0)
    assert (dead.source, dead.address, dead.frame_rate) == ("rtsp://dead/live", DEAD, DEFAULT_FRAME_RATE)
    assert (alive.source, alive.address, alive.frame_rate) == ("rtsp://hall/live", ALIVE, 5.0)
    assert dead.is_stream
    assert alive.is_stream


def test_a_file_is_another_camera_too(tmp_path: Path) -> None:
    file, dead = open_videos([str(write_video(tmp_path / "yard.avi", 20)), DEAD], 10.0)
    assert (file.name, dead.name) == ("yard", "dead")


def test_if_no_camera_answers_it_is_an_error_without_a_password() -> None:
    with pytest.raises(VideoError, match=r"^rtsp://dead/live: no stream there \(connection refused\)"):
        open_videos([DEAD], 10.0)
    with pytest.raises(VideoError, match=r"^none of the 2 cameras answers; the first: rtsp://dead/live: no stream"):
        open_videos([DEAD, "rtsp://dead/other"], 10.0)


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    for number in range(2):
        write_video(tmp_path / "two" / f"{number}.avi", 20)
    (tmp_path / "text.avi").write_text("not a video")
    for name, said in (("gone.avi", "no such file"), ("text.avi", "not a readable video"), ("two", "has 2 videos")):
        with pytest.raises(InputError, match=f"{name}: {said}"):
            open_videos([ALIVE, DEAD, str(tmp_path / name)], 10.0)


def test_all_are_opened_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So cameras that hang cost the time of one."""
    together = threading.Barrier(3)

    @contextmanager
    def connect(*_: Any, **__: Any) -> Iterator[Any]:
        together.wait(60)
        yield SimpleNamespace(frame_rate=5.0)

    monkeypatch.setattr(sources, "Decoder", connect)
    assert [recording.name for recording in open_videos(["rtsp://a/", "rtsp://b/", "rtsp://c/"], 10.0)] == [
        "a",
        "b",
        "c",
    ]
