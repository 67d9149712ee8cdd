"""Tiny recordings: a textured yard, empty for a second, and then somebody who crosses it."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

SIZE = (320, 240)
RATE = 10.0
EMPTY = 12
STEP = 5


def background() -> np.ndarray:
    noise = np.random.default_rng(0).integers(90, 160, (24, 32, 3), np.uint8)
    return cv2.resize(noise, SIZE, interpolation=cv2.INTER_LINEAR)


def walker_box(number: int) -> tuple[int, int, int, int] | None:
    """x, y, width, height of the walker in a frame."""
    return (10 + STEP * (number - EMPTY), 80, 34, 90) if number >= EMPTY else None


def draw_frame(number: int) -> np.ndarray:
    frame = background()
    box = walker_box(number)
    if box:
        x, y, width, height = box
        frame[y : y + height, x : x + width] = (40, 30, 200)
        frame[y + height // 2 : y + height, x : x + width] = (200, 60, 20)
        frame[y : y + height // 6, x + 8 : x + width - 8] = (230, 220, 250)
    return frame


def write_video(path: Path, frames: int = 50, shade: int = 0) -> Path:
    """``shade`` makes the content differ from that of another recording."""
    path.write_bytes(encoded(frames, shade, path.suffix))
    return path


@cache
def encoded(frames: int, shade: int, suffix: str) -> bytes:
    """The file of a recording, in the container that OpenCV chooses by its ``suffix``."""
    with TemporaryDirectory() as folder:
        path = Path(folder, f"yard{suffix}")
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, SIZE)
        for number in range(frames):
            writer.write(cv2.add(draw_frame(number), np.full(3, shade, np.float64)) if shade else draw_frame(number))
        writer.release()
        return path.read_bytes()


class ScriptedDetector:
    """Knows where the walker is, so that tests of the rest do not hang on a real detector."""

    name = "scripted"

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.number = 0
        self.interrupt_at = interrupt_at

    def start(self, frame_rate: float) -> None:
        self.number = 0

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        box = walker_box(self.number)
        if self.number == self.interrupt_at:
            raise KeyboardInterrupt
        self.number += 1
        if box is None:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        x, y, width, height = box
        return np.array([[x, y, x + width, y + height]], np.float32), np.array([0.9], np.float32)


class RedDetector:
    """Finds the walker by the jacket, wherever in the recording a frame is from."""

    name = "red"

    def start(self, frame_rate: float) -> None:
        """Nothing to forget."""

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        jacket = (frame[:, :, 2] > 150) & (frame[:, :, 0] < 80) & (frame[:, :, 1] < 80)
        columns = np.flatnonzero(jacket.sum(axis=0) > 20)
        if not len(columns):
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        return np.array([[columns[0], 80, columns[-1] + 1, 170]], np.float32), np.array([0.9], np.float32)
