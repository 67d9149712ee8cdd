"""Draws the footage: one video per camera, and a file that says who is where in it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from reid_toolkit.demo.cameras import CAMERAS
from reid_toolkit.demo.people import make_people
from reid_toolkit.demo.recording import record
from reid_toolkit.demo.truth import Box, write_truth
from reid_toolkit.demo.walks import plan_walks
from reid_toolkit.errors import InputError, VideoError
from reid_toolkit.files import atomic_path
from reid_toolkit.images import Image

TRUTH = "truth.csv"
CODEC = "MJPG"
"""OpenCV can write and read it on every platform, and its frames do not depend on each other."""
SMALLEST = 96
"""Least height of a picture in lines. Figures in smaller pictures fall apart."""


@dataclass(frozen=True)
class Footage:
    """The footage that was drawn."""

    videos: dict[str, Path]
    """Camera name -> recording. The file's stem is the camera's name."""
    truth: Path
    """A file that says who is where; ``truth.read_truth`` reads it."""
    people: int
    frames: int
    """Number of frames of all cameras together."""
    fps: float


def draw_footage(
    folder: Path,
    *,
    people: int = 16,
    seed: int = 0,
    cameras: Sequence[str] = tuple(CAMERAS),
    visits: int = 3,
    size: tuple[int, int] = (512, 288),
    fps: float = 12.0,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Footage:
    """Draw ``people`` people who each cross each of ``cameras`` ``visits`` times, into ``folder``.

    The same arguments give the same frames and the same truth. ``size`` is (width, height), even pixels.
    ``on_progress`` is called with (frames done, frames in all). Existing files are replaced, each completely.

    Raises :class:`InputError` for settings that cannot be drawn, :class:`VideoError` if a video cannot be written.
    """
    width, height = size
    unknown = [name for name in cameras if name not in CAMERAS]
    if unknown or not cameras or len(set(cameras)) < len(cameras):
        raise InputError(f"cameras are {list(cameras)}: expected some of {', '.join(CAMERAS)}, each once")
    if visits < 1 or fps <= 0 or seed < 0:
        raise InputError(
            f"visits is {visits}, fps {fps} and seed {seed}: expected 1 or more, more than 0, and 0 or more"
        )
    if height < SMALLEST or width < height or width % 2 or height % 2:
        raise InputError(f"size is {width}x{height}: expected even sides, wider than high, {SMALLEST} lines or more")
    crowd = make_people(people, seed)
    plans = {}
    for name in cameras:
        # Seeded by name, so that a camera's footage does not depend on which other cameras are drawn.
        rng = np.random.default_rng([seed, 2, list(CAMERAS).index(name)])
        plans[name] = plan_walks(CAMERAS[name], crowd, visits, width / height, fps, rng), rng
    total = sum(len(walks) for walks, _ in plans.values())
    videos = {name: folder / f"{name}.avi" for name in plans}
    truth = folder / TRUTH
    truth.unlink(missing_ok=True)  # written last: if it exists, all of the footage exists and is from one drawing
    boxes: list[Box] = []
    done = 0
    for name, (walks, rng) in plans.items():
        with video_writer(videos[name], fps, size, len(walks)) as write:
            for frame, (image, found) in enumerate(record(CAMERAS[name], walks, size, rng)):
                write(image)
                boxes += [Box(name, frame, *box) for box in found]
                done += 1
                if on_progress:
                    on_progress(done, total)
    write_truth(truth, boxes)
    return Footage(videos, truth, people, total, fps)


@contextmanager
def video_writer(path: Path, fps: float, size: tuple[int, int], frames: int) -> Iterator[Callable[[Image], None]]:
    """Yield a function that writes one frame. The file appears at the end, if it holds all ``frames``.

    OpenCV reports neither a full disk nor a folder that it may not write to, so the file is checked at the end.
    """
    with atomic_path(path) as temporary:
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*CODEC), fps, size)

        def write(image: Image) -> None:
            writer.write(image)

        try:
            yield write
        finally:
            writer.release()
        capture = cv2.VideoCapture(str(temporary))
        written = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        capture.release()
        if written != frames:
            raise VideoError(f"{path}: holds {written} of {frames} frames: is the disk full, or the folder read-only?")
