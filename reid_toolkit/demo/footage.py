"""Draws the footage: one video per camera, and a file that says who is where in it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from reid_toolkit.demo.cameras import CAMERAS
from reid_toolkit.demo.people import make_people
from reid_toolkit.demo.recording import record
from reid_toolkit.demo.truth import Box, write_truth
from reid_toolkit.demo.walks import Step, plan_walks
from reid_toolkit.errors import InputError, VideoError
from reid_toolkit.files import atomic_path
from reid_toolkit.images import Image
from reid_toolkit.parallel.pool import Pool, in_order

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


class Walks(NamedTuple):
    """What one camera records."""

    camera: str
    steps: list[list[Step]]
    """The walkers of each frame."""
    rng: np.random.Generator


def draw_footage(
    folder: Path,
    *,
    people: int = 16,
    seed: int = 0,
    cameras: Sequence[str] = tuple(CAMERAS),
    visits: int = 3,
    size: tuple[int, int] = (512, 288),
    fps: float = 12.0,
    pool: Pool | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Footage:
    """Draw ``people`` people who each cross each of ``cameras`` ``visits`` times, into ``folder``.

    The same arguments give the same frames and the same truth. ``size`` is (width, height), even pixels.
    With a ``pool``, each camera is a unit of its work. ``on_progress`` is called with (frames done, frames in all)
    after each frame, or with a pool after each camera. Existing files are replaced, each completely.

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
    plans = []
    for name in cameras:
        # Seeded by name, so that a camera's footage does not depend on which other cameras are drawn.
        rng = np.random.default_rng([seed, 2, list(CAMERAS).index(name)])
        plans.append(Walks(name, plan_walks(CAMERAS[name], crowd, visits, width / height, fps, rng), rng))
    total = sum(len(walks.steps) for walks in plans)
    truth = folder / TRUTH
    truth.unlink(missing_ok=True)  # written last: if it exists, all of the footage exists and is from one drawing
    done = 0

    def advance(frames: int) -> None:
        nonlocal done
        done += frames
        if on_progress:
            on_progress(done, total)

    boxes: list[Box] = []
    if pool is None:
        for walks in plans:
            boxes += draw_camera(walks, folder=folder, size=size, fps=fps, on_frame=partial(advance, 1))
    else:
        start = partial(partial, draw_camera, folder=folder, size=size, fps=fps)
        for walks, found in zip(plans, in_order(pool.run(start, plans)), strict=True):
            boxes += found
            advance(len(walks.steps))
    write_truth(truth, boxes)
    return Footage({name: video_of(folder, name) for name in cameras}, truth, people, total, fps)


def draw_camera(
    walks: Walks,
    *,
    folder: Path,
    size: tuple[int, int],
    fps: float,
    on_frame: Callable[[], None] = lambda: None,
) -> list[Box]:
    """Write the recording of one camera, and say who is where in it."""
    boxes: list[Box] = []
    with video_writer(video_of(folder, walks.camera), fps, size, len(walks.steps)) as write:
        for frame, (image, found) in enumerate(record(CAMERAS[walks.camera], walks.steps, size, walks.rng)):
            write(image)
            boxes += [Box(walks.camera, frame, *box) for box in found]
            on_frame()
    return boxes


def video_of(folder: Path, camera: str) -> Path:
    return folder / f"{camera}.avi"


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
