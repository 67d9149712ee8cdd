import errno
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import cv2
import pytest
from drawn_yard import EMPTY, RATE, ScriptedDetector, draw_frame, walker_box, write_video

from reid_toolkit.datasets import manifest
from reid_toolkit.datasets.manifest import read_manifest
from reid_toolkit.errors import DatasetError, InputError, VideoError
from reid_toolkit.footage import crops, extract
from reid_toolkit.footage.ingest import IngestReport, ingest


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
            from reid_toolkit.footage import store

            patch.setattr(
                store,
                "write_atomic",
                lambda path, text: full_disk() if path.parent == out else path.write_text(text),
            )
        with pytest.raises(OSError, match="No space left"):
            run(video, out=out)
    report = run(video, out=out)
    assert report.skipped == 1  # its crops were all there; only the entry was missing
    assert rows(out) == rows(whole)
    assert Counter(path.suffix for path in (out / "crops").rglob("*.*")) == {".jpg": len(rows(out))}


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
    reports = [ingest([video.as_uri()], out, camera="door", detector=ScriptedDetector(), every=1) for _ in range(2)]
    assert [report.frames for report in reports] == [50, 50]
    entries = json.loads((out / "ingest.json").read_text())["recordings"]
    assert sum(entry["frames"] for entry in entries) == 100
    assert len(entries) >= 2
    assert len({entry["name"] for entry in entries}) == len(entries)


def test_a_stream_that_is_interrupted_keeps_what_it_has(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    detector = ScriptedDetector(interrupt_at=40)
    report = ingest([video.as_uri()], out, camera="door", detector=detector, every=1)
    (tracklet,) = read_manifest(out).tracklets
    assert report.frames == 40
    assert tracklet.camera == "door"
    assert tracklet.start is not None
    assert tracklet.start > 1.7e9


def test_a_stream_needs_a_camera_and_no_company(video: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give it alone, and with a camera name"):
        ingest([video.as_uri()], tmp_path / "set")


def test_one_process_at_a_time(video: Path, tmp_path: Path) -> None:
    from reid_toolkit.footage.store import open_store

    with open_store(tmp_path / "set"), pytest.raises(DatasetError, match="another `reid ingest` is adding"):
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
