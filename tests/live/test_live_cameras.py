"""Several cameras in one watch."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_detectors import SQUARE, save, ssd_rows
from drawn_yard import RedDetector, write_video
from watched_yard import FRAMES, PLAIN, Locked, Shelf, Stream, live_walk, walk

from reid_toolkit.errors import InputError
from reid_toolkit.footage.detector import load_detectors
from reid_toolkit.footage.frames import Frame
from reid_toolkit.footage.sources import open_video
from reid_toolkit.gallery import Gallery
from reid_toolkit.live import stream as live_module
from reid_toolkit.live.report import WatchReport
from reid_toolkit.live.watch import Camera, watch_cameras
from reid_toolkit.runtime import Embedder

EACH = replace(PLAIN, every=1, min_crops=2)

See = Callable[..., WatchReport]


@pytest.fixture
def see_all(embedder: Embedder, shelf: Shelf) -> See:
    """``see_all({"north": recording, ...}, settings, **more)`` watches into ``shelf``."""

    def run(recordings: dict[str, Any], settings: Any = PLAIN, *, gallery: Any = shelf, **more: Any) -> WatchReport:
        cameras = [Camera(name, recording, RedDetector()) for name, recording in recordings.items()]
        return watch_cameras(cameras, embedder, gallery, settings, **more)

    return run


@pytest.fixture
def yards(tmp_path: Path) -> dict[str, Any]:
    """Two files, of which the second is shorter."""
    files = {"north": write_video(tmp_path / "a.avi", FRAMES), "south": write_video(tmp_path / "b.avi", 40, shade=9)}
    return {name: open_video(path) for name, path in files.items()}


def test_each_camera_gives_what_it_gives_alone(see_all: See, yards: dict[str, Any], shelf: Shelf) -> None:
    both = see_all(yards)
    together = dict(zip(shelf.records, shelf.rows, strict=True))
    shelf.records.clear()
    shelf.rows.clear()
    alone = [see_all({name: recording}) for name, recording in yards.items()]
    assert sorted(together, key=repr) == sorted(shelf.records, key=repr)
    for record, row in zip(shelf.records, shelf.rows, strict=True):
        np.testing.assert_array_equal(row, together[record])
    assert [camera.camera for camera in both.cameras] == ["north", "south"]
    assert [camera.source for camera in both.cameras] == [recording.source for recording in yards.values()]
    for camera, single in zip(both.cameras, alone, strict=True):
        assert replace(camera.tally, expired=single.expired) == single.tally
    assert both.tally.frames == FRAMES + 40 == sum(single.tally.frames for single in alone)
    assert both.tally.enrolled == 2


def test_cameras_take_turns(embedder: Embedder, shelf: Shelf, yards: dict[str, Any]) -> None:
    order = []

    class Noting(RedDetector):
        def __init__(self, name: str) -> None:
            self.camera = name

        def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            order.append(self.camera)
            return super().__call__(frame)

    cameras = [Camera(name, recording, Noting(name)) for name, recording in yards.items()]
    watch_cameras(cameras, embedder, shelf, PLAIN)  # type: ignore[arg-type]
    assert order == ["north", "south"] * 40 + ["north"] * (FRAMES - 40)


def test_a_dead_stream_holds_up_no_other(
    see_all: See, yards: dict[str, Any], shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "CLOSE_SECONDS", 0.01)
    answer, stop = threading.Event(), threading.Event()

    def hang() -> Iterator[Frame]:
        answer.wait(60)
        yield from ()

    def until_seen(report: WatchReport) -> None:
        if report.cameras[0].tally.frames == FRAMES and report.cameras[2].tally.frames > 5:
            stop.set()

    recordings = {"north": yards["north"], "dead": Stream(hang), "live": Stream(lambda: live_walk(0.001))}
    report = see_all(recordings, stop=stop, on_status=until_seen, seconds=60)
    answer.set()
    assert stop.is_set()
    assert [camera.tally.frames for camera in report.cameras][:2] == [FRAMES, 0]
    assert "north" in {record.camera for record in shelf.records}


def test_a_camera_that_gives_too_many_frames_drops_its_own(see_all: See) -> None:
    """The calm camera gives a frame only when its last one was taken, so it can never drop one."""
    stop, taken = threading.Event(), threading.Semaphore(1)

    def calm() -> Iterator[Frame]:
        for frame in walk():
            taken.acquire(timeout=60)
            yield replace(frame, time=time.time())
        stop.wait(60)

    def fast() -> Iterator[Frame]:
        while not stop.is_set():
            yield from live_walk(0.0)

    seen = 0

    def count(report: WatchReport) -> None:
        nonlocal seen
        time.sleep(0.005)  # no frame of the fast camera is waited for
        if report.cameras[0].tally.frames > seen:
            seen = report.cameras[0].tally.frames
            taken.release()
        if seen == FRAMES:
            stop.set()

    report = see_all({"calm": Stream(calm), "fast": Stream(fast)}, stop=stop, on_status=count, seconds=60)
    calm_report, fast_report = report.cameras
    assert (calm_report.tally.frames, calm_report.dropped) == (FRAMES, 0)
    assert fast_report.dropped > 0
    assert report.dropped == fast_report.dropped


def test_a_stop_enrolls_whoever_is_in_view_of_any_camera(see_all: See, yards: dict[str, Any], shelf: Shelf) -> None:
    stop = threading.Event()
    report = see_all(yards, stop=stop, on_status=lambda report: report.tally.frames == 70 and stop.set())
    assert [camera.tally.frames for camera in report.cameras] == [35, 35]
    assert {record.camera for record in shelf.records} == {"north", "south"}


def test_an_error_of_one_enrolls_whoever_is_in_view_of_any(see_all: See, yards: dict[str, Any], shelf: Shelf) -> None:
    def breaks() -> Iterator[Frame]:
        yield from walk(range(40))
        raise MemoryError("a frame of many pixels")

    with pytest.raises(MemoryError):
        see_all({"north": yards["north"], "south": Stream(breaks, is_stream=False)})
    assert {record.camera for record in shelf.records} == {"north", "south"}


def test_a_break_ends_the_tracklets_of_its_camera_alone(see_all: See, shelf: Shelf) -> None:
    stop, silent = threading.Event(), threading.Event()

    def breaks() -> Iterator[Frame]:
        yield from live_walk(0.004)
        silent.set()
        stop.wait(60)

    def goes_on() -> Iterator[Frame]:
        while not stop.is_set():
            yield from (replace(frame, time=time.time()) for frame in walk(range(30, 32)))
            time.sleep(0.02)

    def until_enrolled(report: WatchReport) -> None:
        if silent.is_set() and "breaks" in {record.camera for record in shelf.records}:
            stop.set()

    recordings = {"breaks": Stream(breaks), "goes on": Stream(goes_on)}
    see_all(recordings, EACH, stop=stop, on_status=until_enrolled, seconds=60)
    assert stop.is_set()


def test_files_watched_again_replace_their_own_records(see_all: See, yards: dict[str, Any], tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "gallery") as gallery:
        see_all(yards, gallery=gallery, loops=2)
        assert len(gallery) == 4
        report = see_all(yards, gallery=gallery)
        assert [camera.tally.replaced for camera in report.cameras] == [1, 1]
        assert len(gallery) == 2


def test_what_is_lost_is_counted_by_camera(see_all: See, yards: dict[str, Any]) -> None:
    with pytest.warns(RuntimeWarning) as warnings:
        report = see_all(yards, gallery=Locked(times=10**9))
    assert str(warnings[-1].message).endswith("2 waiting tracklets are lost")
    assert [camera.tally.lost for camera in report.cameras] == [1, 1]
    assert report.tally.lost == 2


def test_names_must_differ(see_all: See, embedder: Embedder, yards: dict[str, Any], shelf: Shelf) -> None:
    cameras = [Camera("north", recording, RedDetector()) for recording in yards.values()]
    with pytest.raises(InputError, match="2 cameras have the name 'north'"):
        watch_cameras(cameras, embedder, shelf, PLAIN)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a stream has its own time"):
        see_all({"north": yards["north"], "south": Stream(walk)}, loops=2)


def test_detectors_that_see_each_frame_on_its_own_are_shared(tmp_path: Path) -> None:
    motion = load_detectors(3, "motion")
    assert len(set(map(id, motion))) == 3
    shared = load_detectors(3, str(save(tmp_path / "ssd.onnx", SQUARE, {"detection_out": ssd_rows()})), person_label=1)
    assert len(shared) == 3
    assert len(set(map(id, shared))) == 1
