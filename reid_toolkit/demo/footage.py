"""Drawing the footage: one video a camera, and the truth of who is where in it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_toolkit.demo.cameras import CAMERAS, Camera
from reid_toolkit.demo.figure import draw_figure
from reid_toolkit.demo.people import make_people
from reid_toolkit.demo.truth import Box, write_truth
from reid_toolkit.demo.walks import Step, plan_walks
from reid_toolkit.errors import InputError, VideoError
from reid_toolkit.files import atomic_path
from reid_toolkit.images import Image

TRUTH = "truth.csv"
CODEC = "MJPG"
"""OpenCV's own writer and reader know it on every platform; frames do not depend on each other."""
NOISE_FRAMES = 16
"""Sensor noise is drawn this often and then reused shifted: fresh noise would cost more than all else."""
SMALLEST = 96
"""Lines of a picture below which figures fall apart."""


@dataclass(frozen=True)
class Footage:
    """What was drawn."""

    videos: dict[str, Path]
    """Camera name -> recording; the file's stem is the camera's name."""
    truth: Path
    """Who is where, read by ``truth.read_truth``."""
    people: int
    frames: int
    """Of all cameras together."""
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
    """Draw ``people`` people who each cross each of ``cameras`` ``visits`` times; files go to ``folder``.

    The same arguments give the same frames and the same truth. ``size`` is (width, height), even pixels.
    ``on_progress`` is called with (frames done, frames in all). Existing files are replaced, each whole.

    Raises :class:`InputError` for settings that cannot be drawn, :class:`VideoError` when a video cannot be
    written.
    """
    width, height = size
    unknown = [name for name in cameras if name not in CAMERAS]
    if unknown or not cameras or len(set(cameras)) < len(cameras):
        raise InputError(f"cameras are {list(cameras)}: expected some of {', '.join(CAMERAS)}, each once")
    if visits < 1 or fps <= 0:
        raise InputError(f"visits is {visits} and fps is {fps}: expected at least 1, and more than 0")
    if height < SMALLEST or width < height or width % 2 or height % 2:
        raise InputError(
            f"size is {width}x{height}: expected even sides, wider than high, {SMALLEST} lines or more"
        )
    crowd = make_people(people, seed)
    plans = {}
    for name in cameras:
        # seeded by name, so that a camera's footage does not depend on which others are drawn
        rng = np.random.default_rng([seed, 2, list(CAMERAS).index(name)])
        plans[name] = plan_walks(CAMERAS[name], crowd, visits, width / height, fps, rng), rng
    total = sum(len(walks) for walks, _ in plans.values())
    videos, boxes, done = {}, [], 0
    for name, (walks, rng) in plans.items():
        videos[name] = folder / f"{name}.avi"
        with atomic_path(videos[name]) as path:
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODEC), fps, size)
            try:
                if not writer.isOpened():
                    raise VideoError(f"{videos[name]}: OpenCV cannot write {CODEC} video there")
                for frame, (image, found) in enumerate(draw_frames(CAMERAS[name], walks, size, rng)):
                    writer.write(image)
                    boxes += [Box(name, frame, *box) for box in found]
                    done += 1
                    if on_progress:
                        on_progress(done, total)
            finally:
                writer.release()
    write_truth(folder / TRUTH, boxes)
    return Footage(videos, folder / TRUTH, people, total, fps)


Found = tuple[str, int, int, int, int, float]
"""Person, x, y, width, height, visible: a Box without camera and frame."""


def draw_frames(
    camera: Camera, walks: list[list[Step]], size: tuple[int, int], rng: np.random.Generator
) -> Iterator[tuple[Image, list[Found]]]:
    """Each frame of a camera as it is recorded, with the boxes of the people in it."""
    width, height = size
    background = camera.background(width, height, rng)
    grain = rng.normal(0, camera.noise, (NOISE_FRAMES, height, width, 3)).astype(np.int16)
    for walkers in walks:
        image = background.copy()
        found = draw_walkers(image, camera, walkers)
        noise = grain[rng.integers(NOISE_FRAMES)]
        noise = np.roll(noise, int(rng.integers(height)), axis=0)
        recorded = cv2.add(camera.develop(image), noise, dtype=cv2.CV_8U)
        yield np.asarray(recorded, np.uint8), found


def draw_walkers(image: Image, camera: Camera, walkers: list[Step]) -> list[Found]:
    """Paint ``walkers``, farthest first, onto ``image``; who of them is where and how much of them shows."""
    height, width = image.shape[:2]
    owner = np.full((height, width), -1, np.int8)
    places: list[tuple[int, int, slice, slice, Sequence[int]]] = []
    for index, step in enumerate(walkers):
        tall = camera.person_height(step.y) * height
        column, row = round(step.x * width), round(step.y * height)
        cast_shadow(image, column, row, tall)
        figure = draw_figure(step.person, tall, step.heading, step.phase, camera.elevation)
        left, top = column - figure.foot[0], row - figure.foot[1]
        rows = slice(max(top, 0), min(top + figure.picture.shape[0], height))
        columns = slice(max(left, 0), min(left + figure.picture.shape[1], width))
        whole = int(np.count_nonzero(figure.picture[..., 3] > 127))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        part = figure.picture[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        light = np.interp(step.x, (0, 1), camera.light)
        blend(image[rows, columns], part, float(light))
        owner[rows, columns][part[..., 3] > 127] = index
        body = cv2.boundingRect((part[..., 3] > 127).astype(np.uint8))
        places.append((index, whole, rows, columns, body))
    found: list[Found] = []
    for index, whole, rows, columns, (x, y, wide, high) in places:
        seen = np.count_nonzero(owner[rows, columns] == index)
        if wide and high:
            where = (columns.start + x, rows.start + y, wide, high)
            found.append((walkers[index].person.identity, *where, float(seen / whole)))
    return found


def blend(under: Image, over: NDArray[np.uint8], light: float) -> None:
    """Lay a figure (BGRA, colours times alpha) lit by ``light`` over a part of the picture, in place."""
    through = 1 - over[..., 3:].astype(np.float32) / 255
    under[:] = np.clip(under * through + light * over[..., :3], 0, 255).astype(np.uint8)


def cast_shadow(image: Image, column: int, row: int, tall: float) -> None:
    """Darken the ground softly around the feet, in place."""
    across, deep = round(0.2 * tall), round(0.07 * tall)
    rows = np.arange(max(row - deep, 0), min(row + deep, image.shape[0]))
    columns = np.arange(max(column - across, 0), min(column + across, image.shape[1]))
    if not len(rows) or not len(columns):
        return
    away = ((rows - row) / deep)[:, None] ** 2 + ((columns - column) / across)[None, :] ** 2
    shade = 1 - 0.22 * np.clip(1 - away, 0, 1)
    patch = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    patch[:] = (patch * shade[..., None]).astype(np.uint8)
