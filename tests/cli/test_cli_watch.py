import errno
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, redirect_stderr, suppress
from pathlib import Path

import onnx
import pytest
from drawn_clip import as_stream
from drawn_yard import write_video
from tiny_model import build_model

from reid_toolkit.cli import main
from reid_toolkit.cli import watch as watch_module
from reid_toolkit.cli.watch import status_line, stopped_by_signals
from reid_toolkit.gallery import Gallery
from reid_toolkit.live.report import CameraReport, Tally, WatchReport

FRAMES = 50


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save_model(build_model(), path)
    return path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "yard.avi", FRAMES)


def count(gallery: Path) -> int:
    """Records in a gallery; 0 when there is none yet."""
    if not (gallery / "gallery.sqlite").exists():
        return 0
    with Gallery.open(gallery, create=False) as store:
        return len(store)


def test_a_file_is_watched_to_its_end(reid, video: Path, model: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "gallery"
    report = reid("watch", video, "--model", model, "--gallery", gallery, "--quality", "--json").json
    assert (report["frames"], report["dropped"], report["reconnects"], report["enrolled"]) == (FRAMES, 0, 0, 1)
    assert report["source"] == str(video)
    assert count(gallery) == 1
    again = reid("watch", video, "--model", model, "--gallery", gallery, "--loop", "2", "--camera", "north")
    assert again.status == 0
    assert f"{gallery}: {2 * FRAMES} frames, 0 dropped, 2 tracklets, 2 enrolled, " in again.out
    assert count(gallery) == 3


def test_what_was_seen_can_be_searched(reid, video: Path, model: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "gallery"
    reid("watch", video, "--model", model, "--gallery", gallery, "--camera", "north", "--start", "2026-11-22T12:00:00Z")
    reid("ingest", video, "--out", tmp_path / "people")
    tracklet = next((tmp_path / "people" / "crops").rglob("*.jpg"))
    (match,) = reid("search", tracklet, "--gallery", gallery, "--json").json["matches"]
    assert match["camera"] == "north"
    assert match["distance"] < 0.5
    assert match["start"].startswith("2026-11-22T12:00:0") if isinstance(match["start"], str) else match["start"] > 1e9


def test_several_cameras_are_watched_at_once(reid, video: Path, model: Path, tmp_path: Path) -> None:
    gallery, other = tmp_path / "gallery", write_video(tmp_path / "gate.avi", 40, shade=9)
    words = ("watch", video, other, "--model", model, "--gallery", gallery)
    report = reid(*words, "--json").json
    assert (report["frames"], report["enrolled"], report["gallery"]) == (FRAMES + 40, 2, str(gallery))
    assert "source" not in report
    assert [camera["camera"] for camera in report["cameras"]] == ["yard", "gate"]
    assert [camera["source"] for camera in report["cameras"]] == [str(video), str(other)]
    assert [camera["frames"] for camera in report["cameras"]] == [FRAMES, 40]
    totals = {"gallery", "cameras", "seconds", "cpu_seconds", "cores", "expired"}
    assert set(report["cameras"][0]) == set(report) - totals | {"camera", "source"}
    named = reid(*words, "--camera", "A", "--camera", "B", "--start", "2026-11-22T12:00:00Z")
    first, second, total = named.out.splitlines()
    assert first == f"A: {FRAMES} frames, 0 dropped, 1 tracklet, 1 enrolled"
    assert second == "B: 40 frames, 0 dropped, 1 tracklet, 1 enrolled"
    assert total.startswith(f"{gallery}: {FRAMES + 40} frames, 0 dropped, 2 tracklets, 2 enrolled, ")
    assert count(gallery) == 4


def test_cameras_have_one_name_each(reid, video: Path, model: Path, tmp_path: Path) -> None:
    other = write_video(tmp_path / "gate.avi", 20)

    def error(*more: object) -> str:
        return reid("watch", video, *more, "--model", model, "--gallery", tmp_path / "gallery").error

    assert "2 videos, but --camera is given 1 time: give it once for each video" in error(other, "--camera", "A")
    assert "1 video, but --camera is given 2 times" in error("--camera", "A", "--camera", "B")
    assert "2 cameras have the name 'A'" in error(other, "--camera", "A", "--camera", "A")
    assert "2 cameras have the name 'yard'" in error(video)
    assert "a stream needs the name of its camera" in error(as_stream(video))
    assert "a stream has its own time" in error(as_stream(other), "--camera", "A", "--camera", "B", "--loop", "2")
    assert "gone.avi: no such file" in error(tmp_path / "gone.avi")
    assert count(tmp_path / "gallery") == 0


def test_bad_input_is_one_line(reid, video: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.avi").write_text("not a video")
    (tmp_path / "two").mkdir()
    for name in ("a", "b"):
        write_video(tmp_path / "two" / f"{name}.avi", 20)

    def error(source: object, *more: object, model: Path = model, gallery: Path = tmp_path / "gallery") -> str:
        return reid("watch", source, "--model", model, "--gallery", gallery, *more).error

    assert "gone.avi: no such file" in error(tmp_path / "gone.avi")
    assert "text.avi: not a readable video" in error(tmp_path / "text.avi")
    assert "has 2 videos: expected one" in error(tmp_path / "two")
    assert "yard.avi: no such file" in error("file:///nowhere/yard.avi", "--camera", "north")
    assert "no stream there" in error("async:file:///nowhere/yard.avi", "--camera", "north")
    assert "a stream needs the name of its camera" in error(as_stream(video))
    assert "a stream has its own time" in error(as_stream(video), "--camera", "north", "--loop", "2")
    assert "hog: unknown detector" in error(video, "--detector", "hog")
    assert "not a usable ONNX model" in error(video, model=tmp_path / "text.avi")
    assert "strict without providers" in error(video, "--strict")
    assert "expected a gallery folder" in error(video, gallery=video)
    assert count(tmp_path / "gallery") == 0
    assert reid("watch", video, "--model", model, "--gallery", "x", "--cores", "0").status == 2


def test_a_gallery_of_another_model_is_refused_before_anything_is_watched(
    reid, video: Path, model: Path, tmp_path: Path
) -> None:
    gallery = tmp_path / "gallery"
    reid("watch", video, "--model", model, "--gallery", gallery)
    model.write_bytes(model.read_bytes().replace(b"tiny", b"TINY"))
    result = reid("watch", video, "--model", model, "--gallery", gallery)
    assert "model" in result.error
    assert count(gallery) == 1


def test_handlers_of_signals_are_as_before(reid, video: Path, model: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    reid("watch", video, "--model", model, "--gallery", tmp_path / "gallery")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space"), BrokenPipeError(errno.EPIPE, "broken pipe")])
@pytest.mark.parametrize("terminal", [False, True])
def test_lines_that_cannot_be_written_end_no_watch(
    video: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, terminal: bool
) -> None:
    tried = []

    class Unwritable(io.StringIO):
        def write(self, text: str) -> int:
            tried.append(text)
            raise error

        def isatty(self) -> bool:
            return terminal

    monkeypatch.setattr(watch_module, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(watch_module, "REDRAW_SECONDS", 0.0)
    with redirect_stderr(Unwritable()), pytest.raises(SystemExit) as left:
        main(["watch", str(video), "--model", str(model), "--gallery", str(tmp_path / "gallery")])
    assert tried
    assert (left.value.code, count(tmp_path / "gallery")) == (0, 1)


def test_a_stderr_that_is_closed_ends_no_watch(
    video: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as Python has it after 2>&-
    monkeypatch.setattr(watch_module, "LINE_SECONDS", 0.0)
    with pytest.raises(SystemExit) as left:
        main(["watch", str(video), "--model", str(model), "--gallery", str(tmp_path / "gallery")])
    assert (left.value.code, count(tmp_path / "gallery")) == (0, 1)


def test_what_is_lost_to_a_locked_gallery_is_said_with_status_one(
    reid, video: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = tmp_path / "gallery"
    reid("watch", video, "--model", model, "--gallery", gallery)
    add = Gallery.add

    def while_another_writes(self: Gallery, *given: object) -> None:
        with closing(sqlite3.connect(gallery / "gallery.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            add(self, *given)

    monkeypatch.setattr(Gallery, "add", while_another_writes)
    words = ("watch", video, "--model", model, "--gallery", gallery, "--camera", "north", "--wait", "0")
    for more in ((), ("--json",)):
        done = reid(*words, *more)
        assert done.status == 1
        assert "error: " in done.err.splitlines()[-1]
        assert "1 tracklets are lost" in done.err.splitlines()[-1]
        assert json.loads(done.out)["lost"] == 1 if more else ", 0 enrolled, 1 lost, " in done.out
    monkeypatch.undo()
    assert reid(*words).status == 0
    assert count(gallery) == 2


@pytest.fixture
def hangup() -> Iterator:
    """``hangup(handler)`` has SIGHUP handled so from now on."""
    before = signal.getsignal(signal.SIGHUP)
    yield lambda handler: signal.signal(signal.SIGHUP, handler)
    signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_closes_stops_it_and_never_interrupts(hangup) -> None:
    hangup(signal.SIG_DFL)
    with stopped_by_signals() as stop:
        for _ in range(2):  # from the shell, and from the system
            signal.raise_signal(signal.SIGHUP)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_under_nohup_a_terminal_may_close(hangup) -> None:
    hangup(signal.SIG_IGN)
    with stopped_by_signals() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert not stop.is_set()


@pytest.fixture
def start(model: Path, tmp_path: Path) -> Iterator:
    """``start(video, ...)`` is ``reid watch`` as a process of its own, with a gallery that ``start.gallery`` names."""
    started: list[subprocess.Popen] = []

    def run(*arguments: object) -> subprocess.Popen:
        words = [*map(str, arguments), "--model", str(model), "--gallery", str(tmp_path / "gallery")]
        command = [sys.executable, "-m", "reid_toolkit", "watch", *words]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition, process: subprocess.Popen) -> None:
    while not condition():
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_ends_it_well(start, hangup, video: Path, tmp_path: Path, number: int) -> None:
    hangup(signal.SIG_DFL)  # the suite may run under nohup
    process = start(video, "--loop", "100000")
    wait_for(lambda: count(tmp_path / "gallery") >= 2, process)
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, b"")
    assert f" {count(tmp_path / 'gallery')} enrolled" in out.decode()


def test_an_interruption_enrolls_whoever_is_in_view_of_any_camera(start, video: Path, tmp_path: Path) -> None:
    other = write_video(tmp_path / "gate.avi", FRAMES)
    process = start(video, other, "--camera", "A", "--camera", "B", "--loop", "100000", "--json")
    wait_for(lambda: count(tmp_path / "gallery") >= 4, process)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, b"")
    cameras = json.loads(out)["cameras"]
    assert sum(camera["enrolled"] for camera in cameras) == count(tmp_path / "gallery")
    assert all(camera["enrolled"] >= camera["frames"] // FRAMES for camera in cameras)


def test_an_interrupted_stream_ends_well(start, video: Path, tmp_path: Path) -> None:
    process = start(as_stream(video), "--camera", "north", "--json")
    wait_for(lambda: (tmp_path / "gallery" / "gallery.sqlite").exists(), process)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"Traceback" not in error
    assert json.loads(out)["source"] == as_stream(video)


def test_a_camera_that_is_away_keeps_no_other_from_being_watched(start, video: Path, tmp_path: Path) -> None:
    away = "rtsp://admin:secret@127.0.0.1:9/door"
    process = start(away, video, "--camera", "door", "--camera", "yard")
    said = process.stderr.readline().decode()
    assert said.startswith("warning: door: no frames come: rtsp://127.0.0.1:9/door: connection refused; it is opened")
    wait_for(lambda: count(tmp_path / "gallery") >= 1, process)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "door: 0 frames" in out.decode()
    assert b"secret" not in out + error
    assert b"no frames come" not in error, "it is said once"


def test_if_no_camera_answers_it_is_an_error(reid, model: Path, tmp_path: Path) -> None:
    away = [f"rtsp://admin:secret@127.0.0.1:9/{name}" for name in ("door", "gate")]
    words = ("--camera", "door", "--camera", "gate", "--model", model, "--gallery", tmp_path / "gallery")
    error = reid("watch", *away, *words).error
    assert error.startswith("error: none of the 2 cameras answers; the first: rtsp://127.0.0.1:9/door: no stream there")


def test_the_line_a_minute_names_cameras_without_frames(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch_module, "LINE_SECONDS", 0.0)

    def report(**frames: int) -> WatchReport:
        cameras = (CameraReport(name, "", Tally(count), 0, 0, 0, name == "file") for name, count in frames.items())
        return WatchReport((*cameras, CameraReport("[bold]", "", Tally(), 0, 0, 0, False)), 0, 60.0, 1.0)

    with status_line() as on_status:
        on_status(report(hall=9, gate=5, file=50))
        on_status(report(hall=9, gate=7, file=50))
        on_status(report(hall=11, gate=7, file=50))
    lines = [line for line in capsys.readouterr().err.splitlines() if " frames, " in line]
    assert [line.partition(" cores")[2] for line in lines] == [
        ", no frames from [bold]", ", no frames from hall, [bold]", ", no frames from gate, [bold]"
    ]  # fmt: skip


def test_killed_it_keeps_what_was_enrolled(start, video: Path, tmp_path: Path) -> None:
    process = start(video, "--loop", "100000")
    wait_for(lambda: count(tmp_path / "gallery") >= 2, process)
    process.kill()
    process.wait()
    assert count(tmp_path / "gallery") >= 2
    assert start(video).wait(timeout=60) == 0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="threads cannot be bound to cores here")
@pytest.mark.skipif(os.cpu_count() == 1, reason="here every process is on one core")
def test_one_core_is_one_core(start, video: Path, tmp_path: Path) -> None:
    process = start(video, "--loop", "100000", "--cores", "1")
    wait_for(lambda: count(tmp_path / "gallery") >= 1, process)
    bound = {}
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        with suppress(ProcessLookupError):  # a thread may end meanwhile
            bound[task.name] = frozenset(os.sched_getaffinity(int(task.name)))
    assert len(set(bound.values())) == 1
    assert len(next(iter(bound.values()))) == 1
