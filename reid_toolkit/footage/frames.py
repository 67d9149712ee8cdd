"""Reading recordings frame by frame: video files, folders of pictures, network streams."""

import hashlib
import math
import os
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from reid_toolkit.errors import VideoError
from reid_toolkit.images import IMAGE_SUFFIXES, Image, read_image
from reid_toolkit.records import without_password

VIDEO_SUFFIXES = frozenset({".avi", ".mp4", ".m4v", ".mkv", ".mov", ".mpg", ".mpeg", ".ts", ".webm", ".wmv", ".flv"})
DEFAULT_FRAME_RATE = 25.0
STREAM_TIMEOUT_MS = 15_000

# FFmpeg writes what it thinks of a damaged file straight to stderr; our own error says it in one line.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a recording."""

    number: int
    """From 0."""
    time: float
    """Seconds from the start of the recording; absolute UTC (Unix time) in a stream. Strictly increasing."""
    image: Image
    """(H, W, 3) uint8, BGR."""


Frames = Generator[Frame, None, None]
"""Closing one closes the file or the connection."""


@dataclass(frozen=True)
class Recording:
    """A source that was opened once and found to give frames."""

    source: str
    """Path, or URL without its user and password."""
    name: str
    """The file's stem, the folder's name, or the stream's host."""
    frame_rate: float
    """Frames a second."""
    frame_count: int | None
    """As the container declares it; None when it does not."""
    fingerprint: str
    """Of the content; empty for a stream, which never comes twice."""
    address: str
    """What OpenCV opens; for a stream with its password, so it is never shown or stored."""

    @property
    def is_stream(self) -> bool:
        """Whether it comes live, once, with the clock's time."""
        return not self.fingerprint

    def frames(self) -> Frames:
        """Read it from the beginning to its end, or to where nothing more can be decoded."""
        if self.is_stream:
            return read_stream(self.address)
        if Path(self.address).is_dir():
            return read_folder(Path(self.address), self.frame_rate)
        return read_video(self.address, self.frame_rate)


def open_recordings(sources: list[str], folder_frame_rate: float) -> list[Recording]:
    """Open what the user named: a video, a folder of videos, a folder of frames, or a URL, in this order.

    Folders are read in name order. ``folder_frame_rate`` is that of folders of frames, which cannot say it
    themselves. Raises :class:`VideoError` for the first that gives no frame.
    """
    recordings = []
    for source in sources:
        if "://" in source:
            recordings.append(open_stream(source))
            continue
        path = Path(source)
        if not path.exists():
            raise VideoError(f"{path}: no such file or folder: expected a video, a folder of videos or frames")
        if not path.is_dir():
            recordings.append(open_video(path))
            continue
        videos = files_of(path, VIDEO_SUFFIXES)
        pictures = files_of(path, IMAGE_SUFFIXES)
        if videos and pictures:
            raise VideoError(
                f"{path}: has {len(videos)} videos and {len(pictures)} pictures: expected a folder of "
                "videos or one of frames, not both; name the videos one by one"
            )
        if not videos and not pictures:
            raise VideoError(f"{path}: has no video and no picture: expected a folder of videos or of frames")
        recordings += [open_video(video) for video in videos] or [open_folder(path, pictures, folder_frame_rate)]
    return recordings


def files_of(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))


def open_video(path: Path) -> Recording:
    """Look at a video file; raises :class:`VideoError` when no frame of it can be decoded."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise VideoError(f"{path}: a picture, expected a video: give the folder of frames it lies in")
    capture = open_capture(str(path))
    try:
        if not capture.isOpened() or not capture.read()[0]:
            got = f"{path.stat().st_size} bytes of which no frame can be decoded"
            raise VideoError(f"{path}: not a readable video: got {got}; is it truncated, or not a video?")
        rate = capture.get(cv2.CAP_PROP_FPS)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    finally:
        capture.release()
    return Recording(
        source=str(path.resolve()),
        name=path.stem,
        frame_rate=sensible_frame_rate(rate),
        frame_count=int(count) if 0 < count < 1e9 else None,
        fingerprint=fingerprint_file(path),
        address=str(path),
    )


def open_folder(folder: Path, pictures: list[Path], frame_rate: float) -> Recording:
    """A folder of frames, in name order; the first one is decoded to see that it can be."""
    read_image(pictures[0])
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(f"{picture.name}\0{picture.stat().st_size}\n".encode())
    return Recording(
        source=str(folder.resolve()),
        name=folder.resolve().name,
        frame_rate=frame_rate,
        frame_count=len(pictures),
        fingerprint=digest.hexdigest()[:16],
        address=str(folder),
    )


def open_stream(url: str) -> Recording:
    """Look whether a stream can be reached; its frame rate is taken from it where it says one."""
    shown = without_password(url)
    capture = open_capture(url)
    try:
        if not capture.isOpened():
            raise VideoError(f"{shown}: no stream there: expected an address that ffplay can play, with its password")
        rate = capture.get(cv2.CAP_PROP_FPS)
    finally:
        capture.release()
    host = shown.partition("://")[2].partition("/")[0] or Path(shown).stem
    return Recording(shown, host, sensible_frame_rate(rate), None, "", url)


def open_capture(address: str) -> cv2.VideoCapture:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if "://" not in address:
        has_ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getBackends()
        return cv2.VideoCapture(address, cv2.CAP_FFMPEG if has_ffmpeg else cv2.CAP_ANY)
    timeouts = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
    return cv2.VideoCapture(
        address, cv2.CAP_FFMPEG, [value for prop in timeouts for value in (prop, STREAM_TIMEOUT_MS)]
    )


def sensible_frame_rate(declared: float) -> float:
    """Containers without a rate say 0, NaN or their time base (90,000)."""
    return declared if math.isfinite(declared) and 0.1 <= declared <= 1000 else DEFAULT_FRAME_RATE


def fingerprint_file(path: Path) -> str:
    """16 hex digits over the size and the first and last MiB: a renamed copy is the same recording."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as handle:
        digest.update(handle.read(1 << 20))
        handle.seek(max(0, size - (1 << 20)))
        digest.update(handle.read())
    return digest.hexdigest()[:16]


def read_video(address: str, frame_rate: float) -> Frames:
    """Frames of a video file, their time from the stream.

    Where the stream's time does not go forward (zeros, repeats, a step back) a frame's worth is added
    instead, so a container without times gets number / frame rate.
    """
    capture = open_capture(address)
    try:
        number, first, previous = 0, 0.0, 0.0
        while True:
            found, image = capture.read()
            if not found:
                return
            stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if number == 0:
                first = stamp if math.isfinite(stamp) else 0.0
            elif stamp - first > previous:
                previous = stamp - first
            else:
                previous += 1 / frame_rate
            yield Frame(number, previous, np.asarray(image, np.uint8))
            number += 1
    finally:
        capture.release()


def read_folder(folder: Path, frame_rate: float) -> Frames:
    for number, path in enumerate(files_of(folder, IMAGE_SUFFIXES)):
        yield Frame(number, number / frame_rate, read_image(path))


def read_stream(address: str) -> Frames:
    """Frames of a live stream with the clock's time, since a camera's own clock is rarely right."""
    capture = open_capture(address)
    try:
        number, previous = 0, 0.0
        while True:
            found, image = capture.read()
            if not found:
                return
            previous = max(time.time(), previous + 1e-3)
            yield Frame(number, previous, np.asarray(image, np.uint8))
            number += 1
    finally:
        capture.release()
