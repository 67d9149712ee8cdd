import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial, partialmethod
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import onnx
import pytest
from drawn_clip import as_stream, with_sound, write_clip
from drawn_yard import EMPTY, RATE, RedDetector, ScriptedDetector, draw_frame, walker_box, write_video
from set_clock import SetClock
from tiny_model import build_model

from reid_toolkit.datasets import manifest
from reid_toolkit.datasets.manifest import read_manifest
from reid_toolkit.errors import DatasetError, InputError, VideoError
from reid_toolkit.footage import clock, crops, dataset_writer, decoding, extract, frames
from reid_toolkit.footage import ingest as ingesting
from reid_toolkit.footage.dataset_writer import frame_sizes
from reid_toolkit.footage.extract import CameraReport
from reid_toolkit.footage.frames import Recording
from reid_toolkit.footage.ingest import IngestReport, ingest
from reid_toolkit.footage.repair import inspect
from reid_toolkit.footage.sources import find_sources, open_recordings
from reid_toolkit.gallery import open_gallery
from reid_toolkit.parallel.pool import ThisProcess
from reid_toolkit.runtime import Embedder
from reid_toolkit.search import enroll, units_of


def run(*sources: Path, out: Path, **settings: object) -> IngestReport:
    return ingest(sources, out, **{"detector": ScriptedDetector(), "every": 2, **settings})  # type: ignore[arg-type]


def rows(out: Path) -> list[tuple[object, ...]]:
    """All that a dataset says, but for where it lies."""
    dataset = read_manifest(out)
    return sorted((c.path.relative_to(dataset.root), c.camera, c.tracklet, c.frame, c.time) for c in dataset.crops)


def test_a_walker_becomes_a_tracklet(video: Path, tmp_path: Path) -> None:
    report = run(video, out=tmp_path / "set", camera="north")
    (tracklet,) = read_manifest(tmp_path / "set").tracklets
    assert (report.videos, report.frames, report.tracklets, report.dropped) == (1, 50, 1, 0)
    assert report.crops == len(tracklet.crops) >= 17
    assert report.warnings == []
    assert tracklet.camera == "north"
    assert tracklet.name.startswith("north-yard-")
    assert {crop.recording for crop in tracklet.crops} == {"north-yard"}
    assert {b.frame - a.frame for a, b in zip(tracklet.crops, tracklet.crops[1:], strict=False)} == {2}
    for crop in tracklet.crops:
        assert (crop.x, crop.y, crop.width, crop.height) == walker_box(crop.frame)
        assert crop.time == pytest.approx(crop.frame / RATE)
        assert crop.identity is None
    # 90 x 34 pixels and the margin of a twentieth on each side
    assert cv2.imread(str(tracklet.crops[0].path)).shape[:2] == (98, 38)


def test_the_motion_detector_finds_the_same_walker(video: Path, tmp_path: Path) -> None:
    report = ingest([video], tmp_path / "set")
    (tracklet,) = read_manifest(tmp_path / "set").tracklets
    assert tracklet.camera == "yard"
    assert report.tracklets == 1
    assert tracklet.crops[0].frame <= EMPTY + 10


def test_a_start_time_makes_times_absolute(video: Path, tmp_path: Path) -> None:
    start = datetime(2026, 11, 22, 12, 0, 0)  # naive: UTC
    run(video, out=tmp_path / "set", start=start)
    crop = read_manifest(tmp_path / "set").crops[0]
    assert crop.time == pytest.approx(start.replace(tzinfo=UTC).timestamp() + crop.frame / RATE, abs=1e-3)


def test_a_start_time_is_for_one_recording(video: Path, tmp_path: Path) -> None:
    other = write_video(tmp_path / "other.avi", frames=5)
    with pytest.raises(InputError, match="start time given with 2 recordings"):
        run(video, other, out=tmp_path / "set", start=datetime(2026, 1, 1, tzinfo=UTC))


def test_two_recordings_of_one_name_do_not_collide(tmp_path: Path) -> None:
    for folder, shade in (("monday", 0), ("tuesday", 10)):
        (tmp_path / folder).mkdir()
        write_video(tmp_path / folder / "yard.avi", shade=shade)
    report = run(tmp_path / "monday", tmp_path / "tuesday", out=tmp_path / "set", camera="n/1 é")
    tracklets = read_manifest(tmp_path / "set").tracklets
    assert report.tracklets == len(tracklets) == 2
    assert {tracklet.camera for tracklet in tracklets} == {"n/1 é"}
    assert [t.name.rpartition("-")[0] for t in tracklets] == ["n_1_é-yard", "n_1_é-yard-2"]


@pytest.mark.parametrize("name", ["y" * 251, "é" * 125], ids=["ascii", "two bytes a letter"])
def test_a_name_as_long_as_file_systems_take_is_stored_beside_its_twin(tmp_path: Path, name: str) -> None:
    for folder, shade in (("monday", 0), ("tuesday", 10)):
        (tmp_path / folder).mkdir()
        write_video(tmp_path / folder / f"{name}.avi", shade=shade)
    report = run(tmp_path / "monday", tmp_path / "tuesday", out=tmp_path / "set", camera="c" * 100)
    assert report.tracklets == len(read_manifest(tmp_path / "set").tracklets) == 2


def test_short_tracklets_are_dropped_and_counted(video: Path, tmp_path: Path) -> None:
    report = run(video, out=tmp_path / "set", min_crops=30)
    assert (report.tracklets, report.dropped, report.crops) == (0, 1, 0)
    assert "no tracklets in 50 frames (1 too short)" in report.warnings[0]
    assert list((tmp_path / "set").rglob("*.jpg")) == []


def test_run_again_it_adds_nothing_and_another_recording_is_added(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(video, out=out)
    before = rows(out)
    report = run(video, out=out)
    assert (report.videos, report.skipped, report.frames) == (0, 1, 0)
    assert rows(out) == before
    report = run(video, write_video(tmp_path / "hall.avi", shade=10), out=out)
    assert (report.videos, report.skipped) == (1, 1)
    assert set(before) < set(rows(out))
    assert read_manifest(out).cameras == ("hall", "yard")


def test_other_settings_for_a_stored_recording_are_refused(video: Path, tmp_path: Path) -> None:
    run(video, out=tmp_path / "set")
    other = r"with other settings \(camera was 'yard', is 'north'; margin was 0\.05, is 0\.1\)"
    with pytest.raises(InputError, match=other):
        run(video, out=tmp_path / "set", camera="north", margin=0.1)


def test_a_recording_that_changed_is_refused(video: Path, tmp_path: Path) -> None:
    run(video, out=tmp_path / "set")
    write_video(video, frames=60)
    with pytest.raises(VideoError, match="has changed since it was ingested"):
        run(video, out=tmp_path / "set")


def test_the_same_recording_twice_is_refused(video: Path, tmp_path: Path) -> None:
    copy = shutil.copy(video, tmp_path / "copy.avi")
    with pytest.raises(InputError, match=r"copy\.avi: the same recording as .*yard\.avi"):
        run(video, copy, out=tmp_path / "set")


def test_interrupted_in_the_second_recording_the_first_is_kept(tmp_path: Path) -> None:
    videos = [write_video(tmp_path / f"{name}.avi", shade=shade) for name, shade in (("a", 0), ("b", 10))]
    whole, out = tmp_path / "whole", tmp_path / "set"
    run(*videos, out=whole)
    run(videos[0], out=out)
    with pytest.raises(KeyboardInterrupt):
        run(*videos, out=out, detector=ScriptedDetector(interrupt_at=30))
    assert len(read_manifest(out).tracklets) == 1
    assert [path.name for path in (out / "crops").iterdir()] == ["a"]
    report = run(*videos, out=out)
    assert (report.videos, report.skipped) == (1, 1)
    assert rows(out) == rows(whole)


def test_killed_it_goes_on_without_losing_or_doubling_anything(tmp_path: Path) -> None:
    videos = [write_video(tmp_path / f"{name}.avi", shade=shade) for name, shade in (("a", 0), ("b", 10))]
    script = (
        "import os, signal, sys\n"
        "from drawn_yard import ScriptedDetector\n"
        "from reid_toolkit.footage.ingest import ingest\n"
        "class Killer(ScriptedDetector):\n"
        "    frames = 0\n"
        "    def __call__(self, frame):\n"
        "        self.frames += 1\n"
        "        if self.frames == 90: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().__call__(frame)\n"
        "ingest(sys.argv[2:], sys.argv[1], detector=Killer(), every=2)\n"
    )
    out, whole = tmp_path / "set", tmp_path / "whole"
    killed = subprocess.run([sys.executable, "-c", script, out, *videos], cwd=Path(__file__).parents[1], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(read_manifest(out).tracklets) == 1
    assert run(*videos, out=out).skipped == 1
    run(*videos, out=whole)
    assert rows(out) == rows(whole)
    assert sorted(path.name for path in (out / "crops").iterdir()) == ["a", "b"]


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_while_crops_are_written(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "set"
    with monkeypatch.context() as patch:
        patch.setattr(crops, "write_crop", full_disk)
        with pytest.raises(OSError, match="No space left"):
            run(video, out=out)
    assert list(out.rglob("*.jpg")) == []
    assert run(video, out=out).tracklets == 1


@pytest.mark.parametrize("which", ["manifest", "journal"])
def test_a_full_disk_while_a_recording_is_entered(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    out, whole = tmp_path / "set", tmp_path / "whole"
    run(video, out=whole)
    real = {"manifest": manifest.write_manifest, "journal": None}[which]

    with monkeypatch.context() as patch:
        if real:
            patch.setattr(
                manifest,
                "write_manifest",
                lambda root, rows: full_disk() if root == out else real(root, rows),
            )
        else:
            patch.setattr(
                dataset_writer,
                "write_atomic",
                lambda path, text: full_disk() if path.parent == out else path.write_text(text),
            )
        with pytest.raises(OSError, match="No space left"):
            run(video, out=out)
    report = run(video, out=out)
    assert report.skipped == 1  # its crops were all there; only the entry was missing
    assert rows(out) == rows(whole)
    assert Counter(path.suffix for path in (out / "crops").rglob("*.*")) == {".jpg": len(rows(out))}


def test_crops_are_on_the_disk_before_anything_says_that_they_are_there(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "set"
    synced: list[int] = []

    def refused(folder: Path) -> None:
        synced.append(len(list(folder.rglob("*.jpg"))))
        full_disk()

    with monkeypatch.context() as patch:
        patch.setattr(dataset_writer, "sync_below", refused)
        with pytest.raises(OSError, match="No space left"):
            run(video, out=out)
    assert list(out.rglob("*.jpg")) == []
    assert run(video, out=out).crops == synced[0] > 0


def test_killed_between_any_two_removals_a_dataset_can_be_added_to(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "set", tmp_path / "whole"
    run(video, out=whole)
    real = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        real(path, missing_ok)
        if path.parent == out / "crops" / "yard":
            raise KeyboardInterrupt  # after the first of its two files is gone

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            run(video, out=out)
    assert inspect(out).sound
    assert run(video, out=out).skipped == 1
    assert rows(out) == rows(whole)


def test_a_dataset_that_an_earlier_version_left_half_entered_can_be_added_to(video: Path, tmp_path: Path) -> None:
    """That version removed a recording's own manifest before its own journal."""
    out = tmp_path / "set"
    run(video, out=out)
    before = rows(out)
    (entry,) = json.loads((out / "ingest.json").read_text())["recordings"]
    (out / "crops" / "yard" / "ingest.json").write_text(json.dumps(entry))
    assert inspect(out).sound
    assert run(video, out=out).skipped == 1
    assert rows(out) == before
    assert not (out / "crops" / "yard" / "ingest.json").exists()


def test_a_video_that_ends_early_is_kept_with_a_warning(video: Path, tmp_path: Path) -> None:
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 3 // 4])
    report = run(video, out=tmp_path / "set")
    assert report.tracklets == 1
    assert f"ends early: {report.frames} of 50 declared frames" in report.warnings[0]


def test_a_folder_of_frames_is_ingested(tmp_path: Path) -> None:
    folder = tmp_path / "north"
    folder.mkdir()
    for number in range(40):
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), draw_frame(number))
    run(folder, out=tmp_path / "set", frame_rate=5.0)
    (tracklet,) = read_manifest(tmp_path / "set").tracklets
    assert tracklet.camera == "north"
    assert tracklet.crops[-1].time == pytest.approx(tracklet.crops[-1].frame / 5)


def test_a_stream_is_kept_in_parts_and_every_run_adds(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "STREAM_PART_SECONDS", 0.02)
    out = tmp_path / "set"
    reports = [ingest([as_stream(video)], out, camera="door", detector=ScriptedDetector(), every=1) for _ in range(2)]
    assert [report.frames for report in reports] == [50, 50]
    entries = json.loads((out / "ingest.json").read_text())["recordings"]
    assert sum(entry["frames"] for entry in entries) == 100
    assert len(entries) >= 2
    assert len({entry["name"] for entry in entries}) == len(entries)


def test_a_part_of_a_stream_ends_also_while_only_sound_comes(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, passed = as_stream(with_sound(video, tmp_path / "sound.mkv", 30)), count()
    clock_of = SimpleNamespace(monotonic=lambda: next(passed) / 10, perf_counter=time.perf_counter)
    monkeypatch.setattr(extract, "time", clock_of)
    monkeypatch.setattr(extract, "STREAM_PART_SECONDS", 20.0)
    report = ingest([stream], tmp_path / "set", camera="door", detector=ScriptedDetector(), every=1, seconds=40.0)
    entries = json.loads((tmp_path / "set" / "ingest.json").read_text())["recordings"]
    assert report.frames == 50
    assert [entry["frames"] for entry in entries] == [50, 0], "two parts of 20 s, and then it stops"


def test_a_stream_that_is_interrupted_keeps_what_it_has(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "time", SetClock(1 / RATE))  # however busy the machine is
    out = tmp_path / "set"
    detector = ScriptedDetector(interrupt_at=40)
    report = ingest([as_stream(video)], out, camera="door", detector=detector, every=1)
    (tracklet,) = read_manifest(out).tracklets
    assert report.frames == 40
    assert tracklet.camera == "door"
    assert tracklet.start is not None
    assert tracklet.start > 1.7e9


def test_a_clock_that_is_set_back_ends_tracklets_and_times_are_right_after_it(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = SetClock(1 / RATE)
    monkeypatch.setattr(clock, "time", machine)

    class Setting(ScriptedDetector):
        def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            if self.number == 30:
                machine.ahead -= 3600
            return super().__call__(frame)

    with pytest.warns(RuntimeWarning, match="set back by 3600"):
        ingest([as_stream(video)], tmp_path / "set", camera="door", detector=Setting(), every=1)
    first, second = read_manifest(tmp_path / "set").tracklets
    assert second.end < first.start
    for tracklet in (first, second):
        np.testing.assert_allclose(np.diff([crop.time for crop in tracklet.crops]), 1 / RATE, atol=1e-5)


def test_parts_of_a_stream_are_as_long_as_ever_after_the_clock_was_set_back(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "STREAM_PART_SECONDS", 0.0)
    real, ahead = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])

    class Setting(ScriptedDetector):
        def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            ahead[0] = -3600.0 if self.number >= 5 else 0.0
            return super().__call__(frame)

    with pytest.warns(RuntimeWarning, match="set back by 3600"):
        ingest([as_stream(video)], tmp_path / "set", camera="door", detector=Setting(), every=1)
    entries = json.loads((tmp_path / "set" / "ingest.json").read_text())["recordings"]
    assert [entry["frames"] for entry in entries[:50]] == [1] * 50


def test_a_stream_needs_a_camera_and_no_company(video: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give it alone, and with a camera name"):
        ingest([as_stream(video)], tmp_path / "set")


def test_one_process_at_a_time(video: Path, tmp_path: Path) -> None:
    from reid_toolkit.footage.dataset_writer import open_store

    with open_store(tmp_path / "set"), pytest.raises(DatasetError, match="another process is changing this dataset"):
        run(video, out=tmp_path / "set")


def test_a_damaged_journal_is_named(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    out.mkdir()
    (out / "ingest.json").write_text("{")
    with pytest.raises(DatasetError, match=r"ingest\.json: damaged"):
        run(video, out=out)


def test_progress_counts_all_frames(video: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    run(video, out=tmp_path / "set", on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 50) for done in range(51)]


def test_settings_out_of_range_are_refused(video: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every 0, min_crops 4, margin"):
        run(video, out=tmp_path / "set", every=0)
    for rate in (0.0, 1e-9, 1e9, float("inf"), float("nan")):
        with pytest.raises(InputError, match=r"frame_rate 0\.001-1000"):
            run(video, out=tmp_path / "set", frame_rate=rate)
    with pytest.raises(InputError, match="expected a path"):
        ingest([video], "")


def rewrite(path: Path, content: bytes) -> None:
    """As a recorder goes on writing: at another time than before."""
    before = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_one_bad_source_does_not_stop_the_others(video: Path, tmp_path: Path) -> None:
    out, late = tmp_path / "set", tmp_path / "late.avi"
    late.write_text("not yet a video")
    bad: list[str] = []
    report = run(late, tmp_path / "gone.mp4", video, out=out, bad=bad)
    assert (report.videos, report.tracklets) == (1, 1)
    assert [("late.avi" in bad[0]), ("gone.mp4" in bad[1])] == [True, True]
    assert report.bad == bad
    with pytest.raises(VideoError, match=r"2 sources cannot be read, the first: .*late\.avi"):
        run(late, tmp_path / "gone.mp4", video, out=out)
    write_video(late, shade=10)
    assert (run(late, video, out=out).videos, read_manifest(out).cameras) == (1, ("late", "yard"))


@pytest.mark.parametrize("twin", [False, True], ids=["another size", "the same size"])
def test_a_file_that_vanishes_before_it_is_read_does_not_stop_the_others(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twin: bool
) -> None:
    out = tmp_path / "set"
    gone = Path(shutil.copy(video, tmp_path / "gone.avi")) if twin else write_video(tmp_path / "gone.avi", frames=20)
    real = Recording.size.func
    sized: list[str] = []

    def vanishing(recording: Recording) -> int:
        if recording.name == "gone" and not twin:
            gone.unlink(missing_ok=True)
        size = real(recording)
        sized.append(recording.name)
        if twin:
            gone.unlink(missing_ok=True)
        return size

    opened = find_sources([str(gone), str(video)], 25.0)
    monkeypatch.setattr(ingesting, "find_sources", lambda *_: opened)
    monkeypatch.setattr(Recording, "size", property(vanishing))
    bad: list[str] = []
    report = run(gone, video, out=out, bad=bad)
    assert bad == [f"{gone}: gone while it was read"]
    assert (report.videos, read_manifest(out).cameras) == (1, ("yard",))
    assert ("gone" in sized) == twin


@pytest.mark.parametrize("pool", [None, ThisProcess()])
def test_a_file_that_may_not_be_read_does_not_stop_the_others(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: ThisProcess | None
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), draw_frame(number))
    real = Path.open

    def refused(path: Path, *mode: str, **about: Any) -> Any:
        if path == folder / "1.png":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *mode, **about)

    monkeypatch.setattr(Path, "open", refused)
    bad: list[str] = []
    report = ingest([folder, video], tmp_path / "set", pool=pool, bad=bad)
    assert bad == [f"{folder / '1.png'}: cannot be read: Permission denied"]
    assert (report.videos, read_manifest(tmp_path / "set").cameras) == (1, ("yard",))


@pytest.mark.parametrize(
    ("where", "code"),
    [("frames", errno.EIO), ("frames", errno.ESTALE), ("frames", errno.ETIMEDOUT), ("bytes", errno.EIO)],
)
def test_a_recording_whose_disk_fails_for_a_while_is_read_again(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, code: int
) -> None:
    out, other = tmp_path / "set", write_video(tmp_path / "other.avi", frames=20)
    bad: list[str] = []
    with monkeypatch.context() as patch:
        if where == "frames":
            patch.setattr(decoding.av, "open", partial(failing_after, 30, code, av.open))
        else:
            patch.setattr(Path, "open", partialmethod(failing_at, "yard", code, Path.open))
        report = run(video, other, out=out, bad=bad)
    assert (report.videos, report.damaged) == (1, 0)
    assert [message.startswith(f"{video}: reading failed: ") for message in bad] == [True]
    assert read_manifest(out).cameras == ("other",)
    assert (run(video, other, out=out).frames, read_manifest(out).cameras) == (50, ("other", "yard"))


def failing_at(path: Path, name: str, code: int, real: Callable[..., Any], *given: object, **options: object) -> Any:
    if path.stem == name:
        raise OSError(code, os.strerror(code), str(path))
    return real(path, *given, **options)


def failing_after(packets: int, code: int, real: Callable[..., Any], *given: object, **options: object) -> Any:
    """A container whose disk fails after so many packets, with the error that PyAV raises then."""
    container = real(*given, **options)

    def demux(stream: object) -> Iterator[object]:
        for number, packet in enumerate(container.demux(stream)):
            if number == packets:
                av.error.err_check(-code)
            yield packet

    return SimpleNamespace(streams=container.streams, demux=demux, close=container.close)


def test_a_file_that_is_damaged_and_ends_early_is_said_to_be_both(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding.av, "open", partial(failing_after, 30, errno.EPERM, av.open))
    report = run(video, out=tmp_path / "set")
    damaged, early = report.warnings
    assert "damaged: 1 piece is missing" in damaged
    assert "ends early: 30 of 50 declared frames" in early


def test_a_recording_that_is_black_is_not_stored(video: Path, tmp_path: Path) -> None:
    black = write_clip(tmp_path / "black.avi", [np.zeros((240, 320, 3), np.uint8)] * 5)
    with pytest.raises(VideoError, match=r"black\.avi: all of its 5 frames are black"):
        run(black, video, out=tmp_path / "set")
    assert read_manifest(tmp_path / "set").cameras == ("yard",)
    dark = [np.zeros((240, 320, 3), np.uint8)] * 5 + [draw_frame(number) for number in range(20)]
    report = run(write_clip(tmp_path / "dark.avi", dark), out=tmp_path / "set")
    assert any("dark.avi: 5 of 25 frames are completely black" in warning for warning in report.warnings)


def test_a_gap_ends_a_tracklet(tmp_path: Path) -> None:
    times = [number / RATE + 3600 * (number >= 30) for number in range(50)]
    video = write_clip(tmp_path / "event.mkv", [draw_frame(number) for number in range(50)], times=times)
    run(video, out=tmp_path / "set", every=1)
    before, after = sorted(read_manifest(tmp_path / "set").tracklets, key=lambda tracklet: tracklet.name)
    assert (before.crops[-1].time, after.crops[0].time) == (pytest.approx(2.9), pytest.approx(3603, abs=0.2))


def test_damage_is_counted_and_what_follows_is_kept(tmp_path: Path) -> None:
    pictures = [draw_frame(number) for number in range(60)]
    video = write_clip(tmp_path / "hole.mp4", pictures, codec="mpeg4", pixels="yuv420p", g="5", b="4000000")
    content = video.read_bytes()
    third, half = len(content) // 3, len(content) // 2
    video.write_bytes(content[:third] + bytes(half - third) + content[half:])
    report = run(video, out=tmp_path / "set", detector=RedDetector())
    assert report.damaged > 0
    assert f"hole.mp4: damaged: {report.damaged} pieces are missing or could not be decoded" in report.warnings[0]
    assert max(crop.time for crop in read_manifest(tmp_path / "set").crops) > 5


def test_a_file_that_grew_takes_the_place_of_its_beginning(tmp_path: Path) -> None:
    out, growing = tmp_path / "set", tmp_path / "0900.ts"
    other = write_video(tmp_path / "0800.avi", shade=10)
    pictures = [draw_frame(number) for number in range(60)]
    write_clip(growing, pictures, codec="mpeg4", pixels="yuv420p", b="4000000")
    content = growing.read_bytes()
    growing.write_bytes(content[: 188 * (len(content) * 2 // 3 // 188)])
    first = run(growing, other, out=out, camera="gate", detector=RedDetector())
    assert (first.videos, first.replaced) == (2, 0)
    part = {crop.path for crop in read_manifest(out).crops}
    rewrite(growing, content)
    second = run(growing, other, out=out, camera="gate", detector=RedDetector())
    assert (second.videos, second.replaced, second.skipped) == (1, 1, 1)
    whole = {crop.path for crop in read_manifest(out).crops}
    assert not any(path.exists() for path in part - whole)
    entries = json.loads((out / "ingest.json").read_text())["recordings"]
    assert sorted(Path(entry["source"]).name for entry in entries) == ["0800.avi", "0900.ts"]
    fresh = tmp_path / "fresh"
    run(growing, other, out=fresh, camera="gate", detector=RedDetector())
    assert sorted((c.frame, c.time) for c in read_manifest(fresh).crops) == sorted(
        (c.frame, c.time) for c in read_manifest(out).crops
    )
    assert run(growing, other, out=out, camera="gate", detector=RedDetector()).skipped == 2


@pytest.mark.parametrize("at", ["manifest", "journal", "crops"])
def test_interrupted_while_a_recording_is_replaced_nothing_is_lost_or_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:

    out, video = tmp_path / "set", write_video(tmp_path / "yard.avi", frames=40)
    run(video, out=out)
    rewrite(video, write_video(tmp_path / "longer.avi", frames=60).read_bytes())
    whole = tmp_path / "whole"
    run(video, out=whole)
    real_manifest, real_text = manifest.write_manifest, dataset_writer.write_atomic
    with monkeypatch.context() as patch:
        if at == "manifest":
            patch.setattr(
                manifest, "write_manifest", lambda root, c: full_disk() if root == out else real_manifest(root, c)
            )
        elif at == "journal":
            patch.setattr(
                dataset_writer,
                "write_atomic",
                lambda path, text: full_disk() if path.parent == out else real_text(path, text),
            )
        else:
            patch.setattr(
                dataset_writer.shutil, "rmtree", lambda path, **_: full_disk() if path == out / "crops/yard" else None
            )
        with pytest.raises(OSError, match="No space left"):
            run(video, out=out, replace=True)
    assert run(video, out=out).skipped == 1
    stems = {path.parts[1] for path, *_ in rows(out)}
    assert stems == {"yard-2"}
    assert [row[3:] for row in rows(out)] == [row[3:] for row in rows(whole)]
    assert sorted(path.name for path in (out / "crops").iterdir()) == ["yard-2"]
    rewrite(video, write_video(tmp_path / "longest.avi", frames=70).read_bytes())
    run(video, out=out, replace=True)
    assert {path.parts[1] for path, *_ in rows(out)} == {"yard-3"}, "a gallery may know the tracklets of yard"


def test_a_recording_that_changed_otherwise_is_replaced_when_asked(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(video, out=out)
    before = rows(out)
    rewrite(video, write_video(tmp_path / "other.avi", frames=60).read_bytes())
    with pytest.raises(VideoError, match=r"has changed since .* or give --replace"):
        run(video, out=out)
    assert rows(out) == before
    assert run(video, out=out, replace=True).replaced == 1
    assert max(frame for _, _, _, frame, _ in rows(out)) > 50


def test_a_file_that_is_still_written_is_left_for_later(tmp_path: Path, video: Path) -> None:
    class Recorder(ScriptedDetector):
        """While people are looked for, the recorder writes on."""

        def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            if self.number == 5:
                rewrite(growing, growing.read_bytes() + b"more")
            return super().__call__(frame)

    growing = write_video(tmp_path / "growing.avi", shade=10)
    out = tmp_path / "set"
    report = run(growing, out=out, detector=Recorder())
    assert (report.videos, report.tracklets) == (0, 0)
    assert "growing.avi: changed while it was read, so it is still being written: left for" in report.waiting[0]
    assert list((out / "crops").iterdir()) == []
    assert (run(growing, video, out=out).videos, run(growing, video, out=out).skipped) == (2, 2)


def test_what_an_earlier_version_stored_is_known(video: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(30):
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), draw_frame(number))
    out = tmp_path / "set"
    run(video, folder, out=out)
    journal = json.loads((out / "ingest.json").read_text())
    for entry, recording in zip(journal["recordings"], open_recordings([str(video), str(folder)], 25.0), strict=True):
        for key in ("stamp", "size", "black"):
            del entry[key]
        entry["fingerprint"] = recording.fingerprint_before
    (out / "ingest.json").write_text(json.dumps(journal))
    assert run(video, folder, out=out).skipped == 2


def test_bytes_are_read_once(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "set"
    run(video, out=out)
    monkeypatch.setattr(frames, "digest_of", lambda *given: pytest.fail("read again"))
    assert run(video, out=out).skipped == 1


@pytest.mark.parametrize(
    ("camera", "why"),
    [("hall\r", "lists saved on Windows"), ("a\nb", "control"), ("a\udce9", "not valid Unicode"), (" ", "a name")],
)
def test_a_camera_that_no_manifest_can_hold_is_refused_before_the_work(
    video: Path, tmp_path: Path, camera: str, why: str
) -> None:
    with pytest.raises(DatasetError, match=why):
        run(video, out=tmp_path / "set", camera=camera, detector=ScriptedDetector(interrupt_at=0))
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("year", [1969, 1970, 1972, 5500])
def test_a_start_whose_times_would_not_be_absolute_is_refused_before_the_work(
    video: Path, tmp_path: Path, year: int
) -> None:
    with pytest.raises(InputError, match=r"start time .*: expected 1973-03-04 to 5138"):
        run(video, out=tmp_path / "set", start=datetime(year, 1, 2, tzinfo=UTC))
    assert not (tmp_path / "set").exists()


def test_seconds_are_for_a_stream(video: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"seconds given for .*yard\.avi, which is no stream"):
        run(video, out=tmp_path / "set", seconds=3.0)
    assert not (tmp_path / "set").exists()


def test_if_nothing_can_be_read_no_dataset_is_made(tmp_path: Path) -> None:
    out, bad = tmp_path / "set", []
    assert run(tmp_path / "typo.avi", out=out, bad=bad).videos == 0
    assert len(bad) == 1
    assert not out.exists()
    with pytest.raises(VideoError, match=r"typo\.avi: no such file"):
        run(tmp_path / "typo.avi", out=out)


def test_crops_on_another_disk_are_refused_before_the_work(video: Path, tmp_path: Path) -> None:
    out, disk = tmp_path / "set", tmp_path / "disk"
    out.mkdir()
    disk.mkdir()
    (out / "crops").symlink_to(disk)
    with pytest.raises(DatasetError, match=r"leads out of the dataset folder.* make .*set itself a link"):
        run(video, out=out, detector=ScriptedDetector(interrupt_at=0))
    (tmp_path / "link").symlink_to(disk)
    assert run(video, out=tmp_path / "link").tracklets == 1
    assert run(video, out=tmp_path / "link").skipped == 1


def test_a_copy_under_another_name_is_the_same_recording(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(video, out=out)
    copy = shutil.copy(video, tmp_path / "copy.avi")
    report = run(copy, write_video(tmp_path / "other.avi", shade=20), out=out)
    assert (report.skipped, report.videos) == (1, 1)


def test_a_recording_that_is_replaced_by_an_empty_one_leaves_a_dataset_that_can_be_filled(
    video: Path, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    run(video, out=out)
    rewrite(video, write_video(tmp_path / "empty.avi", frames=EMPTY).read_bytes())
    assert run(video, out=out, replace=True).tracklets == 0
    assert not (out / "manifest.csv").exists()
    run(write_video(tmp_path / "other.avi", shade=20), out=out)
    assert read_manifest(out).cameras == ("other",)


@pytest.mark.parametrize("workers", [False, True])
def test_a_recording_that_is_replaced_every_day_is_enrolled_every_day(
    video: Path, tmp_path: Path, workers: bool
) -> None:
    """A gallery leaves out tracklets that it has, by their names. So no name may come back with other content."""
    out, pool = tmp_path / "set", ThisProcess() if workers else None
    onnx.save_model(build_model(), tmp_path / "tiny.onnx")
    embedder = Embedder(tmp_path / "tiny.onnx")
    with open_gallery(tmp_path / "gallery", embedder.dimension, embedder.fingerprint) as gallery:
        for day in range(4):
            rewrite(video, write_video(tmp_path / "new.avi", shade=10 * day).read_bytes())
            report = ingest([video], out, detector="motion", replace=True, pool=pool)
            told = [warning for warning in report.warnings if "galleries that have them keep them" in warning]
            assert len(told) == (day > 0)
            done = enroll(gallery, embedder, list(units_of(out)))
            assert (done.enrolled, done.already) == (1, 0)
        assert len(gallery) == 4
    assert "yard-3-*, are out of the dataset" in told[0]


@pytest.mark.parametrize(
    "content",
    ['{"recordings": [{}]}', '{"recordings": ["x"]}', '{"recordings": {"a": 1}}', "[]", "{}", "[" * 100_000],
)
def test_a_journal_that_lacks_something_is_named(video: Path, tmp_path: Path, content: str) -> None:
    out = tmp_path / "set"
    run(video, out=out)
    (out / "ingest.json").write_text(content)
    with pytest.raises(DatasetError, match=r"ingest\.json: damaged"):
        run(video, out=out)
    (out / "ingest.json").unlink()
    (out / "crops" / "yard" / "ingest.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"yard.ingest\.json: damaged.*reid dataset check"):
        run(video, out=out)


@pytest.mark.parametrize(
    ("counts", "doubts"),
    [
        (CameraReport(tracklets=20, dropped=80), []),
        (CameraReport(tracklets=7, dropped=113), ["113 of 120 tracklets were too short"]),
        (CameraReport(tracklets=0, dropped=4), []),  # too few to judge by
        (CameraReport(tracklets=0, dropped=5), ["5 of 5 tracklets were too short"]),
        (CameraReport(tracklets=4, cut=2, odd_shape=2), []),
        (CameraReport(tracklets=4, cut=3), ["3 of 4 tracklets are cut by the frame's edge"]),
        (CameraReport(tracklets=4, odd_shape=4), ["4 of 4 tracklets are too wide or too narrow for a person"]),
    ],
)
def test_what_looks_wrong_about_a_camera(counts: CameraReport, doubts: list[str]) -> None:
    assert counts.doubts == doubts


def test_what_came_of_each_camera_and_how_large_its_frames_are(video: Path, tmp_path: Path) -> None:
    report = ingest([video], tmp_path / "set", camera="gate", detector=ScriptedDetector())
    assert report.cameras == {"gate": CameraReport(1, 1, 0, report.crops)}
    assert frame_sizes(tmp_path / "set") == {read_manifest(tmp_path / "set").crops[0].recording: (320, 240)}


class NearDetector(ScriptedDetector):
    """Of a camera that sees nobody's head."""

    name = "motion"

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes, scores = super().__call__(frame)
        return boxes - [[0, 90, 0, 90]], scores


def test_a_camera_that_looks_wrong_is_said_with_the_way_out(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    (warning,) = run(video, out=out, camera="the gate", detector=NearDetector()).warnings
    assert warning.startswith("camera the gate: 1 of 1 tracklets are cut by the frame's edge: look at them with ")
    assert f"`reid dataset show {out} --camera 'the gate'`; the motion detector wants" in warning
