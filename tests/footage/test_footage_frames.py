from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from drawn_clip import as_stream, with_sound
from drawn_yard import RATE, SIZE, draw_frame, write_video
from set_clock import SetClock

from reid_toolkit.errors import VideoError
from reid_toolkit.footage import clock, decoding
from reid_toolkit.footage.frames import Recording
from reid_toolkit.footage.sources import open_recordings


def opened(*sources: Path) -> list[Recording]:
    return open_recordings([str(source) for source in sources], 10.0)


def test_a_video_gives_its_frames_with_their_numbers_and_times(video: Path) -> None:
    (recording,) = opened(video)
    found = list(recording.frames())
    assert (recording.name, recording.frame_rate, recording.frame_count) == ("yard", RATE, 50)
    assert [frame.number for frame in found] == list(range(50))
    assert [frame.time for frame in found] == pytest.approx([number / RATE for number in range(50)])
    assert found[0].image.shape == (SIZE[1], SIZE[0], 3)


def test_a_folder_of_frames_is_one_recording_in_name_order(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        cv2.imwrite(str(tmp_path / f"{number:03d}.png"), np.full((8, 8, 3), number, np.uint8))
    (recording,) = opened(tmp_path)
    found = list(recording.frames())
    assert [int(frame.image[0, 0, 0]) for frame in found] == [0, 1, 2]
    assert [frame.time for frame in found] == pytest.approx([0, 0.1, 0.2])
    assert (recording.name, recording.frame_count) == (tmp_path.name, 3)


def test_a_folder_of_videos_is_read_in_name_order(tmp_path: Path) -> None:
    for name in ("b.avi", "a.avi"):
        write_video(tmp_path / name, frames=3)
    (tmp_path / "notes.txt").write_text("not a video, and not in the way")
    assert [recording.name for recording in opened(tmp_path)] == ["a", "b"]


def test_a_renamed_copy_has_the_same_fingerprint(video: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.avi"
    copy.write_bytes(video.read_bytes())
    other = write_video(tmp_path / "other.avi", shade=20)
    prints = [recording.fingerprint for recording in opened(video, copy, other)]
    assert prints[0] == prints[1] != prints[2]


def test_a_truncated_video_gives_what_is_there(video: Path) -> None:
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    (recording,) = opened(video)
    assert recording.frame_count == 50
    assert 10 < len(list(recording.frames())) < 40


@pytest.mark.parametrize("content", [b"", b"this is text, not a video\n" * 40], ids=["empty", "text"])
def test_a_file_that_is_no_video_is_named(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clip01.avi"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=rf"clip01\.avi: not a readable video: .*, got {len(content)} bytes"):
        opened(path)
    assert capfd.readouterr().err == ""  # FFmpeg's own remarks stay inside


def test_a_video_cut_off_in_its_header_is_named(video: Path) -> None:
    video.write_bytes(video.read_bytes()[:1000])
    with pytest.raises(VideoError, match="not a readable video"):
        opened(video)


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"gone\.mp4: no such file or folder"):
        opened(tmp_path / "gone.mp4")


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="has no video and no picture"):
        opened(tmp_path)


def test_a_folder_of_both_is_ambiguous(video: Path) -> None:
    cv2.imwrite(str(video.with_name("000.png")), draw_frame(0))
    with pytest.raises(VideoError, match="has 1 videos and 1 pictures"):
        opened(video.parent)


def test_a_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "frame_001.png"
    cv2.imwrite(str(path), draw_frame(0))
    with pytest.raises(VideoError, match="a picture, expected a video"):
        opened(path)


def test_an_unreadable_frame_of_a_folder_is_left_out_and_counted(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number:03d}.png"), draw_frame(0))
    (tmp_path / "001.png").write_bytes(b"")
    (recording,) = opened(tmp_path)
    damage: list[int] = []
    found = [(frame.number, frame.time) for frame in recording.frames(lambda: damage.append(1))]
    assert found == [(0, 0.0), (2, 0.2)]
    assert len(damage) == 1


def test_a_stream_has_the_time_of_the_clock(video: Path) -> None:
    (recording,) = open_recordings([as_stream(video)], 10.0)
    times = [frame.time for frame in recording.frames()]
    assert recording.is_stream
    assert len(times) == 50
    assert times[0] > 1.7e9
    assert times == sorted(set(times))


def test_a_stream_goes_on_evenly_after_the_clock_was_set_back(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = SetClock(0.1)
    monkeypatch.setattr(clock, "time", machine)
    (recording,) = open_recordings([as_stream(video)], 10.0)
    frames = recording.frames()
    times = [frame.time for frame in islice(frames, 25)]
    machine.ahead -= 3600
    with pytest.warns(RuntimeWarning, match="set back"):
        times += [frame.time for frame in frames]
    steps = np.diff(times)
    assert steps[24] == pytest.approx(0.1 - 3600)
    np.testing.assert_allclose(np.delete(steps, 24), 0.1, atol=1e-5)


def test_a_stream_ends_when_only_its_sound_goes_on(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg's timeout is of what comes, so sound that comes held a stream without video open for ever."""
    path = with_sound(video, tmp_path / "sound.mkv", 60)
    (recording,) = open_recordings([as_stream(path)], 10.0)
    whole = list(recording.beats())
    assert sum(frame is not None for frame in whole) == 50
    assert len(whole) > 700, "between and after them, the packets of sound"
    passed = count()
    monkeypatch.setattr(decoding, "time", SimpleNamespace(monotonic=lambda: 0.1 * next(passed)))
    short = list(recording.beats())
    assert sum(frame is not None for frame in short) == 50
    last = max(place for place, frame in enumerate(short) if frame is not None)
    assert len(short) - last == pytest.approx(150, abs=3), "15 seconds, of a clock that goes by a tenth a packet"


def test_the_time_that_a_reader_of_a_stream_takes_is_no_pause_of_its_video(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(decoding, "time", SimpleNamespace(monotonic=lambda: now[0]))
    (recording,) = open_recordings([as_stream(with_sound(video, tmp_path / "sound.mkv", 6))], 10.0)
    read = 0
    for frame in recording.beats():
        read += frame is not None
        now[0] += 60
    assert read == 50


def test_a_stream_that_cannot_be_reached_keeps_its_password_to_itself() -> None:
    with pytest.raises(VideoError, match=r"^rtsp://127\.0\.0\.1:9/door: no stream there") as caught:
        open_recordings(["rtsp://admin:secret@127.0.0.1:9/door"], 10.0)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("declared", [0.0, float("nan"), 90_000.0, -1.0])
def test_a_nonsense_frame_rate_is_replaced(declared: float) -> None:
    assert decoding.sensible_frame_rate(declared) == decoding.DEFAULT_FRAME_RATE
