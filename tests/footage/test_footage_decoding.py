"""What FFmpeg gives: pictures as they were taken, times, and damage that is passed over."""

from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from drawn_clip import write_clip
from drawn_yard import draw_frame, write_video

from reid_toolkit.footage import decoding
from reid_toolkit.footage.decoding import address_of
from reid_toolkit.footage.frames import Frame, read_video


def read(path: Path, rate: float = 10.0) -> tuple[list[Frame], int]:
    """The frames, and how much could not be decoded."""
    damage: list[int] = []
    found = list(read_video(address_of(path), rate, lambda: damage.append(1)))
    return found, len(damage)


def test_pictures_are_what_opencv_reads(tmp_path: Path) -> None:
    path = write_video(tmp_path / "yard.avi", frames=5)
    capture = cv2.VideoCapture(str(path))
    frames, damage = read(path)
    assert (len(frames), damage) == (5, 0)
    for frame in frames:
        np.testing.assert_allclose(frame.image.astype(int), capture.read()[1].astype(int), atol=6)


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_a_picture_is_turned_as_the_camera_was_held(tmp_path: Path, degrees: int) -> None:
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, :32] = (0, 0, 255)
    path = write_clip(tmp_path / "a.mp4", [picture] * 2, codec="mpeg4", pixels="yuv420p", rotation=degrees)
    frame = read(path)[0][0].image
    expected = np.rot90(picture, degrees // 90)
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 8


def test_times_are_those_of_the_container(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.25, 3600.25, 3600.35]
    path = write_clip(tmp_path / "a.mkv", [draw_frame(number) for number in range(5)], times=times)
    assert [frame.time for frame in read(path)[0]] == pytest.approx(times)


def test_interlaced_footage_is_seen(tmp_path: Path) -> None:
    pictures = [draw_frame(number) for number in range(10)]
    path = write_clip(tmp_path / "a.ts", pictures, codec="mpeg4", pixels="yuv420p", flags="+ildct+ilme", b="4000000")
    frames, damage = read(path)
    assert (len(frames), damage) == (10, 0)
    assert np.abs(frames[5].image.astype(int) - pictures[5]).mean() < 12


@pytest.mark.skipif("libdav1d" not in av.codecs_available, reason="PyAV has no AV1 decoder here")
def test_av1_is_read(tmp_path: Path) -> None:
    encoder = next((name for name in ("libsvtav1", "libaom-av1") if name in av.codecs_available), None)
    if encoder is None:
        pytest.skip("PyAV has no AV1 encoder here to make a clip with")
    path = write_clip(tmp_path / "a.mp4", [draw_frame(n) for n in range(4)], codec=encoder, pixels="yuv420p")
    assert len(read(path)[0]) == 4


def test_a_hole_in_the_middle_is_not_the_end(tmp_path: Path) -> None:
    pictures = [draw_frame(number) for number in range(60)]
    path = write_clip(tmp_path / "a.mp4", pictures, codec="mpeg4", pixels="yuv420p", g="5", b="4000000")
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    path.write_bytes(content)
    frames, damage = read(path)
    assert damage > 0
    assert 40 < len(frames) < 60
    last = draw_frame(59)
    assert np.abs(frames[-1].image.astype(int) - last).mean() < 12, "the end was reached"
    assert all(a.time < b.time for a, b in pairwise(frames))
    assert frames[-1].time == pytest.approx(5.9, abs=0.15), "and what is lost takes its time"


def test_whatever_a_decoder_raises_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.mkv", [draw_frame(number) for number in range(6)])
    calls = iter(range(100))

    def unlucky(frame: av.VideoFrame) -> np.ndarray:
        number = next(calls)
        if number in (1, 3):
            raise (av.error.PatchWelcomeError(1, "not yet") if number == 1 else av.error.PermissionError(1, "no"))
        return frame.to_ndarray(format="bgr24")

    monkeypatch.setattr(decoding, "as_image", unlucky)
    frames, damage = read(path)
    assert (len(frames), damage) == (4, 2)


def test_deep_grey_is_stretched_to_its_range(tmp_path: Path) -> None:
    thermal = np.full((32, 48), 30_000, np.uint16)
    thermal[8:24, 16:32] = 30_400
    path = write_clip(tmp_path / "a.mkv", [thermal] * 2, codec="ffv1", pixels="gray16le", form="gray16le")
    image = read(path)[0][0].image
    assert image.shape == (32, 48, 3)
    assert image[0, 0].tolist() == [0, 0, 0]
    assert image[16, 20].tolist() == [255, 255, 255]
