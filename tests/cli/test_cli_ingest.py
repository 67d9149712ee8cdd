import errno
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_detectors import PERSON, SIDE, SQUARE, save, ssd_rows
from drawn_yard import ScriptedDetector

from reid_toolkit.cli import main
from reid_toolkit.datasets.manifest import read_manifest


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Somebody in red crosses an empty yard after a second."""
    path = tmp_path / "yard.avi"
    noise = np.random.default_rng(0).integers(90, 160, (24, 32, 3), np.uint8)
    yard = cv2.resize(noise, (320, 240), interpolation=cv2.INTER_LINEAR)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    for number in range(45):
        frame = yard.copy()
        if number >= 12:
            x = 10 + 5 * (number - 12)
            frame[80:170, x : x + 34] = (40, 30, 200)
        writer.write(frame)
    writer.release()
    return path


def reid(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main(["ingest", *map(str, arguments)])
    return int(left.value.code or 0)


def test_it_makes_a_dataset_and_says_so(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set"
    assert reid(video, "--camera", "north", "--out", out, "--every", "2") == 0
    (tracklet,) = read_manifest(out).tracklets
    assert tracklet.camera == "north"
    assert f"1 tracklet, {len(tracklet.crops)} crops from 1 recording (45 frames" in capsys.readouterr().out


def test_json_is_all_there_is_on_stdout(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reid(video, "--out", tmp_path / "set", "--start", "2026-11-22T12:00:00+01:00", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["tracklets"] == 1
    assert report["frames"] == 45
    assert read_manifest(tmp_path / "set").crops[0].time == pytest.approx(1795345200, abs=5)


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a failing command says."""
    assert reid(*arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "Traceback" not in captured.err
    return lines[0]


def test_bad_input_is_one_line_and_loses_nothing(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    reid(video, "--out", out)
    stored = (out / "manifest.csv").read_bytes()
    text = tmp_path / "text.avi"
    text.write_text("not a video")
    empty = tmp_path / "empty"
    empty.mkdir()
    capsys.readouterr()
    assert "gone.avi: no such file" in fails(capsys, tmp_path / "gone.avi", "--out", out)
    assert "text.avi: not a readable video" in fails(capsys, text, "--out", out)
    assert "empty: has no video and no picture" in fails(capsys, empty, "--out", out)
    assert "hog: unknown detector" in fails(capsys, video, "--out", out, "--detector", "hog")
    assert "text.avi: not a usable ONNX model" in fails(capsys, video, "--out", out, "--detector", text)
    assert "every was 5, is 7" in fails(capsys, video, "--out", out, "--every", "7")
    assert (out / "manifest.csv").read_bytes() == stored


def test_an_out_that_cannot_be_written_is_one_line(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "Not a directory" in fails(capsys, video, "--out", tmp_path / "file" / "set")


def test_a_full_disk_is_one_line_and_the_next_run_completes(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    out = tmp_path / "set"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert "no space left on the disk" in fails(capsys, video, "--out", out)
    assert reid(video, "--out", out) == 0
    assert len(read_manifest(out).tracklets) == 1


def test_a_truncated_video_is_a_warning(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 3 // 4])
    assert reid(video, "--out", tmp_path / "set") == 0
    assert "warning:" in (said := capsys.readouterr().err)
    assert "of 45 declared frames could be read" in " ".join(said.split())


def test_a_start_that_is_no_time_is_a_usage_error(video: Path, tmp_path: Path) -> None:
    assert reid(video, "--out", tmp_path / "set", "--start", "yesterday") == 2


def test_what_came_of_each_camera_is_told(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    still = tmp_path / "still.avi"
    writer = cv2.VideoWriter(str(still), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    for _ in range(10):
        writer.write(np.full((240, 320, 3), 90, np.uint8))
    writer.release()
    assert reid(video, still, "--out", tmp_path / "set", "--every", "2") == 0
    crops = len(read_manifest(tmp_path / "set").crops)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        f"  yard: 1 tracklet, {crops} crops, 0 too short",
        "  still: 0 tracklets, 0 crops, 0 too short",
    ]


def test_ctrl_c_says_what_begins_again(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reid_toolkit.footage.ingest.load_detector", lambda *_, **__: ScriptedDetector(interrupt_at=20))
    assert reid(video, "--out", tmp_path / "set") == 130
    assert "the recording in progress begins again at its first frame" in capsys.readouterr().err


def test_the_label_of_a_persons_detections_may_be_said(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "ssd.onnx", SQUARE, {"o": ssd_rows((0, 1, 0.9))})
    given = (video, "--out", tmp_path / "set", "--detector", path)
    assert "give the label of a person, from the model's description: --person-label N" in fails(capsys, *given)
    assert reid(*given, "--person-label", 1) == 0
    capsys.readouterr()
    crop = read_manifest(tmp_path / "set").crops[0]
    assert (crop.x, crop.width) == pytest.approx((PERSON[0] * 320 / SIDE, (PERSON[2] - PERSON[0]) * 320 / SIDE))
    # What is stored under another label is another detector's.
    assert "detector was 'ssd:" in fails(capsys, *given, "--person-label", 2)


def test_a_file_of_tracks_replaces_the_detector(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracks, out = tmp_path / "yard.txt", tmp_path / "set"
    tracks.write_text("".join(f"{n + 1},3,{10 + 5 * (n - 12)},80,34,90,0.9,-1,-1,-1\n" for n in range(12, 45)))
    assert reid(video, "--out", out, "--tracks", tracks, "--every", "1") == 0
    assert "1 tracklet, 33 crops from 1 recording" in capsys.readouterr().out
    assert read_manifest(out).tracklets[0].name == "yard-00003"
    tracks.write_text("1,3,10,20,nan,60\n")
    assert "yard.txt, line 1: a box of" in fails(capsys, video, "--out", out, "--tracks", tracks)
    assert len(read_manifest(out).crops) == 33
    for more in (["--tracks", tracks, "--detector", "motion"], ["--tracks-format", "mot"]):
        assert reid(video, "--out", out, *more) == 2
        assert "--tracks" in capsys.readouterr().err
